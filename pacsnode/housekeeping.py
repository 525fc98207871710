"""The job that looks after what the node keeps of itself: the file of the index, and the ledger of runs."""

from __future__ import annotations

from datetime import timedelta

from pacsnode.archive import Archive
from pacsnode.jobs.job import Budget, JobReport
from pacsnode.jobs.ledger import Ledger

_KEPT = timedelta(days=90)
_CHECK_SECONDS = 60.0


class Housekeeping:
    """A Job (see jobs/job.py). Its items are the index and the ledger; a damaged index counts as failed."""

    name = "housekeeping"

    def __init__(self, archive: Archive, ledger: Ledger) -> None:
        self._archive = archive
        self._ledger = ledger

    def run(self, budget: Budget) -> JobReport:
        """Check the database of the index for a minute at most, and forget runs of more than 90 days ago and what of
        the index's journal nobody needs."""
        problems = self._archive.index.problems(_CHECK_SECONDS)
        budget.advance(1, 2)
        if budget.expired():
            return _report(problems, finished=False)
        forgotten = self._ledger.forget(self._archive.clock() - _KEPT)
        entries = 0
        while not (problems or budget.expired()) and (dropped := self._archive.index.forget_changes()):
            entries += dropped
        budget.advance(2, 2)
        return _report(problems, finished=True, runs=forgotten, entries=entries)

    def rehearse(self, budget: Budget) -> JobReport:
        """Check the database, which changes nothing."""
        problems = self._archive.index.problems(_CHECK_SECONDS)
        budget.advance(1, 1)
        return _report(problems, finished=True)


def _report(problems: list[str], *, finished: bool, runs: int = 0, entries: int = 0) -> JobReport:
    details: dict[str, int | float | str] = {"forgotten_runs": runs, "forgotten_changes": entries}
    if problems:
        details["index"] = "; ".join(problems)
    return JobReport(done=0 if problems else 1, failed=1 if problems else 0, finished=finished, details=details)
