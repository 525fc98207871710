"""All that the doctor looks at, beside a running node or without one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from pacsnode import app
from pacsnode.archive import Archive
from pacsnode.config import Config
from pacsnode.doctor import growth, installation, work
from pacsnode.doctor.finding import Finding
from pacsnode.errors import PacsNodeError
from pacsnode.index import connection
from pacsnode.jobs.record import Result
from pacsnode.service import control
from pacsnode.storage import layout

_REPAIR = "see Integrity in docs/operations.md; pacsnode quarantine list, and pacsnode job run integrity"


def examine(config: Config, now: datetime) -> Iterator[Finding]:
    """Everything that is found, the machine first."""
    answer = control.ask(config.node.data)
    yield from _machine(config, now)
    yield from _work(config, now, is_running=answer is not None)
    if answer is not None:
        yield from _running(config, answer, now)


def _machine(config: Config, now: datetime) -> Iterator[Finding]:
    yield from installation.listeners(config)
    yield from installation.expiring_certificates(config, now)
    yield from installation.library(connection.library_version())
    for folder in {config.node.data, app.index_path(config).parent}:
        yield from installation.file_system(folder, connection.file_system(folder))
    yield from installation.clock(installation.clock_is_synchronised())
    yield from installation.open_modes(config, {config.node.data, app.index_path(config).parent})


def _work(config: Config, now: datetime, *, is_running: bool) -> Iterator[Finding]:
    last_backup = None
    with app.known_runs(config) as ledger:
        if ledger is not None:
            yield from work.jobs(ledger, config.jobs.tables, now, is_running=is_running)
            done = ledger.last("backup", Result.DONE)
            last_backup = done.finished if done else None
    table = config.jobs.tables.get("backup")
    yield from work.backup(is_enabled=table is not None and table.enabled, last_success=last_backup, now=now)
    yield from work.complaints("integrity", app.known_findings(config)[1], _REPAIR)
    if app.is_new(config):
        yield from installation.little_space(growth.free_bytes(config), config.storage.min_free, None)
        return
    try:
        with app.open_archive(config, read_only=True) as archive:
            yield from _stored(config, archive, now)
    except PacsNodeError as error:
        yield Finding("index", str(error), "look at the disk; with the node stopped: pacsnode reindex")


def _stored(config: Config, archive: Archive, now: datetime) -> Iterator[Finding]:
    free = growth.free_bytes(config)
    days_left = growth.days_left(archive.index, free - config.storage.min_free, now)
    yield from installation.little_space(free, config.storage.min_free, days_left)
    spans = {entry.expected_every for entry in config.peer_entries.values()} - {0.0}
    since = {span: layout.new_key(now - timedelta(seconds=span), bytes(10)) for span in spans}
    yield from work.silent_peers(config, now, {span: archive.index.senders(key) for span, key in since.items()})


def _running(config: Config, answer: dict[str, Any], now: datetime) -> Iterator[Finding]:
    """Of the node that runs. Any: JSON."""
    told = {finding.problem for finding in installation.expiring_certificates(config, now)}
    reasons = [reason for reason in answer.get("degraded", []) if reason not in told]
    yield from work.complaints("degraded", reasons, "look at the disk and the log, then restart the node")
    yield from work.complaints(
        "plain_text",
        [f"{who} still connects without TLS" for who in answer.get("plain_text", [])],
        "set it up for TLS, then require_tls = true in its table [peers.NAME]",
    )
    pending = (control.ask(config.node.data, "pending") or {}).get("pending", [])
    rows: list[dict[str, Any]] = pending if isinstance(pending, list) else []
    yield from work.unknown_callers(f"{row['ae_title']} at {row['address']}" for row in rows)
