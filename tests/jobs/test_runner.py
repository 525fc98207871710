"""Runs under the ledger: what becomes of them, one at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest

from pacsnode.errors import JobRunning, StoreError
from pacsnode.jobs.job import Budget, JobReport
from pacsnode.jobs.latency import Latency
from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.record import AlarmKind
from pacsnode.jobs.runner import Runner
from tests.jobs.stage import BEGAN, Killed, Stage, Told, duty

FIVE = 300.0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "jobs.db", "NODE")) as opened:
        yield opened


def runner_of(stage: Stage, ledger: Ledger, job: Told, text: str = "every 5 min", *, is_enabled: bool = True) -> Runner:
    """A node's runner after its start."""
    runner = Runner([duty(job, text, is_enabled=is_enabled)], ledger, clock=stage.clock, monotonic=stage.monotonic)
    runner.begin()
    return runner


def results(ledger: Ledger) -> list[str]:
    """What became of the runs, the newest first."""
    return [run.result.value if run.result else "under way" for run in ledger.history(None, 100)]


def alarms(ledger: Ledger) -> list[tuple[AlarmKind, int]]:
    """Kinds and periods of the alarms, the newest first."""
    return [(alarm.kind, alarm.periods) for alarm in ledger.alarms(None, 100)]


def test_new_job_begins_with_its_next_period(ledger: Ledger) -> None:
    """What was before the job was there is not made up for, and is no alarm."""
    stage, job = Stage(), Told()
    runner = runner_of(stage, ledger, job)
    runner.run_due("told")
    before = job.runs
    stage.pass_time(FIVE)
    runner.run_due("told")
    runner.run_due("told")

    assert (0, 1) == (before, job.runs)
    assert ([], ["done"]) == (alarms(ledger), results(ledger))


def test_caught_up_once(ledger: Ledger) -> None:
    """After a day without the node the newest period is run, and one alarm tells of the others."""
    stage, job = Stage(), Told()
    runner = runner_of(stage, ledger, job)
    stage.pass_time(FIVE)
    runner.run_due("told")
    stage.pass_time(86_400)
    runner_of(stage, ledger, job).run_due("told")

    assert (2, [(AlarmKind.MISSED, 287)]) == (job.runs, alarms(ledger))


def test_changed_schedule_misses_nothing(ledger: Ledger) -> None:
    """Another schedule begins with its next period; so does a job that was disabled for long."""
    stage, job = Stage(), Told()
    runner_of(stage, ledger, job).run_due("told")
    stage.pass_time(86_400)
    changed = runner_of(stage, ledger, job, "0 2 * * *")
    changed.run_due("told")
    runner_of(stage, ledger, job, "0 2 * * *", is_enabled=False)
    stage.pass_time(7 * 86_400)
    runner_of(stage, ledger, job, "0 2 * * *").run_due("told")

    assert (0, []) == (job.runs, alarms(ledger))


def test_failure_is_an_alarm(ledger: Ledger) -> None:
    """The reason is kept, the period is not tried again, the next one is."""
    stage = Stage()
    job = Told(fail)
    runner = runner_of(stage, ledger, job)
    for _ in range(2):
        stage.pass_time(FIVE)
        runner.run_due("told")
        runner.run_due("told")

    assert (2, ["failed", "failed"]) == (job.runs, results(ledger))
    assert [(AlarmKind.FAILED, 1), (AlarmKind.FAILED, 1)] == alarms(ledger)
    assert "no disk" == ledger.history("told", 1)[0].reason


def test_defect_of_a_job_is_a_failure(ledger: Ledger) -> None:
    """An error that nobody foresaw ends the run, not the runner; its text, which may name patients, is not kept."""
    stage = Stage()

    def crash(budget: Budget) -> JobReport:
        raise ValueError("Doe^John")

    runner = runner_of(stage, ledger, Told(crash))
    stage.pass_time(FIVE)
    runner.run_due("told")

    assert ["failed"] == results(ledger)
    assert "Doe" not in ledger.history("told", 1)[0].reason


