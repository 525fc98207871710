"""By when a job is to be done: by its own schedule, and never where it has none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from pacsnode.jobs.deadline import due_by
from pacsnode.jobs.job import Budget, JobReport
from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.record import Result
from pacsnode.jobs.runner import Runner
from tests.jobs.stage import BEGAN, Stage, Told, duty

WEEK, DAY, HOUR = timedelta(days=7), timedelta(days=1), timedelta(hours=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "jobs.db", "NODE")) as opened:
        yield opened


def engaged(stage: Stage, ledger: Ledger, text: str, job: Told | None = None, *, is_enabled: bool = True) -> Runner:
    """The runner of a job by that schedule, which begins now."""
    made = duty(job or Told(), text, is_enabled=is_enabled)
    runner = Runner([made], ledger, clock=stage.clock, monotonic=stage.monotonic)
    runner.begin()
    return runner


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("every 5 min", 10 * 60), ("0 12 * * *", 2 * 86_400), ("0 12 * * sun", 14 * 86_400)],
)
def test_one_period_to_begin_and_one_to_run(text: str, seconds: float) -> None:
    """A job that was done a moment ago is not overdue before another period is over, however long that is."""
    assert BEGAN + timedelta(seconds=seconds) == due_by(duty(Told(), text).calendar, 0.0, BEGAN, None)


def test_a_run_has_its_longest_time() -> None:
    """Where the longest run is set, a success is due so long after its period."""
    assert BEGAN + WEEK + HOUR == due_by(duty(Told(), "0 12 * * sun").calendar, 3600.0, BEGAN, None)


def test_a_late_run_is_waited_for() -> None:
    """A run that began late, after a start, has its time."""
    begun = BEGAN + 10 * DAY

    assert begun + DAY == due_by(duty(Told(), "0 12 * * *").calendar, 0.0, BEGAN, begun)


def test_weekly_job(ledger: Ledger) -> None:
    """It is never overdue while it is done week by week; two days after a success nobody is woken."""
    stage = Stage()
    runner = engaged(stage, ledger, "0 12 * * sun")
    for _ in range(14):
        stage.pass_time(DAY.total_seconds())
        runner.run_due("told")
        success = ledger.last("told", Result.DONE)
        due = runner.due_by("told", success.finished if success else None)
        assert due is not None
        assert due > stage.now


def test_never_done(ledger: Ledger) -> None:
    """A job that has failed ever since it was enabled is overdue from its second period on, not before."""
    stage = Stage()

    def fail(budget: Budget) -> JobReport:
        raise OSError

    runner = engaged(stage, ledger, "0 12 * * *", Told(fail))
    found: list[datetime | None] = []
    for _ in range(3):
        stage.pass_time(DAY.total_seconds())
        runner.run_due("told")
        found.append(runner.due_by("told", None))

    assert 3 * [BEGAN + 2 * DAY] == found


def test_disabled_job(ledger: Ledger) -> None:
    """It is never due; when it is enabled again, old successes do not make it overdue."""
    stage = Stage()
    engaged(stage, ledger, "0 12 * * *")
    stage.pass_time(30 * 86_400)
    off = engaged(stage, ledger, "0 12 * * *", is_enabled=False).due_by("told", BEGAN)
    on = engaged(stage, ledger, "0 12 * * *").due_by("told", BEGAN)

    assert (None, stage.now + 2 * DAY) == (off, on)


def test_clock_that_was_set_back(ledger: Ledger) -> None:
    """A success of the future puts nothing off."""
    stage = Stage()
    runner = engaged(stage, ledger, "0 12 * * *")
    runner.run_by_hand("told", lambda done, total: None)
    stage.now -= 100 * DAY

    assert stage.now + 2 * DAY == runner.due_by("told", BEGAN)
