"""The scheduler in a process of its own, whose clock the test sets: says when jobs go on after each step."""

from __future__ import annotations

import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from pacsnode.jobs.job import Budget, JobReport
from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.runner import Runner
from pacsnode.jobs.schedule import scheduled
from tests.jobs.stage import Told, duty

_LONGEST_SECONDS = 15.0


def main(path: Path) -> int:
    """Run a job every second; for each line that comes in, say when it has run twice more."""
    ran = threading.Semaphore(0)

    def work(budget: Budget) -> JobReport:
        ran.release()
        return JobReport(done=1)

    def clock() -> datetime:
        return datetime.now(UTC)

    with closing(Ledger(path, "NODE")) as ledger:
        runner = Runner([duty(Told(work), "every 1 s")], ledger, clock=clock)
        with scheduled(runner, clock, end_seconds=5, look_seconds=0.2):
            for _ in sys.stdin:
                while ran.acquire(blocking=False):
                    pass
                has_run = all(ran.acquire(timeout=_LONGEST_SECONDS) for _ in range(2))
                print("ran" if has_run else "did not run", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
