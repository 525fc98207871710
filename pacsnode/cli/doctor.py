"""``pacsnode doctor``."""

from __future__ import annotations

from dataclasses import asdict

import click

from pacsnode import app
from pacsnode.cli import console
from pacsnode.cli.command import Command, json_option, load_config
from pacsnode.doctor.examination import examine


@click.command("doctor", cls=Command)
@json_option
def command(as_json: bool) -> int:
    """Tell what is unsafe or broken, with the remedy.

    Works beside a running node and without one, and changes nothing. Exit code 3 where there is something to do.
    """
    findings = list(examine(load_config(), app.system_clock()))
    if as_json:
        console.print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            console.print_line(f"{finding.name}: {finding.problem}")
            console.print_line(f"    {finding.remedy}")
        console.print_line(f"{len(findings)} findings" if findings else "nothing found")
    return console.Exit.FINDINGS if findings else console.Exit.OK
