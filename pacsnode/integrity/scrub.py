"""The job ``integrity``: a rolling scrub that sets aside what is damaged, and repairs it where a copy is to be had.

Whatever it finds is kept before anything is done about it, and looked at again in every run until it comes to its end:
so a run that was killed is completed by the next.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta

from pacsnode import log
from pacsnode.archive import Archive, Finding
from pacsnode.audit.messages import Outcome
from pacsnode.audit.recorder import Recorder, silent
from pacsnode.errors import ObjectNotFound, StoreError
from pacsnode.integrity.course import Course
from pacsnode.integrity.findings import Closing, Kind, Record
from pacsnode.integrity.ledger import Ledger
from pacsnode.integrity.repair import Repairer
from pacsnode.integrity.sweep import Seen, examined, is_settled, problem_of, stray_of
from pacsnode.jobs.job import Budget, Job, JobReport
from pacsnode.model import Instance, Key, Uid
from pacsnode.recovery import Recovery, adopt, refuse_missing_objects

_SAVED_SECONDS = 2.0  # how much of its work a run that is killed does again
_RANDOM_DIGITS = 18  # at the end of a key, behind the time of arrival
STRAY_PATIENCE = timedelta(minutes=10)
"""How long an object is left alone that has no row: whoever put it there, or took the row, may not be through yet."""
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(minutes=5), timedelta(days=1)  # between attempts to repair one object


@dataclass(slots=True)
class _Tally:
    """What a run did."""

    examined: int = 0
    size: int = 0
    found: int = 0
    repaired: int = 0
    adopted: int = 0
    open: int = 0

    def report(self, *, finished: bool) -> JobReport:
        details: dict[str, int | float | str] = {"found": self.found, "repaired": self.repaired,
                                                 "adopted": self.adopted}  # fmt: skip
        return JobReport(
            done=self.examined,
            failed=self.open,
            bytes_before=self.size,
            bytes_after=self.size,
            finished=finished,
            details=details,
        )


class Scrub:
    """See jobs.Job. ``done`` counts the objects that were read, ``failed`` what is wrong and not repaired yet."""

    name = "integrity"

    def __init__(
        self,
        archive: Archive,
        ledger: Ledger,
        repairer: Repairer,
        *,
        full_pass: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
        audit: Recorder | None = None,
    ) -> None:
        """``full_pass``: within which every object is read. ``audit`` is told of damage, and of its end."""
        self._audit = audit or silent()
        self._archive = archive
        self._findings = ledger.findings
        self._course = ledger.course
        self._repairer = repairer
        self._full_pass = full_pass
        self._monotonic = monotonic

    def run(self, budget: Budget) -> JobReport:
        """Go on where the last run was, as far as it takes to be through in time. See Job.run."""
        now = self._archive.clock()
        course = self._course.read() or Course("", now)
        due = course.due_bytes(now, total=self._archive.index.totals().stored_bytes, full_pass=self._full_pass)
        return self._run(course, course.bytes + due, budget, is_due=_is_due)

    def whole(self) -> Job:
        """The same job for who asks for it by hand: it begins a pass, and does all of it."""
        return _Whole(self)

    def rehearse(self, budget: Budget) -> JobReport:
        """How many bytes are due, and how many findings are open."""
        now = self._archive.clock()
        total = self._archive.index.totals().stored_bytes
        due = (self._course.read() or Course("", now)).due_bytes(now, total=total, full_pass=self._full_pass)
        return JobReport(failed=len(self._findings.open_ones()), details={"due_bytes": min(due, total)})

    def run_whole(self, budget: Budget) -> JobReport:
        """Begin a pass, and do all of it."""
        course = self._course.read()
        begun = Course("", self._archive.clock(), finished_at=None if course is None else course.finished_at)
        return self._run(begun, None, budget, is_due=_is_any_due)

    def _run(
        self, course: Course, until: int | None, budget: Budget, *, is_due: Callable[[Record, datetime], bool]
    ) -> JobReport:
        refuse_missing_objects(self._archive)
        tally = _Tally()
        for record in self._findings.open_ones():
            if not budget.expired() and is_due(record, self._archive.clock()):
                self._revisit(record, budget, tally)
        finished = self._proceed(course, until, budget, tally)
        tally.open = len(self._findings.open_ones())
        return tally.report(finished=finished)

    def _proceed(self, course: Course, until: int | None, budget: Budget, tally: _Tally) -> bool:
        """Look at one key after the other: False where the budget ended it."""
        total, saved_at = self._archive.index.totals().instances, self._monotonic()
        with closing(examined(self._archive, course.cursor, budget.spend)) as keys:
            for seen, finding in keys:
                if budget.expired() or (until is not None and course.bytes >= until):
                    self._course.write(course)
                    return not budget.expired()
                course = course.after(seen.key, self._look_at(seen, finding, budget, tally))
                if self._monotonic() - saved_at >= _SAVED_SECONDS:
                    self._course.write(course)
                    saved_at = self._monotonic()
                    budget.advance(course.objects, max(total, course.objects))
        now = self._archive.clock()
        self._course.write(Course("", now, finished_at=now))
        days = round((now - course.began_at) / timedelta(days=1), 2)
        log.event("integrity_pass", objects=course.objects, bytes=course.bytes, days=days)
        return True

    def _look_at(self, seen: Seen, finding: Finding | None, budget: Budget, tally: _Tally) -> int:
        """See to what was found under the key: how many bytes there should be."""
        if seen.row is None:
            if is_settled(self._archive, seen.key):
                self._meet_stray(seen.key, tally)
            return 0
        tally.examined += 1
        tally.size += seen.row.stored.size
        if finding is not None and not self._is_known_to_lack(seen.key):
            row = self._archive.index.at(seen.key)
            if row is not None:
                tally.found += 1
                self._mend(self._enter(row, finding), row, budget, tally)
        return seen.row.stored.size

    def _is_known_to_lack(self, key: Key) -> bool:
        """Is the object not there for a reason that is kept? It is revisited when its time has come."""
        return not self._has_object(key) and any(record.closing is None for record in self._findings.of_key(key))

    def _enter(self, row: Instance, finding: Finding) -> Record:
        kind = Kind.DAMAGED if finding.is_certain else Kind.UNREADABLE
        if not self._has_object(finding.key):
            kind = Kind.MISSING
        uid = row.header.sop_instance_uid
        log.event("integrity_finding", level=logging.ERROR, kind=kind.value, uid=uid, key=finding.key,
                  problem=finding.problem)  # fmt: skip
        self._audit.damaged(uid, f"{kind.value}: {finding.problem}", Outcome.SERIOUS_FAILURE)
        return self._findings.enter(
            kind, finding.key, finding.problem, self._archive.clock(), uid=uid, digest=row.stored.digest
        )

    def _mend(self, record: Record, row: Instance, budget: Budget, tally: _Tally) -> None:
        """Out of the way with what is certainly damaged; then a copy in its place, where there is one."""
        if record.kind is Kind.UNREADABLE:
            self._findings.tried(record, self._archive.clock())
            return
        if record.kind is Kind.DAMAGED:
            self._archive.store.set_aside(record.key, record.problem)
        place = self._repairer.repair(row, budget.spend)
        if place is None:
            self._findings.tried(record, self._archive.clock())
            return
        tally.repaired += 1
        self._close(record, Closing.REPAIRED, place)

    def _revisit(self, record: Record, budget: Budget, tally: _Tally) -> None:
        """What became of a finding since: whatever was left undone when a run was killed is done now."""
        row = self._archive.index.at(record.key)
        if record.kind is Kind.STRAY and row is None:
            self._settle_stray(record, tally)
        elif row is None:
            self._look_for_successor(record)
        elif (finding := problem_of(self._archive, row, budget.spend)) is None:
            self._close(record, Closing.SOUND if record.kind is not Kind.STRAY else Closing.ADOPTED)
        elif self._has_object(record.key) or record.kind is Kind.UNREADABLE:
            self._mend(self._enter(row, finding), row, budget, tally)
        else:
            self._mend(record, row, budget, tally)

    def _look_for_successor(self, record: Record) -> None:
        """The row has gone from this key: to another object of the same content, or for good."""
        versions = self._archive.index.versions(Uid(record.uid))
        for version in versions:
            arrived_together = version.stored.key[:-_RANDOM_DIGITS] == record.key[:-_RANDOM_DIGITS]
            if version.stored.digest == record.digest or arrived_together:
                self._close(record, Closing.REPAIRED, f"another object took its place: {version.stored.key}")
                return
        self._close(record, Closing.GONE)

    def _meet_stray(self, key: Key, tally: _Tally) -> None:
        finding = stray_of(self._archive, key)
        if finding is not None:
            tally.found += 1
            self._findings.enter(Kind.STRAY, key, finding.problem, self._archive.clock(), uid=finding.uid)

    def _settle_stray(self, record: Record, tally: _Tally) -> None:
        if not self._has_object(record.key):
            self._close(record, Closing.GONE)
            return
        if self._archive.clock() - record.found_at < STRAY_PATIENCE:
            return
        done = Recovery()
        adopt(self._archive, record.key, done)
        if done.adopted:
            tally.adopted += 1
            self._close(record, Closing.ADOPTED)
        elif done.removed or done.set_aside:
            self._close(record, Closing.SET_ASIDE)
        else:
            self._findings.tried(record, self._archive.clock())

    def _close(self, record: Record, closing: Closing, note: str = "") -> None:
        self._findings.close(record, closing, self._archive.clock(), note)
        log.event("integrity_closed", level=logging.WARNING, kind=record.kind.value, outcome=closing.value,
                  uid=record.uid or None, key=record.key, note=note or None)  # fmt: skip
        if record.kind is not Kind.STRAY:
            self._audit.damaged(
                record.uid, f"{record.kind.value}, now {closing.value} {note}".rstrip(), Outcome.SUCCESS
            )

    def _has_object(self, key: Key) -> bool:
        try:
            self._archive.store.open(key).close()
        except ObjectNotFound:
            return False
        except StoreError:
            return True
        return True


class _Whole:
    """See Scrub.whole."""

    name = Scrub.name

    def __init__(self, scrub: Scrub) -> None:
        self._scrub = scrub

    def run(self, budget: Budget) -> JobReport:
        """See Job.run."""
        return self._scrub.run_whole(budget)

    def rehearse(self, budget: Budget) -> JobReport:
        """See Job.rehearse."""
        return self._scrub.rehearse(budget)


def _is_due(record: Record, now: datetime) -> bool:
    """Each attempt makes the pause before the next one longer."""
    pause = min(_FIRST_PAUSE * 2 ** min(record.attempts, 16), _LONGEST_PAUSE)
    return not record.attempts or now - record.tried_at >= pause


def _is_any_due(record: Record, now: datetime) -> bool:
    return True
