"""What a run and a restore cost; the long forms are ``incremental_run`` and ``restore_run``."""

from __future__ import annotations

from pathlib import Path

from tests.backup import incremental_run, restore_run


def test_a_run_costs_what_changed(tmp_path: Path) -> None:
    """After 100 new instances: as many requests whatever is in the archive, and hardly more work in the databases."""
    small = incremental_run.measure(tmp_path / "small", 500)
    large = incremental_run.measure(tmp_path / "large", 10_000)

    assert (100, 100) == (small.copied, large.copied)
    assert small.requests == large.requests < 110
    assert large.database_steps < 1.5 * small.database_steps


def test_a_restore_is_alike(tmp_path: Path) -> None:
    """Every digest, every row and the answers to fifty queries are as they were."""
    figures = restore_run.measure(tmp_path, 200, 64)

    assert figures.held, figures
