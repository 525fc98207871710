"""A runner on a stage: a clock that is set as one likes, and a job that does what it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from pacsnode.config.schedule import parse
from pacsnode.jobs.calendar import calendar
from pacsnode.jobs.duty import Duty
from pacsnode.jobs.job import Budget, JobReport

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Killed(BaseException):
    """The end of the process, which nothing of it notices."""


class Stage:
    """The time of a machine: the clock on the wall, and the one that nobody sets."""

    def __init__(self) -> None:
        self.now = BEGAN
        self.seconds = 0.0

    def clock(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.seconds

    def pass_time(self, seconds: float) -> None:
        """Both clocks go on."""
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds


class Told:
    """A job that does what it was told; counts its runs."""

    def __init__(
        self, work: Callable[[Budget], JobReport] = lambda budget: JobReport(done=1), name: str = "told"
    ) -> None:
        self.name = name
        self.work = work
        self.runs = 0
        self.began = threading.Event()

    def run(self, budget: Budget) -> JobReport:
        """Do it."""
        self.runs += 1
        self.began.set()
        return self.work(budget)

    def rehearse(self, budget: Budget) -> JobReport:
        """Would do something."""
        return JobReport(done=7)


def duty(job: Told, text: str = "every 5 min", zone: str = "UTC", *, is_enabled: bool = True, rate: int = 0) -> Duty:
    """The job by that schedule."""
    return Duty(job, f"{text} {zone}", calendar(parse(text), ZoneInfo(zone)), is_enabled, rate=rate)
