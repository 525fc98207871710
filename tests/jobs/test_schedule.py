"""The real APScheduler: what is due is run, whatever the clock does. The clock is that of libfaketime."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from pacsnode.jobs.budget import RunBudget
from pacsnode.jobs.duty import Duty
from pacsnode.jobs.job import Budget, JobReport
from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.record import AlarmKind, Result
from pacsnode.jobs.runner import Runner
from pacsnode.jobs.schedule import scheduled
from tests.jobs.stage import Told, duty


def now() -> datetime:
    return datetime.now(UTC)


class Counting(Told):
    """A job that tells when it has run so many times."""

    def __init__(self, target: int, name: str = "told") -> None:
        super().__init__(self._count, name)
        self.target = target
        self.reached = threading.Event()

    def _count(self, budget: Budget) -> JobReport:
        if self.runs >= self.target:
            self.reached.set()
        return JobReport(done=1)


def test_periods_are_run_as_they_come(tmp_path: Path) -> None:
    """Each second has its run, of each job."""
    jobs = [Counting(3, "one"), Counting(3, "other")]
    with closing(Ledger(tmp_path / "jobs.db", "NODE")) as ledger:
        runner = Runner([duty(job, "every 1 s") for job in jobs], ledger, clock=now)
        with scheduled(runner, now, end_seconds=5):
            assert all(job.reached.wait(20) for job in jobs)
        runs = ledger.history("one", 100)

    assert [] == [run for run in runs if run.result is not Result.DONE]
    periods = sorted(run.scheduled_for for run in runs)
    assert [timedelta(seconds=1)] * (len(periods) - 1) == [b - a for a, b in pairwise(periods)]


def test_a_busy_job_keeps_no_other_waiting(tmp_path: Path) -> None:
    """Each run has a thread: one that takes its time does not make another one late."""
    release = threading.Event()
    slow, quick = Told(lambda budget: JobReport(done=int(release.wait(20))), "slow"), Counting(2, "quick")
    with closing(Ledger(tmp_path / "jobs.db", "NODE")) as ledger:
        runner = Runner([duty(job, "every 1 s") for job in (slow, quick)], ledger, clock=now)
        with scheduled(runner, now, end_seconds=5):
            assert slow.began.wait(10)
            ran_meanwhile = quick.reached.wait(20)
            release.set()
        alarms = ledger.alarms("quick", 10)

    assert (True, []) == (ran_meanwhile, alarms)


class Forgotten:
    """A calendar that never tells the scheduler when to look: as if it had dropped the job."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def latest(self, moment: datetime) -> datetime:
        return self.moment if moment >= self.moment else self.moment - timedelta(days=1)

    def after(self, moment: datetime) -> datetime:
        return self.moment + timedelta(days=365)


def test_what_the_scheduler_drops_is_found_by_the_watch(tmp_path: Path) -> None:
    """Whatever APScheduler knows, a period that has come is run."""
    job = Counting(1)
    forgotten = Duty(job, "", Forgotten(now() + timedelta(seconds=0.5)), is_enabled=True)
    with closing(Ledger(tmp_path / "jobs.db", "NODE")) as ledger:
        with scheduled(Runner([forgotten], ledger, clock=now), now, end_seconds=5, look_seconds=0.05):
            found = job.reached.wait(20)

    assert found


def test_a_defect_of_the_scheduler_is_an_alarm(tmp_path: Path) -> None:
    """What APScheduler could not begin is in the ledger, and the watch tries again."""
    job = Counting(1)
    failures = iter([True, False])

    class Failing(Forgotten):
        def latest(self, moment: datetime) -> datetime:
            if threading.current_thread().name.startswith("job ") and next(failures, False):
                raise ValueError("a fault")
            return super().latest(moment)

    failing = Duty(job, "", Failing(now() + timedelta(seconds=0.2)), is_enabled=True)
    with closing(Ledger(tmp_path / "jobs.db", "NODE")) as ledger:
        with scheduled(Runner([failing], ledger, clock=now), now, end_seconds=5, look_seconds=0.05):
            found = job.reached.wait(20)
        kinds = [alarm.kind for alarm in ledger.alarms("told", 10)]

    assert (True, [AlarmKind.NOT_STARTED]) == (found, kinds)


def test_stop_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A job that does not ask its budget is left behind after the time that a stop has; the next start sees it."""
    release = threading.Event()
    job = Told(lambda budget: JobReport(done=int(release.wait(20))))
    with closing(Ledger(tmp_path / "jobs.db", "NODE")) as ledger:
        runner = Runner([duty(job, "every 1 s")], ledger, clock=now)
        with scheduled(runner, now, end_seconds=0.05):
            assert job.began.wait(10)
        seen = [run.job for run in ledger.close_open_runs(now())]
        release.set()
        assert runner.wait(10)

    assert ["told"] == seen


def test_stop_lets_a_run_end_between_two_items(tmp_path: Path) -> None:
    """Its budget has expired at once; what it has done so far is in the ledger."""
    began = threading.Event()

    def work(budget: Budget) -> JobReport:
        began.set()
        while not budget.expired():
            budget.spend(10)
        return JobReport(done=5, finished=False)

    with closing(Ledger(tmp_path / "jobs.db", "NODE")) as ledger:
        one = replace(duty(Told(work), "every 1 s", rate=1000), longest_run=60.0)
        with scheduled(Runner([one], ledger, clock=now), now, end_seconds=10):
            assert began.wait(10)
        (run,) = ledger.history("told", 1)

    assert (Result.STOPPED, 5) == (run.result, run.report.done if run.report else None)


# What the clock says, in seconds after its beginning: libfaketime reads it anew for each call.
JUMPS = {
    "forward by hours": [0, 7200],
    "back by hours": [0, -7200],
    "a year ahead, and right again": [0, 31_536_000, 60],
    "back and forth": [0, -600, 600, -60, 0],
}


@pytest.mark.parametrize("jumps", JUMPS.values(), ids=JUMPS.keys())
def test_steps_of_the_real_clock(tmp_path: Path, jumps: list[int]) -> None:
    """After each step jobs go on within a few seconds; no period is run twice, and each has a run or an alarm."""
    library = _faketime()
    stamp = tmp_path / "clock"
    stamp.write_text("+0")
    environment = {
        **os.environ,
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(stamp),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    command = [sys.executable, "-m", "tests.jobs.timed_node", str(tmp_path / "jobs.db")]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        assert node.stdin is not None
        for jump in jumps:
            stamp.write_text(f"{jump:+d}")
            node.stdin.write("go\n")
            node.stdin.flush()
            line = node.stdout.readline()
            assert re.fullmatch(r"ran\n", line), f"nothing ran after a step to {jump}: {line}"
        node.stdin.close()
        assert 0 == node.wait(30)
    with closing(Ledger(tmp_path / "jobs.db", "NODE")) as ledger:
        runs, alarms = ledger.history(None, 100_000), ledger.alarms(None, 100_000)

    assert {Result.DONE} == {run.result for run in runs}
    assert {1} == {run.attempt for run in runs}
    is_ahead = max(jumps) > 60
    assert not is_ahead or AlarmKind.MISSED in {alarm.kind for alarm in alarms}


def _faketime() -> str:
    if not shutil.which("faketime"):
        pytest.skip("faketime missing; run: apt-get install faketime")
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("libfaketime missing; run: apt-get install faketime")
    return str(found[0])


def test_budget_of_a_run_is_a_budget() -> None:
    """What jobs are given keeps their protocol."""
    budget: Budget = RunBudget()

    assert not budget.expired()
