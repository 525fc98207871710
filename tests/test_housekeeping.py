"""The job that looks after the index's file and the ledger of runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pacsnode.archive import Archive
from pacsnode.housekeeping import Housekeeping
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.jobs.budget import RunBudget
from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.record import Result
from pacsnode.storage.memory import MemoryStore

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "jobs.db", "NODE")) as opened:
        for days in (100, 95, 2, 1):
            at = NOW - timedelta(days=days)
            opened.finish(opened.begin_by_hand("other", at), Result.DONE, at, report=None)
        yield opened


def test_old_runs_go_and_the_index_is_checked(tmp_path: Path, ledger: Ledger) -> None:
    """Runs of more than 90 days ago are forgotten; a rehearsal forgets none."""
    with closing(SqliteIndex(tmp_path / "index.db")) as index:
        job = Housekeeping(Archive(MemoryStore(), index, lambda: NOW), ledger)
        rehearsed = job.rehearse(RunBudget())
        before = len(ledger.history(None, 10))
        report = job.run(RunBudget())

    assert (1, 0, 4) == (rehearsed.done, rehearsed.failed, before)
    assert (1, 0, True, {"forgotten_runs": 2, "forgotten_changes": 0}) == (
        report.done,
        report.failed,
        report.finished,
        report.details,
    )
    assert 2 == len(ledger.history(None, 10))


def test_damaged_index_is_a_failure(tmp_path: Path, ledger: Ledger) -> None:
    """What SQLite finds wrong with the file is in the report."""
    path = tmp_path / "index.db"
    SqliteIndex(path).close()
    content = bytearray(path.read_bytes())
    content[4096 * 2 : 4096 * 4] = b"\xff" * 8192
    path.write_bytes(content)
    with closing(SqliteIndex(path, read_only=True)) as index:
        report = Housekeeping(Archive(MemoryStore(), index, lambda: NOW), ledger).run(RunBudget())

    assert (0, 1) == (report.done, report.failed)
    assert report.details["index"]
