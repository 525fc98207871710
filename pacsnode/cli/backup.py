"""``pacsnode backup``: run, list, verify, drill, restore."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pacsnode import app
from pacsnode.backup import adoption, jobs
from pacsnode.backup.restore import Restore, Restored
from pacsnode.backup.run import alone
from pacsnode.cli import console
from pacsnode.cli.command import Group, json_option, load_config
from pacsnode.jobs.budget import RunBudget

if TYPE_CHECKING:
    from pacsnode.backup.backup import NodeBackup
    from pacsnode.config import Config

_MIB = 1024 * 1024


@click.group("backup", cls=Group)
def command() -> None:
    """Copy what is stored to another place, and bring it back."""


@command.command("run")
@click.option("--adopt", is_flag=True, help="Go on with a backup that this node has no knowledge of any more.")
@json_option
def run(adopt: bool, as_json: bool) -> int:
    """Copy what is new. Works beside a running node.

    With --adopt the target is this node's from now on; no other node may write to it.
    """
    config = load_config()
    backup = app.backup(config)
    if adopt:
        with backup.opened() as (knowledge, vault), alone(vault.scratch):
            adoption.adopt(knowledge, vault, app.system_clock())
    with app.open_archive(config, read_only=True) as archive, _budget("backup") as budget:
        done = jobs.run(backup, archive, budget)
    if as_json:
        console.print_json(
            {
                "snapshot": f"{done.point:010d}" if done.point else None,
                "objects_copied": done.copied,
                "bytes_copied": done.copied_bytes,
                "failed": done.failed,
            }
        )
    else:
        console.print_line(f"{done.copied} objects copied, {done.copied_bytes / _MIB:.1f} MiB; {done.failed} damaged")
    return console.Exit.FINDINGS if done.failed else console.Exit.OK


@command.command("list")
@json_option
def list_(as_json: bool) -> int:
    """List the states that can be restored."""
    with tempfile.TemporaryDirectory(prefix="pacsnode-") as scratch:
        found = app.backup(load_config()).restorable(Path(scratch))
    if as_json:
        rows = [
            {
                "snapshot": f"{p.number:010d}",
                "at": p.at.isoformat(),
                "has_snapshot": p.has_snapshot,
                "pending": p.pending,
            }
            for p in found
        ]
        console.print_json(rows)
    else:
        rows_of_text = [
            (f"{p.number:010d}", p.at.isoformat(), "snapshot" if p.has_snapshot else "", p.pending or "") for p in found
        ]
        console.print_table(("number", "as of", "", "pending"), rows_of_text)
    return console.Exit.OK


@command.command("verify")
@click.option("--all", "is_all", is_flag=True, help="Read every byte now: the default.")
@json_option
def verify(is_all: bool, as_json: bool) -> int:
    """Read the whole backup again, and compare every digest.

    Lists what is damaged or missing; the next run copies such objects again.
    """
    del is_all
    config = load_config()
    with app.open_archive(config, read_only=True) as archive, _budget("verify backup") as budget:
        found = jobs.run_verification(app.backup(config), archive, budget)
    if as_json:
        console.print_json({"checked": found.checked, "findings": [asdict(one) for one in found.findings]})
    else:
        for one in found.findings:
            console.print_line(one.problem)
        console.print_line(f"{found.checked} files checked, {len(found.findings)} findings")
    return console.Exit.FINDINGS if found.findings else console.Exit.OK


@command.command("drill")
@json_option
def drill(as_json: bool) -> int:
    """Restore the newest snapshot and a sample of objects into a scratch folder, and compare."""
    config = load_config()
    with app.open_archive(config, read_only=True) as archive, _budget("drill") as budget:
        found = jobs.run_drill(app.backup(config), archive, budget)
    if as_json:
        console.print_json(asdict(found))
    else:
        for problem in found.findings:
            console.print_line(problem)
        console.print_line(
            f"{found.objects} objects and {found.queries} queries as they were, {len(found.findings)} findings; "
            f"RPO {found.rpo_seconds:.0f} s; RTO {found.rto_seconds:.0f} s, queries after {found.index_seconds:.1f} s"
        )
    return console.Exit.FINDINGS if found.findings else console.Exit.OK


def _moment(context: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value).astimezone()
    except ValueError as error:
        raise click.BadParameter('a time such as "2026-11-24T12:00:00+01:00"; local time without a zone') from error


@command.command("restore")
@click.option("--to", required=True, metavar="DIR", type=click.Path(path_type=Path), help="An empty or new folder.")
@click.option("--at", metavar="TIME", callback=_moment, help="As it was then; by default, as it was last.")
@click.option("--target", metavar="URL", help="Where the backup is; by default, the configured place.")
@click.option("--key-file", metavar="FILE", help="The identity that opens it; by default, the configured one.")
@json_option
def restore(to: Path, at: datetime | None, target: str | None, key_file: str | None, as_json: bool) -> int:
    """Bring a whole node back from nothing.

    The index comes first: from then on a node may run on the folder, while the objects come, newest first. A restore
    that was stopped goes on when it is called again.
    """
    config = load_config()
    with (
        tempfile.TemporaryDirectory(prefix="pacsnode-") as scratch,
        _source(config, target, key_file).vault(Path(scratch)) as vault,
    ):
        with app.hold(to):
            made = Restore(
                vault,
                to,
                clock=app.system_clock,
                at=at,
                assumed=app.assumptions(config),
                transfers=config.jobs.backup.transfers,
            )
            made.index()
        with console.progress_of("restore") as tell:
            done = made.objects(tell)
    _print_restored(done, to, as_json=as_json)
    return console.Exit.FINDINGS if done.findings else console.Exit.OK


def _source(config: Config, target: str | None, key_file: str | None) -> NodeBackup:
    named = {"target": target, "key_file": key_file}
    return app.backup(config, {key: value for key, value in named.items() if value is not None})


def _print_restored(done: Restored, to: Path, *, as_json: bool) -> None:
    if as_json:
        findings = [{"key": key, "problem": problem} for key, problem in done.findings]
        console.print_json(asdict(done) | {"findings": findings})
        return
    for _, problem in done.findings:
        console.print_line(problem)
    console.print_line(
        f"{done.objects} objects, {done.size / _MIB:.1f} MiB restored to {to}, as of {done.at}; "
        f"queries after {done.index_seconds:.1f} s, all after {done.seconds:.1f} s; {len(done.findings)} findings"
    )


@contextmanager
def _budget(what: str) -> Iterator[RunBudget]:
    """One without limits, that shows how far it is."""
    with console.progress_of(what) as tell:
        yield RunBudget(told=tell)
