"""The job: completes what was cut short, deletes what the rules say, and empties the trash of what is due."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime

from pacsnode.archive import Archive
from pacsnode.config.rules import Rule
from pacsnode.errors import BackupFailure, IndexFailure, StoreError, StudyHeld, StudyNotKept
from pacsnode.jobs.job import Budget, JobReport
from pacsnode.model import Instance, Uid
from pacsnode.retention.deletions import Deletions
from pacsnode.storage import layout

WHO = "retention"
"""Who deletes what the rules say."""
_REMEMBERED = 10_000  # studies: what arrives together is looked at once
_LISTED = 100  # studies that a rehearsal names

IsSafe = Callable[[Instance, Callable[[int], None]], bool]
"""Is the object of the instance in the backup, as a look at it tells just now? Hears of bytes read."""


def opened_without_backup() -> AbstractContextManager[IsSafe | None]:
    """There is no backup to look at."""
    return nullcontext()


@dataclass(slots=True)
class _Tally:
    studies: int = 0
    versions: int = 0
    size: int = 0
    held: int = 0
    unsafe: int = 0  # not in the backup, or not as it should be
    failed: int = 0
    purged: int = 0
    purged_bytes: int = 0
    listed: dict[str, str] = field(default_factory=dict)

    def report(self, *, finished: bool, note: str = "") -> JobReport:
        details: dict[str, int | float | str] = {
            "deleted_studies": self.studies,
            "deleted_instances": self.versions,
            "deleted_bytes": self.size,
            "held_studies": self.held,
            "studies_not_in_backup": self.unsafe,
            "purged_studies": self.purged,
            "purged_bytes": self.purged_bytes,
            **self.listed,
        }
        if note:
            details["note"] = note
        return JobReport(
            done=self.studies + self.purged,
            skipped=self.held + self.unsafe,
            failed=self.failed,
            bytes_before=self.size + self.purged_bytes,
            finished=finished,
            details=details,
        )


class RetentionJob:
    """See Job. ``done`` counts studies that were deleted and those that went for good."""

    name = "retention"

    def __init__(
        self,
        archive: Archive,
        deletions: Deletions,
        rules: Sequence[Rule],
        *,
        requires_backup: bool,
        opened_backup: Callable[[], AbstractContextManager[IsSafe | None]] = opened_without_backup,
    ) -> None:
        """``opened_backup`` gives what tells whether an object is in the backup; None where there is none."""
        self._archive = archive
        self._deletions = deletions
        self._rules = rules
        self._requires_backup = requires_backup
        self._opened_backup = opened_backup

    def run(self, budget: Budget) -> JobReport:
        """See Job.run. Raises IndexFailure."""
        self._deletions.settle()
        tally = _Tally()
        finished = self._purge(budget, tally)
        note = ""
        if self._rules and finished:
            try:
                with self._opened_backup() as is_safe:
                    note = self._note(is_safe)
                    finished = note != "" or self._delete(budget, tally, is_safe)
            except BackupFailure as error:
                tally.failed, note = tally.failed + 1, str(error)
        return tally.report(finished=finished, note=note)

    def rehearse(self, budget: Budget) -> JobReport:
        """Which studies a run would delete or let go for good. It does not look at the backup."""
        tally = _Tally()
        now = self._archive.clock()
        for deletion in self._deletions.ledger.due(now):
            tally.purged += 1
            tally.purged_bytes += deletion.size
        for uid, rows in self._due("", now, budget):
            size = sum(row.stored.size for row in rows)
            if self._deletions.ledger.hold_on(uid) is not None:
                tally.held += 1
                continue
            tally.studies, tally.versions, tally.size = tally.studies + 1, tally.versions + len(rows), tally.size + size
            if len(tally.listed) < _LISTED:
                tally.listed[f"study {uid}"] = f"{len(rows)} instances, {size} bytes"
        return tally.report(finished=not budget.expired())

    def _note(self, is_safe: IsSafe | None) -> str:
        if self._requires_backup and is_safe is None:
            return "no backup is configured, so nothing is deleted by rules; see require_backup in [jobs.retention]"
        return ""

    def _purge(self, budget: Budget, tally: _Tally) -> bool:
        for deletion in self._deletions.ledger.due(self._archive.clock()):
            if budget.expired():
                return False
            try:
                if self._deletions.purge(deletion):
                    tally.purged += 1
                    tally.purged_bytes += deletion.size
            except StoreError:  # which settle tells of, and tries again
                tally.failed += 1
            budget.advance(tally.purged, None)
        return True

    def _delete(self, budget: Budget, tally: _Tally, is_safe: IsSafe | None) -> bool:
        ledger = self._deletions.ledger
        for uid, rows in self._due(ledger.cursor(), self._archive.clock(), budget):
            if budget.expired():
                return False
            self._delete_one(uid, rows, budget, tally, is_safe)
            ledger.keep_cursor(rows[0].stored.key)
            budget.advance(tally.studies, None)
        if budget.expired():
            return False
        ledger.keep_cursor("")
        return True

    def _delete_one(
        self, uid: Uid, rows: Sequence[Instance], budget: Budget, tally: _Tally, is_safe: IsSafe | None
    ) -> None:
        if self._deletions.ledger.hold_on(uid) is not None:
            tally.held += 1
            return
        if self._requires_backup and not (is_safe and all(is_safe(row, budget.spend) for row in rows)):
            tally.unsafe += 1
            return
        rule = next(rule for rule in self._rules if _is_due(rule, rows, self._archive.clock()))
        try:
            done = self._deletions.delete(
                uid, f"rule: older than {rule.older_than.days} days", WHO, {row.stored.key for row in rows}
            )
        except StudyHeld:
            tally.held += 1
        except StudyNotKept:  # somebody else was first, or more of it has come
            pass
        except (StoreError, IndexFailure):
            tally.failed += 1
        else:
            tally.studies, tally.versions, tally.size = (
                tally.studies + 1, tally.versions + done.versions, tally.size + done.size,
            )  # fmt: skip

    def _due(self, after: str, now: datetime, budget: Budget) -> Iterator[tuple[Uid, list[Instance]]]:
        """Studies that a rule says, with all that is there of them, in order of their first instance."""
        if not self._rules:
            return
        end = layout.new_key(now - min(rule.older_than for rule in self._rules), bytes(layout.RANDOM_BYTES))
        looked_at: OrderedDict[Uid, None] = OrderedDict()
        for instance in self._archive.index.everything(after):
            if instance.stored.key >= end or budget.expired():
                return
            uid = instance.header.study_instance_uid
            if uid in looked_at:
                looked_at.move_to_end(uid)
                continue
            looked_at[uid] = None
            if len(looked_at) > _REMEMBERED:
                looked_at.popitem(last=False)
            rows = self._archive.index.of_study(uid)
            if rows and rows[0].stored.key >= instance.stored.key and any(_is_due(r, rows, now) for r in self._rules):
                yield uid, rows


def _is_due(rule: Rule, rows: Sequence[Instance], now: datetime) -> bool:
    """Is all of the study as the rule says?"""
    return all(
        now - row.received_at >= rule.older_than
        and (not rule.modalities or row.header.modality in rule.modalities)
        and (not rule.peers or row.calling_ae in rule.peers)
        for row in rows
    )
