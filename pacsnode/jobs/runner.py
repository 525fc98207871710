"""Runs jobs under the ledger: what is due, or what somebody asks for; each job once at a time.

There is one runner for each data folder: who has it holds the folder's lock, the node or a command.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from pacsnode import log
from pacsnode.errors import IndexFailure, JobRunning, PacsNodeError
from pacsnode.jobs.budget import RunBudget
from pacsnode.jobs.deadline import due_by
from pacsnode.jobs.duty import Duty
from pacsnode.jobs.job import JobReport
from pacsnode.jobs.latency import Latency
from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.record import Alarm, AlarmKind, Result, Run
from pacsnode.model import Clock

Watcher = Callable[[int, int | None], None]
"""Hears how many items are done, and of how many."""


class Runner:
    """Runs the duties. Safe to use from several threads."""

    def __init__(
        self,
        duties: Sequence[Duty],
        ledger: Ledger,
        *,
        clock: Clock,
        latency: Latency | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.duties = {duty.job.name: duty for duty in duties}
        self.ledger = ledger
        self.latency = latency or Latency()
        """To be told of the time that commits of received instances take."""
        self.failures: Counter[str] = Counter()  # runs that failed, by job, since the start
        self._clock, self._monotonic = clock, monotonic
        self._stopping = threading.Event()
        self._stopped_at = math.inf
        self._changed = threading.Condition()
        self._running: set[str] = set()
        self.on_change: Callable[[], None] = lambda: None  # for the scheduler, which follows other duties

    def begin(self) -> None:
        """Take over from the process before, which may have been killed. Raises IndexFailure."""
        self.abandon_open_runs()
        self._enlist()

    def adopt(self, duties: Sequence[Duty]) -> None:
        """From now on these are the duties; a run that is under way ends as it began."""
        self.duties = {duty.job.name: duty for duty in duties}
        try:
            self._enlist()
        except IndexFailure as error:  # a start tells the ledger again
            log.event("job_not_noted", level=logging.ERROR, job="all", reason=error)
        self.on_change()

    def abandon_open_runs(self) -> None:
        """Note that what the process before had under way has ended. Raises IndexFailure."""
        for run in self.ledger.close_open_runs(self._clock()):
            _log_alarm(run.job, AlarmKind.ABANDONED, run.scheduled_for.isoformat(), "its process ended under it")

    def run_due(self, name: str) -> None:
        """Run what is due of the job, again and again until nothing is; nothing where it is running already.

        What goes wrong with a run is in the ledger and the log; raises IndexFailure where none can be begun.
        """
        while self._enter(name):
            try:
                if not self._run_next(self.duties[name]):
                    return
            finally:
                self._leave(name)

    def is_due(self, name: str) -> bool:
        """Is there something to run, which nobody runs yet? Raises IndexFailure."""
        if name in self._running or self._stopping.is_set():
            return False
        return self.ledger.is_due(name, self.duties[name].calendar, self._clock())

    def due_by(self, name: str, success: datetime | None) -> datetime | None:
        """The moment after which the job is overdue, where it was last done well at ``success``.

        None where it runs by no schedule. Raises IndexFailure.
        """
        duty, since = self.duties[name], self.ledger.expected_since(name)
        if not duty.is_enabled or since is None:
            return None
        newest = next(iter(self.ledger.history(name, 1)), None)
        under_way = newest.started if newest is not None and newest.result is None else None
        begin = min(max(since, success or since), self._clock())  # the clock may have been set back
        return due_by(duty.calendar, duty.longest_run, begin, under_way)

    def run_by_hand(self, name: str, watcher: Watcher, gone: Callable[[], bool] = lambda: False) -> JobReport:
        """Run the job now, whatever its schedule. ``gone``: has who asked lost interest? Then the run ends.

        Raises JobRunning where it is running already, or the node is about to stop, and what the job raises.
        """
        duty = self.duties[name]
        if not self._enter(name):
            raise JobRunning(f"job {name} is running already, or the node is stopping; wait, or try again later")
        try:
            run = self.ledger.begin_by_hand(name, self._clock())
            return self._run(replace(duty, job=duty.by_hand or duty.job), run, watcher, gone)
        finally:
            self._leave(name)

    def stop(self) -> None:
        """Let every run end between two items, and begin none any more. May be said twice."""
        with self._changed:
            self._stopped_at = min(self._stopped_at, self._monotonic())
            self._stopping.set()

    def wait(self, seconds: float) -> bool:
        """After ``stop``: wait until no run is under way, for so long since then; False where that takes longer."""
        with self._changed:
            left = self._stopped_at + seconds - self._monotonic()
            return self._changed.wait_for(lambda: not self._running, max(left, 0.0))

    @property
    def is_stopping(self) -> bool:
        """Does no run begin any more?"""
        return self._stopping.is_set()

    @property
    def running(self) -> frozenset[str]:
        """The jobs that are running now."""
        with self._changed:
            return frozenset(self._running)

    def _enlist(self) -> None:
        enabled = {name: duty.schedule for name, duty in self.duties.items() if duty.is_enabled}
        self.ledger.enlist(enabled, self._clock())

    def _enter(self, name: str) -> bool:
        with self._changed:
            if name in self._running or self._stopping.is_set():
                return False
            self._running.add(name)
            return True

    def _leave(self, name: str) -> None:
        with self._changed:
            self._running.discard(name)
            self._changed.notify_all()

    def _run_next(self, duty: Duty) -> bool:
        """Was anything due?"""
        run, missed = self.ledger.claim(duty.job.name, duty.calendar, self._clock())
        if missed is not None:
            _log_missed(missed)
        if run is None:
            return False
        with contextlib.suppress(Exception):  # it is in the log and in the ledger; the next period may fare better
            self._run(duty, run, lambda done, total: None, lambda: False)
        return True

    def _run(self, duty: Duty, run: Run, watcher: Watcher, gone: Callable[[], bool]) -> JobReport:
        began = self._monotonic()
        budget = self._budget(duty, run, watcher, gone)
        try:
            report = duty.job.run(budget)
        except PacsNodeError as error:
            self._finish(run, Result.FAILED, began, None, str(error))
            raise
        except Exception:
            log.crash("job_crashed", job=run.job)
            self._finish(run, Result.FAILED, began, None, "a fault of the job; see event=job_crashed in the log")
            raise
        was_cut = not report.finished and self._stopping.is_set()
        self._finish(run, Result.STOPPED if was_cut else Result.DONE, began, report)
        return report

    def _budget(self, duty: Duty, run: Run, watcher: Watcher, gone: Callable[[], bool]) -> RunBudget:
        return RunBudget(
            seconds=self._seconds(duty),
            rate=duty.rate,
            stopping=self._stopping,
            is_unwanted=gone,
            is_slow=self.latency.is_receiving if duty.gives_way else self.latency.is_high,
            told=watcher,
            beat=lambda: self._beat(run),
            monotonic=self._monotonic,
        )

    def _seconds(self, duty: Duty) -> float:
        if duty.longest_run:
            return duty.longest_run
        if not duty.is_enabled:
            return math.inf
        next_one = duty.calendar.after(self._clock())
        return (duty.calendar.after(next_one) - next_one).total_seconds()

    def _beat(self, run: Run) -> None:
        try:
            self.ledger.beat(run, self._clock())
        except IndexFailure as error:
            log.event("job_not_noted", level=logging.WARNING, job=run.job, reason=error)

    def _finish(self, run: Run, result: Result, began: float, report: JobReport | None, reason: str = "") -> None:
        told = report or JobReport()
        if result is Result.FAILED:
            self.failures[run.job] += 1
        log.event(
            "job",
            level=logging.ERROR if result is Result.FAILED else logging.INFO,
            name=run.job,
            result=result.value,
            scheduled=None if run.is_by_hand else run.scheduled_for.isoformat(),
            attempt=run.attempt if run.attempt > 1 else None,
            ms=round((self._monotonic() - began) * 1000),
            done=told.done,
            skipped=told.skipped,
            failed=told.failed,
            bytes_before=told.bytes_before,
            bytes_after=told.bytes_after,
            finished="yes" if told.finished and report else "no",
            reason=reason or None,
        )
        try:
            self.ledger.finish(run, result, self._clock(), report=report, reason=reason)
        except IndexFailure as error:  # the next start takes it as abandoned, and runs the period again
            log.event("job_not_noted", level=logging.ERROR, job=run.job, reason=error)


def _log_missed(alarm: Alarm) -> None:
    periods = alarm.periods
    _log_alarm(alarm.job, alarm.kind, alarm.since.isoformat(), f"{periods} periods up to {alarm.until.isoformat()}")


def _log_alarm(job: str, kind: AlarmKind, since: str, reason: str) -> None:
    log.event("job_alarm", level=logging.WARNING, name=job, kind=kind.value, since=since, reason=reason)