def test_killed_run_is_run_again_once(ledger: Ledger) -> None:
    """The next start closes it as abandoned and runs its period again; what kills the process twice is left."""
    stage = Stage()

    def die(budget: Budget) -> JobReport:
        raise Killed

    job = Told(die)
    runner = runner_of(stage, ledger, job, "every 1 d")
    stage.pass_time(86_400)
    for _ in range(2):
        with pytest.raises(Killed):
            runner.run_due("told")
        runner = runner_of(stage, ledger, job, "every 1 d")
    runner.run_due("told")

    assert (2, ["abandoned"]) == (job.runs, results(ledger))
    assert [(AlarmKind.ABANDONED, 1)] == alarms(ledger)
    assert 2 == ledger.history("told", 1)[0].attempt


def test_stopped_run_goes_on_at_the_next_start(ledger: Ledger) -> None:
    """A stop ends a run between two items, and the next start runs its period again."""
    stage = Stage()
    job = Told()
    runner = runner_of(stage, ledger, job, "every 1 d")
    stage.pass_time(86_400)

    def stopped_under_it(budget: Budget) -> JobReport:
        runner.stop()
        return JobReport(finished=not budget.expired())

    job.work = stopped_under_it
    runner.run_due("told")
    stopped = results(ledger)
    job.work = lambda budget: JobReport(finished=not budget.expired())
    runner_of(stage, ledger, job, "every 1 d").run_due("told")

    assert (["stopped"], ["done"], []) == (stopped, results(ledger), alarms(ledger))


def test_run_ends_before_its_next_one_is_due(ledger: Ledger) -> None:
    """Without a time of its own a run may take as long as its period."""
    stage = Stage()

    def work(budget: Budget) -> JobReport:
        done = 0
        while not budget.expired():
            stage.pass_time(1)
            done += 1
        return JobReport(done=done, finished=False)

    runner = runner_of(stage, ledger, Told(work))
    stage.pass_time(FIVE)
    report = runner.run_by_hand("told", lambda done, total: None)

    assert (300, ["done"]) == (report.done, results(ledger))


def test_long_run_lets_periods_pass_with_an_alarm(ledger: Ledger) -> None:
    """When it ends, the newest period is run at once, and those between have an alarm."""
    stage = Stage()
    waits = iter([1000.0, 0.0])

    def work(budget: Budget) -> JobReport:
        stage.pass_time(next(waits))
        return JobReport()

    job = Told(work)
    runner = runner_of(stage, ledger, job)
    stage.pass_time(FIVE)
    runner.run_due("told")

    assert (2, [(AlarmKind.MISSED, 2)]) == (job.runs, alarms(ledger))


def test_one_run_of_a_job_at_a_time(ledger: Ledger) -> None:
    """While one is under way, neither the schedule nor anybody starts a second one."""
    stage, release = Stage(), threading.Event()
    job = Told(lambda budget: JobReport(done=int(release.wait(10))))
    runner = runner_of(stage, ledger, job)
    stage.pass_time(FIVE)
    thread = threading.Thread(target=runner.run_due, args=("told",))
    thread.start()
    assert job.began.wait(10)
    with pytest.raises(JobRunning):
        runner.run_by_hand("told", lambda done, total: None)
    runner.run_due("told")
    stage.pass_time(FIVE)
    due_meanwhile = runner.is_due("told")
    stage.now -= timedelta(seconds=FIVE)
    release.set()
    thread.join(10)

    assert (False, 1, ["done"]) == (due_meanwhile, job.runs, results(ledger))


def test_by_hand_stands_for_no_period(ledger: Ledger) -> None:
    """A run that somebody asked for is in the ledger, and the schedule goes on as if it had not been."""
    stage, job = Stage(), Told()
    runner = runner_of(stage, ledger, job)
    stage.pass_time(FIVE - 1)
    report = runner.run_by_hand("told", lambda done, total: None)
    stage.pass_time(1)
    runner.run_due("told")

    assert (JobReport(done=1), 2) == (report, job.runs)
    assert [False, True] == [run.is_by_hand for run in ledger.history("told", 10)]


def test_disabled_job_runs_by_hand_only(ledger: Ledger) -> None:
    """It is not due, whatever its schedule says."""
    stage, job = Stage(), Told()
    runner = runner_of(stage, ledger, job, is_enabled=False)
    stage.pass_time(86_400)
    runner.run_due("told")
    runner.run_by_hand("told", lambda done, total: None)

    assert 1 == job.runs


