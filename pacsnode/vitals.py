"""How the running node is: the facts that monitoring reads, and whether it is ready for work."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pacsnode import __version__, log, roster
from pacsnode.archive import Archive
from pacsnode.audit.opening import Auditing
from pacsnode.commitment.ledger import Ledger
from pacsnode.compression.database import STATE_FILE as COMPRESSION_FILE
from pacsnode.compression.database import CompressionState
from pacsnode.config import Config
from pacsnode.errors import PacsNodeError
from pacsnode.index.connection import library_version
from pacsnode.integrity.ledger import Ledger as IntegrityLedger
from pacsnode.jobs.record import Result
from pacsnode.jobs.runner import Runner
from pacsnode.metrics import listener
from pacsnode.metrics.counts import Counts
from pacsnode.metrics.exposition import Exposition
from pacsnode.metrics.facts import AuditFacts, BackupFacts, Facts, JobFacts
from pacsnode.metrics.listener import PLAIN, Answer
from pacsnode.retention.ledger import NAME as RETENTION_FILE
from pacsnode.retention.ledger import Ledger as RetentionLedger
from pacsnode.security.certificates import Expiry
from pacsnode.storage.calls import FileSystem

T = TypeVar("T")
_TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Running:
    """What only the running node knows."""

    associations: Callable[[], int]
    is_stopping: Callable[[], bool]
    degraded: Callable[[], Sequence[str]]
    expiries: Callable[[], Sequence[Expiry]]
    auditing: Auditing
    config: Callable[[], Config]  # as it is in effect


class Vitals:
    """Reads them from where they are kept, anew each time. Safe to use from several threads."""

    def __init__(self, config: Config, archive: Archive, commitments: Ledger, jobs: Runner, running: Running) -> None:
        self._config = config
        self._archive = archive
        self._commitments = commitments
        self._jobs = jobs
        self._running = running
        self._folder = config.node.data / config.node.index

    def hindrances(self) -> list[str]:
        """Why the node is not ready, a line each."""
        found = [getattr(part, "degraded", "") for part in (self._archive.store, self._archive.index)]
        if self._running.is_stopping():
            found.append("the node is stopping")
        found.append(self._shortage())
        try:
            self._archive.index.totals()
        except PacsNodeError as error:
            found.append(str(error))
        return [*filter(None, found)]

    def facts(self) -> Facts:
        """How the node is now; what cannot be read is left out."""
        open_ones = _or_none(self._commitments.open_transactions) or []
        age = (self._archive.clock() - open_ones[0].requested_at).total_seconds() if open_ones else 0.0
        quarantine = getattr(self._archive.store, "quarantine", None)  # a folder's store has one
        return Facts(
            associations=self._running.associations(),
            is_accepting=not self._shortage(),
            free_bytes=self._free_bytes(),
            totals=_or_none(self._archive.index.totals),
            index_bytes=_size(self._folder / "index.db"),
            wal_bytes=_size(self._folder / "index.db-wal"),
            quarantined=_or_none(quarantine.count) or 0 if quarantine else 0,
            commitments=len(open_ones),
            commitment_seconds=max(age, 0.0),
            jobs={name: self._job(name) for name in self._jobs.duties},
            certificates={expiry.key: expiry.not_after for expiry in self._running.expiries()},
            degraded=len(self._running.degraded()),
            backup=_or_none(self._backup),
            audit=AuditFacts(**asdict(self._running.auditing.figures())),
            trash=_or_none(self._trash) or (0, 0),
            compressed=_or_none(self._compressed) or {},
            **(_or_none(self._integrity) or {}),
        )

    def _shortage(self) -> str:
        """Why no instance is taken; "" where there is room."""
        try:
            free = self._archive.store.free_bytes()
            for room in self._archive.rooms:
                room.check()
        except PacsNodeError as error:
            return str(error)
        mark = max(self._config.storage.min_free, 1)
        return f"{free} bytes are free, {mark} must stay so" if free < mark else ""

    def _free_bytes(self) -> Mapping[str, int]:
        found = {"objects": _or_none(self._archive.store.free_bytes)}
        if self._archive.rooms:
            with contextlib.suppress(OSError):
                found["index"] = FileSystem().space(self._folder).free_bytes
        return {name: size for name, size in found.items() if size is not None}

    def _job(self, name: str) -> JobFacts:
        failures, ledger = self._jobs.failures[name], self._jobs.ledger
        success, last = _or_none(partial(ledger.last, name, Result.DONE)), _or_none(partial(ledger.last, name, *Result))
        seconds = (last.finished - last.started).total_seconds() if last and last.finished else None
        done = success.finished if success else None
        due = _or_none(partial(self._jobs.due_by, name, done))
        return JobFacts(failures, done, seconds, due, last.report.failed if last and last.report else 0)

    def _backup(self) -> BackupFacts | None:
        config = self._running.config()
        if not config.jobs.backup.target:
            return None
        figures = roster.node_backup(config, self._folder).figures(self._archive.clock())
        return BackupFacts(
            as_of=figures.as_of,
            lag_seconds=figures.lag_seconds,
            verified=figures.verified_at,
            drilled=figures.drilled_at,
            drill_due=self._jobs.due_by("backup_drill", figures.drilled_at),
            is_failing=bool(figures.failure),
            is_stale=figures.is_stale,
            damaged=figures.skipped,
        )

    def _trash(self) -> tuple[int, int]:
        path = self._folder / RETENTION_FILE
        if not path.exists():
            return 0, 0
        with closing(RetentionLedger(path)) as ledger:
            return ledger.trash()

    def _compressed(self) -> Mapping[str, tuple[int, int]]:
        path = self._folder / COMPRESSION_FILE
        if not path.exists():
            return {}
        found: dict[str, tuple[int, int]] = {}
        with closing(CompressionState(path)) as state:
            for one in state.totals():
                before, after = found.get(one.codec, (0, 0))
                found[one.codec] = before + one.bytes_before, after + one.bytes_after
        return found

    def _integrity(self) -> dict[str, Any]:
        path = self._folder / "integrity.db"
        if not path.exists():
            return {}
        with closing(IntegrityLedger(path)) as ledger:
            figures, course = ledger.findings.figures(), ledger.course.read()
        finished: datetime | None = course.finished_at if course else None
        return {"findings": figures.open, "closed_findings": figures.closed, "last_full_scrub": finished}


@contextmanager
def monitored(config: Config, counts: Counts, vitals: Vitals) -> Iterator[str]:
    """Answer monitoring while the block runs; gives the address, "none" where there is none.

    A port that is taken keeps no node from its work: that is logged.
    """
    said = config.metrics.listen
    with ExitStack() as stack:
        address = "none"
        if said:
            try:
                address = stack.enter_context(listener.answering(_address(said), _pages(counts, vitals)))
            except OSError as error:
                log.event("metrics_not_listening", level=logging.WARNING, address=said, reason=error.strerror or error)
        yield address


def _address(text: str) -> tuple[str, int] | Path:
    if text.startswith("/"):
        return Path(text)
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _pages(counts: Counts, vitals: Vitals) -> listener.Pages:
    versions = {"version": __version__, "sqlite": library_version()}
    exposition = Exposition(counts, vitals.facts, vitals.hindrances, versions)

    def ready() -> Answer:
        reasons = vitals.hindrances()
        return (503, PLAIN, "".join(f"{reason}\n" for reason in reasons).encode()) if reasons else (200, PLAIN, b"ok\n")

    return {
        "/metrics": lambda: (200, _TEXT_FORMAT, exposition.text()),
        "/livez": lambda: (200, PLAIN, b"ok\n"),
        "/readyz": ready,
    }


def _or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except PacsNodeError:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
