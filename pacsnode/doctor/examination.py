"""All that the doctor looks at, beside a running node or without one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from pacsnode import app
from pacsnode.archive import Archive
from pacsnode.config import Config
from pacsnode.doctor import audit, growth, installation, work
from pacsnode.doctor.finding import Finding
from pacsnode.errors import PacsNodeError
from pacsnode.index import connection
from pacsnode.jobs.ledger import Ledger
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
    with app.known_runs(config) as ledger:
        if ledger is not None:
            yield from work.jobs(ledger, config.jobs.tables, now, is_running=is_running)
        yield from work.backup(_told_of_backup(config, ledger, now), now)
    table = config.jobs.retention
    yield from work.retention(
        has_rules=table.enabled and bool(table.rules),
        requires_backup=table.require_backup,
        has_backup=bool(config.jobs.backup.target),
    )
    yield from audit.trail(config)
    yield from work.complaints("integrity", app.known_findings(config)[1], _REPAIR)
    if app.is_new(config):
        yield from installation.little_space(growth.free_bytes(config), config.storage.min_free, None)
        return
    try:
        with app.open_archive(config, read_only=True) as archive:
            yield from _stored(config, archive, now)
    except PacsNodeError as error:
        yield Finding("index", str(error), "look at the disk; with the node stopped: pacsnode reindex")


def _told_of_backup(config: Config, ledger: Ledger | None, now: datetime) -> work.Told:
    if not config.jobs.backup.target:
        return work.Told(is_enabled=False)
    figures = app.backup(config).figures(now)
    newest = ledger.last("backup_drill", *Result) if ledger else None
    is_newer = newest is not None and (figures.drilled_at is None or newest.started > figures.drilled_at)
    return work.Told(
        is_enabled=config.jobs.backup.enabled or figures.as_of is not None,  # or a timer of the system runs it
        is_stale=figures.lag_seconds is None or figures.lag_seconds > config.jobs.backup.stale_after,
        as_of=figures.as_of,
        failure=figures.failure,
        damaged=figures.skipped,
        is_drill_enabled=config.jobs.tables["backup_drill"].enabled,
        drilled_at=figures.drilled_at,
        drill_due=app.due_by(config, "backup_drill", figures.drilled_at) if figures.drilled_at else None,
        drill_flaws=newest.report.failed if newest and newest.report and is_newer else 0,
    )


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
