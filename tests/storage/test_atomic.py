from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pacsnode.errors import StoreError, StoreFull
from pacsnode.storage.atomic import write_atomically
from tests.storage.recorded_calls import RecordedFileSystem, durability_gaps, nth_fails


def test_new_file(tmp_path: Path) -> None:
    """The content is there, and nothing else."""
    target = tmp_path / "mark"
    write_atomically(target, b"content")

    assert target.read_bytes() == b"content"
    assert [target] == list(tmp_path.iterdir())


def test_old_content_is_replaced(tmp_path: Path) -> None:
    """What was there before is gone, however long it was."""
    target = tmp_path / "mark"
    target.write_bytes(b"something longer")
    write_atomically(target, b"")

    assert target.read_bytes() == b""


def test_others_may_not_read_it(tmp_path: Path) -> None:
    """Nobody but owner and group gets at a file of ours."""
    target = tmp_path / "mark"
    write_atomically(target, b"content")

    assert 0 == target.stat().st_mode & 0o137


def test_order_of_calls(tmp_path: Path) -> None:
    """Bytes, then name, then directory."""
    fs = RecordedFileSystem()
    write_atomically(tmp_path / "mark", b"content", fs=fs)

    assert ["create", "write", "sync", "close", "rename", "sync_directory"] == [call.name for call in fs.calls]
    assert durability_gaps(fs.calls, tmp_path) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("failing", range(1, 7))
def test_error_at_every_call(tmp_path: Path, failing: int, number: int) -> None:
    """Whichever call fails: the path holds old or new content as a whole, and no draft is left."""
    target = tmp_path / "mark"
    target.write_bytes(b"old")
    fs = RecordedFileSystem(nth_fails(failing, number=number))
    with pytest.raises(StoreFull if number == errno.ENOSPC else StoreError):
        write_atomically(target, b"new", fs=fs)

    assert [target] == list(tmp_path.iterdir())
    assert target.read_bytes() == (b"old" if failing < 6 else b"new")
    assert fs.open_descriptors() == 0


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    """A missing folder is a StoreError that names the path."""
    with pytest.raises(StoreError, match="missing/mark"):
        write_atomically(tmp_path / "missing" / "mark", b"content")