def test_clock_set_back_behind_the_first_start(ledger: Ledger) -> None:
    """A job that was first seen in 2031, by a wrong clock, runs all the same when the clock is right."""
    stage, job = Stage(), Told()
    right = stage.now
    stage.now += timedelta(days=2000)
    runner = runner_of(stage, ledger, job)
    stage.now = right
    looked = runner.is_due("told")
    runner.run_due("told")
    stage.pass_time(FIVE)
    runner.run_due("told")

    assert (True, 1, [(AlarmKind.CLOCK, 0)]) == (looked, job.runs, alarms(ledger))


def test_summary_tells_last_success_and_last_result(ledger: Ledger) -> None:
    """A failure after a success is the last result, and the success stays the last success."""
    stage, job = Stage(), Told()
    runner = runner_of(stage, ledger, job)
    stage.pass_time(FIVE)
    runner.run_due("told")
    done_at = stage.now.isoformat()
    job.work = fail
    stage.pass_time(FIVE)
    runner.run_due("told")

    expected = {
        "told": {"last_success": done_at, "last_result": "failed"},
        "other": {"last_success": None, "last_result": None},
    }
    assert expected == ledger.summary(["told", "other"])


def fail(budget: Budget) -> JobReport:
    raise StoreError("no disk")


def test_last_run_and_last_success_are_not_forgotten(ledger: Ledger) -> None:
    """However old: else a period could be due again, or a status say never."""
    stage, job = Stage(), Told()
    runner = runner_of(stage, ledger, job)
    for work in (job.work, fail, fail):
        job.work = work
        stage.pass_time(FIVE)
        runner.run_due("told")
    ledger.forget(stage.now + timedelta(days=90))

    assert (["failed", "done"], []) == (results(ledger), alarms(ledger))


def test_periods_that_were_run_are_in_no_alarm(ledger: Ledger) -> None:
    """A clock that was set forward, back and forward again: what was run meanwhile was not missed."""
    stage, job = Stage(), Told()
    runner = runner_of(stage, ledger, job)
    for minutes in (5, 60, 10, 65):
        stage.now = BEGAN + timedelta(minutes=minutes)
        runner.run_due("told")

    assert (4, [(AlarmKind.MISSED, 10)]) == (job.runs, alarms(ledger))


def test_ledger_that_fails_at_the_end_of_a_run(ledger: Ledger, tmp_path: Path) -> None:
    """The runner goes on; the next start takes the run as abandoned."""
    stage = Stage()

    def work(budget: Budget) -> JobReport:
        ledger.close()
        return JobReport()

    runner = runner_of(stage, ledger, Told(work))
    stage.pass_time(FIVE)
    report = runner.run_by_hand("told", lambda done, total: None)
    with closing(Ledger(tmp_path / "jobs.db", "NODE")) as again:
        left = [run.job for run in again.close_open_runs(stage.now)]

    assert (JobReport(), ["told"], frozenset()) == (report, left, runner.running)


def test_old_runs_are_forgotten(ledger: Ledger) -> None:
    """But for the last one of a job, and its last success: no period comes to be due again."""
    stage, job = Stage(), Told()
    runner = runner_of(stage, ledger, job)
    for _ in range(3):
        stage.pass_time(FIVE)
        runner.run_due("told")
    forgotten = ledger.forget(stage.now + timedelta(days=90))
    runner.run_due("told")

    assert (2, 3, ["done"]) == (forgotten, job.runs, results(ledger))


@pytest.mark.parametrize(("gives_way", "waits"), [(True, True), (False, False)])
def test_a_job_that_gives_way(gives_way: bool, waits: bool, ledger: Ledger) -> None:
    """Its items wait until nothing is received any more; those of other jobs do not, while receiving is not slow."""
    stage, looks = Stage(), count()
    latency = Latency(lambda: next(looks) * 0.03)

    def work(budget: Budget) -> JobReport:
        latency.note(0.001)
        begun = next(looks)
        budget.spend(1)
        return JobReport(done=next(looks) - begun)

    duties = [replace(duty(Told(work), "every 5 min"), gives_way=gives_way)]
    runner = Runner(duties, ledger, clock=stage.clock, latency=latency)
    looked = runner.run_by_hand("told", lambda done, total: None).done

    assert waits == (looked > 3)
