"""A run whose process is killed."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.record import AlarmKind, Result
from pacsnode.jobs.runner import Runner
from tests.jobs.killed_node import SCHEDULE
from tests.jobs.stage import Told, duty


def test_next_start_sees_a_killed_run_and_runs_it_again(tmp_path: Path) -> None:
    """SIGKILL in the middle: the row stays under way, is closed as abandoned, and its period is run once more."""
    path, job = tmp_path / "jobs.db", Told()
    command = [sys.executable, "-m", "tests.jobs.killed_node", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "began\n" == process.stdout.readline()
        process.kill()
    with closing(Ledger(path, "NODE")) as ledger:
        (left,) = ledger.history("told", 1)
        runner = Runner([duty(job, SCHEDULE)], ledger, clock=lambda: datetime.now(UTC))
        runner.begin()
        (seen,) = ledger.history("told", 1)
        runner.run_due("told")
        runner.run_due("told")
        (again,) = ledger.history("told", 1)
        alarms = ledger.alarms("told", 10)

    assert (None, Result.ABANDONED, Result.DONE) == (left.result, seen.result, again.result)
    assert (1, 2, 1) == (left.attempt, again.attempt, job.runs)
    assert [AlarmKind.ABANDONED, AlarmKind.MISSED] == [alarm.kind for alarm in alarms]
