"""``pacsnode quarantine``: the objects that were set aside, and what is to become of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from pacsnode import app
from pacsnode.archive import Archive
from pacsnode.audit import opening as audit
from pacsnode.cli import console
from pacsnode.cli.command import Group, json_option, load_config
from pacsnode.config import Config
from pacsnode.errors import ObjectDamaged, ObjectNotFound
from pacsnode.integrity.findings import Findings, Record
from pacsnode.integrity.release import Released, drop, release
from pacsnode.storage.quarantine import Quarantine, SetAside

_ID = click.argument("identifier", metavar="ID")


@click.group("quarantine", cls=Group)
def command() -> None:
    """List, show, release and drop what was set aside."""


@command.command("list")
@json_option
def list_entries(as_json: bool) -> int:
    """List the objects that were set aside, and why."""
    entries = app.open_store(load_config(), read_only=True).quarantine.entries()
    if as_json:
        console.print_json([_row(entry) for entry in entries])
    else:
        rows = [(entry.id, f"{entry.at:%Y-%m-%d %H:%M}", entry.size, entry.reason) for entry in entries]
        console.print_table(("ID", "SINCE (UTC)", "BYTES", "REASON"), rows)
    return console.Exit.OK


@command.command()
@_ID
@json_option
def show(identifier: str, as_json: bool) -> int:
    """Show an object that was set aside: what it is, what is wrong with it, and what was found before."""
    with _opened() as bench:
        entry = bench.quarantine.entry(identifier)
        shown = {**_row(entry), **_content(bench, entry), "findings": [_finding(one) for one in bench.history(entry)]}
    if as_json:
        console.print_json(shown)
        return console.Exit.OK
    for name, value in shown.items():
        if name != "findings":
            console.print_line(f"{name.replace('_', ' ')}: {value}")
    for one in bench.shown:
        console.print_line(f"{one.found_at:%Y-%m-%d %H:%M} {one.kind.value}: {one.problem}; {_end(one)}")
    return console.Exit.OK


@command.command("release")
@_ID
@json_option
def release_entry(identifier: str, as_json: bool) -> int:
    """Put an object back into the archive, if it is as it was stored. Works beside a running node."""
    with _opened() as bench:
        entry = bench.quarantine.entry(identifier)
        released = release(bench.archive, bench.quarantine, bench.findings, entry)
        bench.tell(f"released from quarantine, {released.value}", entry)
    if as_json:
        console.print_json({"id": identifier, "key": entry.key, "outcome": released.value})
    elif released is Released.IN_PLACE:
        console.print_line(f"{identifier} is back in the archive")
    else:
        console.print_line(f"{identifier} is back among the objects; the integrity job takes it into the index")
    return console.Exit.OK


@command.command("drop")
@_ID
@click.option("--yes", is_flag=True, help="Really: it cannot be taken back.")
@json_option
def drop_entry(identifier: str, yes: bool, as_json: bool) -> int:
    """Remove an object that was set aside, for good. Works beside a running node."""
    with _opened() as bench:
        entry = bench.quarantine.entry(identifier)
        if not yes:
            raise click.UsageError(f"{identifier} would be gone for good; say --yes to do it")
        drop(bench.archive, bench.quarantine, bench.findings, entry)
        bench.tell("dropped from quarantine", entry)
    if as_json:
        console.print_json({"id": identifier, "key": entry.key, "outcome": "dropped"})
    else:
        console.print_line(f"{identifier} is gone")
    return console.Exit.OK


@dataclass(slots=True)
class _Bench:
    """What is needed to judge an object that was set aside."""

    config: Config
    archive: Archive
    quarantine: Quarantine
    findings: Findings
    shown: tuple[Record, ...] = ()

    def history(self, entry: SetAside) -> tuple[Record, ...]:
        """What was found about the object."""
        self.shown = tuple(self.findings.of_key(entry.key))
        return self.shown

    def tell(self, what: str, entry: SetAside) -> None:
        """Tell the audit trail what was done."""
        with audit.commanded(self.config, app.system_clock) as recorder:
            recorder.decided(what, entry.key)


@contextmanager
def _opened() -> Iterator[_Bench]:
    config = load_config()
    quarantine = app.open_store(config, read_only=True).quarantine
    with app.open_archive(config, read_only=True) as archive, app.open_integrity(config) as ledger:
        yield _Bench(config, archive, quarantine, ledger.findings)


def _row(entry: SetAside) -> dict[str, object]:
    return {
        "id": entry.id,
        "key": entry.key,
        "reason": entry.reason,
        "bytes": entry.size,
        "since": entry.at.isoformat(timespec="seconds"),
    }


def _content(bench: _Bench, entry: SetAside) -> dict[str, object]:
    """What the object says it is, as far as it can be read, and what the archive has instead."""
    row = bench.archive.index.at(entry.key)
    uid, verifies = "" if row is None else str(row.header.sop_instance_uid), False
    try:
        with bench.quarantine.open(entry) as source:
            if row is not None:
                verifies = bench.archive.holds_as_stored(source, row)
            else:
                uid = bench.archive.describe_source(source, entry.key).header.sop_instance_uid
                verifies = True
    except (ObjectDamaged, ObjectNotFound):
        pass
    return {"uid": uid, "has_row": row is not None, "verifies": verifies}


def _finding(record: Record) -> dict[str, object]:
    return {
        "found_at": record.found_at.isoformat(timespec="seconds"),
        "kind": record.kind.value,
        "uid": record.uid,
        "problem": record.problem,
        "attempts": record.attempts,
        "outcome": record.closing.value if record.closing else "",
        "note": record.note,
    }


def _end(record: Record) -> str:
    if record.closing is None:
        return f"open, {record.attempts} attempts to repair it"
    return f"{record.closing.value} {record.note}".strip()
