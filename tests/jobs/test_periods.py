"""No period is run twice and none is lost unseen, whatever clock, scheduler, kills and restarts do."""

from __future__ import annotations

import logging
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pacsnode.jobs.job import Budget, JobReport
from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.record import Result, Run
from pacsnode.jobs.runner import Runner
from tests.jobs.stage import Killed, Stage, Told, duty

CASES = int(os.environ.get("PACSNODE_SCHEDULES", "1000"))
_STEPS = 25
_ALL = 100_000
_ZONES = ("UTC", "Europe/Brussels", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kolkata")
_SHARED_MEMORY = Path("/dev/shm")  # a thousand cases sync often, and none of them cuts the power


class Case:
    """One random schedule on one random machine."""

    def __init__(self, number: int, path: Path) -> None:
        self.random = random.Random(number)
        self.stage = Stage()
        self.stage.now += timedelta(seconds=self.random.randrange(365 * 86_400))
        self.path = path
        self.is_calm = False
        self.job = Told(self.work)
        self.duty = duty(self.job, self.schedule(), self.random.choice(_ZONES))
        self.since = self.stage.now
        self.done: dict[datetime, Run] = {}

    def schedule(self) -> str:
        """Any."""
        minute, hour = self.random.randrange(60), self.random.randrange(24)
        every = f"every {self.random.choice([1, 5, 7, 60, 1440])} min"
        cron = ["*/5 * * * *", "*/30 * * * *", "17 */6 * * *", f"{minute} {hour} * * *", f"{minute} {hour} * * 1-5"]
        return self.random.choice([every, *cron])

    def work(self, budget: Budget) -> JobReport:
        """Take some time; be killed, fail or be stopped on the way."""
        if self.is_calm:
            return JobReport(done=1)
        self.stage.pass_time(self.random.choice([0, 1, 20, 400, 4000]))
        chance = self.random.random()
        if chance < 0.1:
            raise Killed
        if chance < 0.15:
            raise ValueError("a fault of the job")
        if chance < 0.25:
            self.runner.stop()
        return JobReport(done=1, finished=not budget.expired())

    @contextmanager
    def node(self) -> Iterator[tuple[Runner, Ledger]]:
        """From the start of a node to its end."""
        with closing(Ledger(self.path, "NODE")) as ledger:
            runner = Runner([self.duty], ledger, clock=self.stage.clock, monotonic=self.stage.monotonic)
            self.runner = runner
            runner.begin()
            yield runner, ledger

    def play(self) -> None:
        """Live through restarts, kills, starvation and steps of the clock; then in peace."""
        left = _STEPS
        while left > 0:
            with self.node() as (runner, ledger):
                while left > 0 and self.random.random() > 0.1:
                    left -= 1
                    self.disturb(runner)
                    try:
                        self.look(runner, ledger)
                    except Killed:
                        break
            self.stage.pass_time(self.random.choice([1, 30, 3000, 100_000]))
        self.is_calm = True
        with self.node() as (runner, ledger):
            for _ in range(4):
                self.look(runner, ledger)
                self.stage.now = self.duty.calendar.after(self.stage.now)
            self.look(runner, ledger)
            assert [] == self.lost(ledger)

    def disturb(self, runner: Runner) -> None:
        """Set the clock, by seconds or by weeks; keep the worker waiting; tell the node to stop."""
        if self.random.random() < 0.25:
            size = self.random.choice([3, 600, 90_000, 2_000_000])
            self.stage.now += timedelta(seconds=round(self.random.uniform(-size, size), 3))
        self.stage.pass_time(self.random.choice([1, 15, 15, 200, 20_000]))
        if self.random.random() < 0.05:
            runner.stop()

    def look(self, runner: Runner, ledger: Ledger) -> None:
        """What a wake of the scheduler does; what was done stays as it was, and what is due has begun."""
        if not runner.is_stopping:
            self.since = min(self.since, self.stage.now)
        began = self.stage.now
        try:
            runner.run_due(self.job.name)
        finally:
            runs = {run.scheduled_for: run for run in ledger.history(self.job.name, _ALL)}
            assert self.done == {period: runs[period] for period in self.done}
            self.done = {period: run for period, run in runs.items() if run.result is Result.DONE}
        period = self.duty.calendar.latest(began)
        assert runner.is_stopping or period <= self.since or period in runs

    def lost(self, ledger: Ledger) -> list[datetime]:
        """Periods up to the last run that are neither done nor within an alarm."""
        alarms = ledger.alarms(self.job.name, _ALL)
        lost, period = [], self.duty.calendar.after(self.since)
        while period <= max(self.done):
            until = [alarm.until for alarm in alarms if alarm.since <= period <= alarm.until]
            if not until and period not in self.done:
                lost.append(period)
            period = self.duty.calendar.after(max([period, *until]))
        return lost


@pytest.mark.slow
def test_every_period_has_one_run_that_is_done_or_an_alarm(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand random schedules with starved workers, steps of the clock, failures, kills and restarts."""
    caplog.set_level(logging.CRITICAL, "pacsnode")
    where = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None
    runs = 0
    for number in range(CASES):
        with tempfile.TemporaryDirectory(prefix="pacsnode-jobs-", dir=where) as folder:
            case = Case(number, Path(folder) / "jobs.db")
            case.play()
            runs += case.job.runs

    assert runs > 5 * CASES
