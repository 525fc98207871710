"""A process that is killed in the middle of a run."""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pacsnode.jobs.job import Budget, JobReport
from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.runner import Runner
from tests.jobs.stage import Told, duty

SCHEDULE = "every 100 d"


def main(path: Path) -> None:
    """Begin the run that is due, say so, and do not end."""

    def work(budget: Budget) -> JobReport:
        print("began", flush=True)
        threading.Event().wait()
        return JobReport()

    long_ago = datetime.now(UTC) - timedelta(days=200)
    one = duty(Told(work), SCHEDULE)
    ledger = Ledger(path, "NODE")
    ledger.enlist({"told": one.schedule}, long_ago)
    Runner([one], ledger, clock=lambda: datetime.now(UTC)).run_due("told")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
