"""``pacsnode verify``: is everything that is stored unaltered, and known to the index?"""

from __future__ import annotations

from collections.abc import Iterator

import click

from pacsnode import app
from pacsnode.archive import Archive, Finding
from pacsnode.cli import console
from pacsnode.cli.command import Command, json_option, load_config
from pacsnode.config import Config
from pacsnode.integrity.sweep import examined, is_settled, problem_of, stray_of
from pacsnode.model import Level, OneOf, Query


@click.command("verify", cls=Command)
@click.option("--study", metavar="UID", help="Check the instances of one study.")
@click.option("--all", "is_all", is_flag=True, help="Check all versions, and look for orphans: the default.")
@json_option
def command(study: str | None, is_all: bool, as_json: bool) -> int:
    """Check what is stored: digests, structure, index.

    Reads every object to its end; works beside a running node. Lists what is wrong, and changes nothing.
    """
    if study is not None and is_all:
        raise click.UsageError("--study and --all exclude each other.")
    checked, findings = _check(load_config(), study)
    rows = [{"uid": finding.uid, "key": finding.key, "problem": finding.problem} for finding in findings]
    if as_json:
        console.print_json({"checked": checked, "findings": rows})
    else:
        for finding in findings:
            console.print_line(f"{finding.uid or '-'}  {finding.problem}")
        console.print_line(f"{checked} objects checked, {len(findings)} findings")
    return console.Exit.FINDINGS if findings else console.Exit.OK


def _check(config: Config, study: str | None) -> tuple[int, list[Finding]]:
    if study is None and app.is_new(config):
        return 0, []
    checked, findings = 0, []
    with app.open_archive(config, read_only=True) as archive:
        total = archive.index.totals().instances if study is None else None
        with console.progress("verify", total) as advance:
            for finding in _everything(archive) if study is None else _study(archive, study):
                advance()
                checked += 1
                if finding is not None:
                    findings.append(finding)
    if study is not None and not checked:
        raise click.ClickException(f"no study {study} is stored here; see: pacsnode study list")
    return checked, findings


def _study(archive: Archive, uid: str) -> Iterator[Finding | None]:
    query = Query(Level.STUDY, {"study_instance_uid": OneOf((uid,))})
    return (problem_of(archive, instance) for instance in archive.index.instances(query))


def _everything(archive: Archive) -> Iterator[Finding | None]:
    """A finding, or None, for each row and each object that has none."""
    for seen, finding in examined(archive):
        if seen.row is not None:
            yield finding
        elif is_settled(archive, seen.key) and (stray := stray_of(archive, seen.key)) is not None:
            yield stray
