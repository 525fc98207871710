"""The quarantine: what is set aside is whole there, and what is put back is never put over something else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pacsnode.errors import StoreError
from pacsnode.model import Key
from pacsnode.storage.filesystem import FilesystemStore
from tests.storage.test_store_contract import new_key, put


@pytest.fixture
def store(tmp_path: Path) -> FilesystemStore:
    return FilesystemStore(tmp_path)


def set_aside(store: FilesystemStore, reason: str = "for the test") -> Key:
    key = put(store, b"content").key
    store.set_aside(key, reason)
    return key


def test_nothing_there(tmp_path: Path) -> None:
    """Before anything was set aside there is no folder, and nothing in it."""
    assert [] == FilesystemStore(tmp_path).quarantine.entries()
    assert not (tmp_path / "quarantine").exists()


def test_entries(store: FilesystemStore, tmp_path: Path) -> None:
    """Each is told with key, reason, size and time, in order of arrival; other files are passed over."""
    keys = sorted(set_aside(store) for _ in range(2))
    (tmp_path / "quarantine" / "notes.txt").write_text("by hand")
    entries = store.quarantine.entries()

    assert keys == [entry.key for entry in entries]
    assert {"for the test"} == {entry.reason for entry in entries}
    for entry in entries:
        assert (tmp_path / "quarantine" / f"{entry.id}.dcm").stat().st_size == entry.size
        assert datetime.now(UTC) - entry.at < timedelta(minutes=1)


def test_set_aside_again(store: FilesystemStore) -> None:
    """Who was killed in between and sets the same aside once more keeps object and reason."""
    key = set_aside(store, "damaged")
    store.set_aside(key, "damaged")

    assert ["damaged"] == [entry.reason for entry in store.quarantine.entries()]


def test_back_again(store: FilesystemStore, tmp_path: Path) -> None:
    """What is put back is the same object under its key, and in quarantine no more."""
    key = set_aside(store)
    (entry,) = store.quarantine.entries()
    with store.quarantine.open(entry) as source:
        content = source.read()
    store.quarantine.put_back(entry)

    assert content == (tmp_path / "objects" / key).read_bytes()
    assert [] == list((tmp_path / "quarantine").iterdir())


def test_killed_while_putting_back(store: FilesystemStore, tmp_path: Path) -> None:
    """Where the object has its name already, putting it back only finishes."""
    key = set_aside(store)
    (entry,) = store.quarantine.entries()
    (tmp_path / "objects" / key).hardlink_to(tmp_path / "quarantine" / f"{entry.id}.dcm")
    store.quarantine.put_back(entry)

    assert [key] == list(store.keys())
    assert [] == store.quarantine.entries()


def test_nothing_is_overwritten(store: FilesystemStore, tmp_path: Path) -> None:
    """Another object under the key stays, and so does the one in quarantine."""
    key = set_aside(store)
    (entry,) = store.quarantine.entries()
    (tmp_path / "objects" / key).write_bytes(b"another")

    with pytest.raises(StoreError, match="another object"):
        store.quarantine.put_back(entry)
    assert b"another" == (tmp_path / "objects" / key).read_bytes()
    assert [entry] == store.quarantine.entries()


def test_without_its_reason(store: FilesystemStore, tmp_path: Path) -> None:
    """An object whose JSON is gone is listed, and can be dropped, but not put back."""
    set_aside(store)
    (entry,) = store.quarantine.entries()
    (tmp_path / "quarantine" / f"{entry.id}.json").unlink()
    (found,) = store.quarantine.entries()

    with pytest.raises(StoreError, match="not known any more"):
        store.quarantine.put_back(found)
    store.quarantine.drop(found)
    assert [] == store.quarantine.entries()


def test_keys_are_never_paths(store: FilesystemStore, tmp_path: Path) -> None:
    """A reason that somebody has written by hand leads nowhere else."""
    set_aside(store)
    (entry,) = store.quarantine.entries()
    (tmp_path / "quarantine" / f"{entry.id}.json").write_text('{"key": "../../etc/passwd", "reason": ""}')
    (found,) = store.quarantine.entries()

    with pytest.raises(StoreError):
        store.quarantine.put_back(found)
    assert new_key() != found.key
