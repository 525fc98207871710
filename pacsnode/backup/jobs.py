"""The jobs of the backup: run, verify, drill. What a run found goes to the log, and to ``backup.db`` for the status."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import closing

from pacsnode import log
from pacsnode.archive import Archive
from pacsnode.backup.backup import NodeBackup
from pacsnode.backup.drill import Drilled, drill
from pacsnode.backup.run import Done, Run
from pacsnode.backup.verify import Verification, Verified
from pacsnode.commitment.backoff import BackOff
from pacsnode.errors import BackupFailure, ConfigError, IndexFailure
from pacsnode.jobs.job import Budget, JobReport
from pacsnode.model import Key

_FIRST_RETRY_SECONDS = 60.0


class BackupJob:
    """Brings the target up to date. After a failure it waits longer and longer before it tries again."""

    name = "backup"

    def __init__(self, backup: NodeBackup, archive: Archive, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._backup = backup
        self._archive = archive
        self._back_off = BackOff(_FIRST_RETRY_SECONDS, monotonic)

    def run(self, budget: Budget) -> JobReport:
        """See Job.run."""
        if not self._back_off.is_due(self.name):
            return JobReport(skipped=1, details={"waits": "the last run failed; it is tried again later"})
        try:
            done = run(self._backup, self._archive, budget)
        except BackupFailure:
            self._back_off.failed(self.name)
            raise
        self._back_off.forget(self.name)
        return JobReport(
            done=done.copied,
            failed=done.failed,
            bytes_before=done.copied_bytes,
            bytes_after=done.copied_bytes,
            finished=done.finished,
            details={"snapshot": done.point, "dropped": done.dropped, "refused": done.refused},
        )

    def rehearse(self, budget: Budget) -> JobReport:
        """See Job.rehearse."""
        with self._backup.opened() as (knowledge, vault):
            made = Run(self._archive, knowledge, vault, self._backup.settings, sources=self._backup.sources)
            return JobReport(done=made.rehearse())


class VerifyJob:
    """Reads a slice of the backup again."""

    name = "backup_verify"

    def __init__(self, backup: NodeBackup, archive: Archive, wanted: Callable[[], Iterable[Key]] = tuple) -> None:
        """``wanted``: objects that somebody waits for to be in the backup for sure."""
        self._backup = backup
        self._archive = archive
        self._wanted = wanted

    def run(self, budget: Budget) -> JobReport:
        """See Job.run."""
        with self._backup.opened() as (knowledge, vault):
            found = Verification(knowledge, vault, self._backup.settings, self._archive.clock).slice(
                budget, self._wanted()
            )
        return _report_of(found)

    def rehearse(self, budget: Budget) -> JobReport:
        """See Job.rehearse."""
        with self._backup.opened() as (knowledge, _):
            return JobReport(done=knowledge.totals()[0])


class DrillJob:
    """Restores a sample, and compares."""

    name = "backup_drill"

    def __init__(self, backup: NodeBackup, archive: Archive) -> None:
        self._backup = backup
        self._archive = archive

    def run(self, budget: Budget) -> JobReport:
        """See Job.run. Where the node has the recipient's half of the key only, there is nothing it could restore."""
        if not self._backup.can_open():
            return JobReport(skipped=1, details={"lacks": "the identity, without which nothing can be restored here"})
        found = run_drill(self._backup, self._archive, budget)
        details = {
            "snapshot": found.point,
            "queries": found.queries,
            "rpo_seconds": round(found.rpo_seconds, 1),
            "rto_seconds": round(found.rto_seconds, 1),
        }
        return JobReport(done=found.objects, failed=len(found.findings), details=details)

    def rehearse(self, budget: Budget) -> JobReport:
        """See Job.rehearse."""
        return JobReport(done=self._backup.settings.drill_objects)


def run(backup: NodeBackup, archive: Archive, budget: Budget) -> Done:
    """One run; a failure is noted for the status, and raised."""
    try:
        with backup.opened() as (knowledge, vault):
            return Run(archive, knowledge, vault, backup.settings, sources=backup.sources).run(budget)
    except (BackupFailure, ConfigError, IndexFailure) as error:
        with closing(backup.knowledge()) as known:
            known.keep(failure=str(error))
        raise


def run_verification(backup: NodeBackup, archive: Archive, budget: Budget) -> Verified:
    """All of the backup read again."""
    with backup.opened() as (knowledge, vault):
        found = Verification(knowledge, vault, backup.settings, archive.clock).everything(budget)
        if found.finished:
            knowledge.keep(verified_at=archive.clock().isoformat())
        return found


def run_drill(backup: NodeBackup, archive: Archive, budget: Budget) -> Drilled:
    """One drill; what it found is noted."""
    with backup.opened() as (knowledge, vault):
        found = drill(vault, backup.settings, archive.clock, budget, archive.assumed)
        if not found.findings:
            knowledge.keep(drilled_at=archive.clock().isoformat())
    for finding in found.findings:
        log.event("backup_drill_failed", level=logging.ERROR, problem=finding)
    return found


def _report_of(found: Verified) -> JobReport:
    return JobReport(
        done=found.checked,
        failed=len(found.findings),
        bytes_before=found.size,
        bytes_after=found.size,
        details={"pass_complete": int(found.finished)},
    )
