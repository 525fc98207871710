"""Where files in the making are: in folders that are left when creations in them take long."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from pacsnode.storage.filesystem import FilesystemStore
from tests.storage.test_store_contract import CONTENT, put

FAST, SLOW = [0.0, 0.00001], [0.0, 0.001]  # what the processor spent before a creation, and on it


def test_files_in_the_making_move_to_another_folder(tmp_path: Path) -> None:
    """A folder in which most files take long to create is given up, and removed some folders later."""
    spent = itertools.accumulate(itertools.cycle(FAST + 16 * SLOW))
    store = FilesystemStore(tmp_path, cpu_time=lambda: next(spent))
    (first,) = (tmp_path / "spool").iterdir()
    for _ in range(17):
        put(store, CONTENT)

    assert 2 == len(list((tmp_path / "spool").iterdir()))
    for _ in range(20 * 17):
        put(store, CONTENT)
    assert not first.exists()
    assert len(list((tmp_path / "spool").iterdir())) < 20


@pytest.mark.parametrize(("pace", "folders"), [([*FAST, *FAST, *SLOW], 1), (SLOW, 4)], ids=["now and then", "always"])
def test_files_in_the_making_move_where_that_is_of_use(tmp_path: Path, pace: list[float], folders: int) -> None:
    """One creation that took long says nothing of its folder, and where all do another folder is tried ever less."""
    spent = itertools.accumulate(itertools.cycle(pace))
    store = FilesystemStore(tmp_path, cpu_time=lambda: next(spent))
    for _ in range(100):
        put(store, CONTENT)

    assert folders == len(list((tmp_path / "spool").iterdir()))


def test_spool_folder_that_somebody_removed(tmp_path: Path) -> None:
    """A folder in the spool that is gone is made anew; the upload succeeds."""
    store = FilesystemStore(tmp_path)
    put(store, CONTENT)
    for folder in (tmp_path / "spool").iterdir():
        folder.rmdir()

    assert put(store, CONTENT).size == len(CONTENT)
