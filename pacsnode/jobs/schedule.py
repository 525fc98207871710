"""The scheduler of the running node, on APScheduler: the only file that imports it.

It says when to look; the ledger says what is due. So whatever it loses, drops or does twice, a watch that looks every
few seconds by a clock that nobody sets finds what is due, and the ledger's unique key refuses what is not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from apscheduler import events
from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.jobstores.base import JobLookupError
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from pacsnode import log
from pacsnode.errors import IndexFailure
from pacsnode.jobs.calendar import Calendar
from pacsnode.jobs.record import Alarm, AlarmKind
from pacsnode.jobs.runner import Runner
from pacsnode.model import Clock

_LOOK_SECONDS = 15.0
_STEP_SECONDS = 2.0
# Not EVENT_JOB_MAX_INSTANCES: the run under way looks again when it ends, and what it let pass is a missed period.
_PROBLEMS = events.EVENT_JOB_MISSED | events.EVENT_JOB_ERROR
_QUIET = ("apscheduler.scheduler", "apscheduler.executors.default")


@contextmanager
def scheduled(
    runner: Runner, clock: Clock, *, end_seconds: float, look_seconds: float = _LOOK_SECONDS
) -> Iterator[None]:
    """Run what is due while the block lasts. At its end, or since the runner was told to stop before, runs have
    ``end_seconds`` to end between two items.

    What does not end by then is left to itself; the next start sees it. Raises IndexFailure.
    """
    runner.begin()
    scheduler = _Scheduler(runner, clock, look_seconds)
    scheduler.start()
    try:
        yield
    finally:
        runner.stop()
        scheduler.stop()
        if not runner.wait(end_seconds):
            for name in sorted(runner.running):
                log.event("job_left", level=logging.WARNING, name=name, seconds=end_seconds)


class _Scheduler:
    def __init__(self, runner: Runner, clock: Clock, look_seconds: float) -> None:
        self._runner = runner
        self._clock = clock
        self._look_seconds = look_seconds
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._look, name="jobs", daemon=True)
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            jobstores={"default": MemoryJobStore()},
            executors={"default": _Threads()},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        for name in _QUIET:  # each run is in our own log
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._scheduler.add_listener(self._heard, _PROBLEMS)

    def start(self) -> None:
        self._follow()
        self._scheduler.start()
        self._watch.start()
        self._runner.on_change = self._follow

    def stop(self) -> None:
        self._runner.on_change = lambda: None
        self._stopping.set()
        self._watch.join()
        self._scheduler.shutdown(wait=False)

    def _follow(self) -> None:
        """Schedule the jobs that are enabled now, and only those."""
        names = self._names()
        for name in names:
            trigger = _Trigger(self._runner.duties[name].calendar)
            self._scheduler.add_job(
                self._run_due, trigger, args=(name,), id=name, replace_existing=True, next_run_time=self._clock()
            )
        for job in self._scheduler.get_jobs():
            if job.id not in names:
                job.remove()

    def _names(self) -> list[str]:
        return [name for name, duty in self._runner.duties.items() if duty.is_enabled]

    def _run_due(self, name: str) -> None:
        try:
            self._runner.run_due(name)
        except IndexFailure as error:  # the disk of the ledger; the watch comes again
            log.event("job_not_noted", level=logging.ERROR, job=name, reason=error)

    def _look(self) -> None:
        """APScheduler computes how long to wait from the clock, and does not notice when it is set: this does."""
        offset = self._offset()
        while not self._stopping.wait(self._look_seconds):
            has_stepped = abs(self._offset() - offset) > _STEP_SECONDS
            if has_stepped:
                seconds = round(self._offset() - offset, 1)
                log.event("clock_stepped", level=logging.WARNING, seconds=seconds)
                offset = self._offset()
            for name in self._names():
                self._look_at(name, has_stepped)

    def _look_at(self, name: str, has_stepped: bool) -> None:
        try:
            is_due = self._runner.is_due(name)
        except IndexFailure as error:
            log.event("job_not_noted", level=logging.ERROR, job=name, reason=error)
            return
        if is_due or has_stepped:
            with suppress(JobLookupError):  # it was disabled a moment ago
                self._scheduler.modify_job(name, next_run_time=datetime.now(UTC))

    def _offset(self) -> float:
        return self._clock().timestamp() - time.monotonic()

    def _heard(self, event: events.JobEvent) -> None:
        """What the scheduler could not begin; it is found due by the next look all the same."""
        reason = "dropped" if event.code == events.EVENT_JOB_MISSED else "a fault of the scheduler"
        log.event("job_alarm", level=logging.ERROR, name=event.job_id, kind=AlarmKind.NOT_STARTED.value, reason=reason)
        now = self._clock()
        try:
            self._runner.ledger.note(Alarm(event.job_id, AlarmKind.NOT_STARTED, now, now, 0, now, reason))
        except IndexFailure as error:
            log.event("job_not_noted", level=logging.ERROR, job=event.job_id, reason=error)


class _Trigger(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Never one that is over: the ledger knows those."""
        return self._calendar.after(now.astimezone(UTC))


class _Threads(BaseExecutor):  # type: ignore[misc]  # APScheduler has no types
    """A thread for each run, so that none waits for another; it does not keep the process from ending."""

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        def work() -> None:
            self._run_job_success(job.id, run_job(job, "default", run_times, self._logger.name))

        threading.Thread(target=work, name=f"job {job.id}", daemon=True).start()
