"""``pacsnode verify``: is everything that is stored unaltered, and known to the index?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import click

from pacsnode import app
from pacsnode.archive import Archive, Finding
from pacsnode.cli import console
from pacsnode.cli.command import Command, json_option, load_config
from pacsnode.config import Config
from pacsnode.errors import ObjectDamaged, ObjectNotFound
from pacsnode.model import Key, Level, OneOf, Query

_ON_ITS_WAY = timedelta(minutes=1)
"""How long after its arrival an object may be without its row, beside a running node."""


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
    with app.open_archive(config, read_only=True) as archive, console.progress("verify") as advance:
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
    return _still_true(archive, archive.verify(archive.index.instances(query)))


def _everything(archive: Archive) -> Iterator[Finding | None]:
    yield from _still_true(archive, archive.verify(archive.index.everything()))
    for key in archive.store.keys():  # noqa: SIM118 - no mapping
        if not archive.index.holds(key):
            yield _orphan(archive, key)


def _still_true(archive: Archive, findings: Iterator[Finding | None]) -> Iterator[Finding | None]:
    """Beside a running node an object may have been removed or replaced, its row first, while it was looked for."""
    for finding in findings:
        yield finding if finding is None or archive.index.holds(finding.key) else None


def _orphan(archive: Archive, key: Key) -> Finding | None:
    try:
        arrival = archive.store.arrival(key)
    except ObjectNotFound:
        return None
    except ObjectDamaged as error:
        return Finding("", key, f"orphan: not in the index, and {error}")
    if archive.clock() - arrival.received_at < _ON_ITS_WAY:
        return None
    uid, stored = arrival.sop_instance_uid, archive.store.info(key)
    if archive.index.knows(uid, stored.digest):
        return Finding(uid, key, f"orphan: {key} is a second copy of what the index has elsewhere; harmless")
    if archive.holding(uid, arrival.original.digest if arrival.original else stored.digest) is not None:
        return None  # compression keeps what it replaced for a while, and what it is about to replace
    return Finding(uid, key, f"orphan: {key} is not in the index; pacsnode reindex adds it")
