"""``pacsnode reindex``: the index anew, from the objects alone."""

from __future__ import annotations

import click

from pacsnode import app
from pacsnode.cli import console
from pacsnode.cli.command import Command, json_option, load_config


@click.command("reindex", cls=Command)
@json_option
def command(as_json: bool) -> int:
    """Build the index anew from the objects alone.

    The old index stays until the new one is complete, and is then kept as index.db.old. The node must not run.
    Objects that cannot be read are listed, and are not in the new index.
    """
    indexed, findings = 0, []
    with console.progress("reindex") as advance:
        for finding in app.reindex(load_config()):
            advance()
            if finding is None:
                indexed += 1
            else:
                findings.append({"uid": finding.uid, "key": finding.key, "problem": finding.problem})
    if as_json:
        console.print_json({"indexed": indexed, "findings": findings})
    else:
        for row in findings:
            console.print_line(row["problem"])
        console.print_line(f"{indexed} objects indexed, {len(findings)} findings")
    return console.Exit.FINDINGS if findings else console.Exit.OK
