"""What is left when a system call fails, and whether the calls come in the order that makes an object durable."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pacsnode.errors import StoreError, StoreFull
from pacsnode.storage.filesystem import FilesystemStore
from tests.storage.recorded_calls import (
    Call,
    RecordedFileSystem,
    durability_gaps,
    every_call_fails_from,
    fails_at,
    nth_fails,
)
from tests.storage.test_store_contract import ARRIVAL, CONTENT, new_key, put, read

STAGING_BYTES = 8192
SMALL, LARGE = CONTENT[:5_000], CONTENT


def open_store(root: Path, fs: RecordedFileSystem) -> FilesystemStore:
    return FilesystemStore(root, fs=fs, staging_bytes=STAGING_BYTES)


VARIANTS = pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])


def recorded_put(root: Path, content: bytes) -> list[Call]:
    fs = RecordedFileSystem()
    store = open_store(root, fs)
    fs.calls.clear()
    put(store, content)
    return fs.calls


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@VARIANTS
def test_order_of_calls(tmp_path: Path, content: bytes) -> None:
    """Bytes, then every new directory, then the name is made durable before commit returns."""
    calls = recorded_put(tmp_path, content)

    assert [] == durability_gaps(calls, tmp_path / "objects")


def test_few_calls_for_a_small_object(tmp_path: Path) -> None:
    """What fits in the buffer is one write, and touches the disk only when it is whole."""
    fs = RecordedFileSystem()
    store = open_store(tmp_path, fs)
    put(store, SMALL)
    fs.calls.clear()
    upload = store.begin(ARRIVAL)
    upload.write(SMALL)
    before_commit = [call.name for call in fs.calls if call.name != "space"]
    fs.calls.clear()
    upload.commit(new_key())

    assert [] == before_commit
    assert ["create", "write", "sync", "close", "link", "unlink", "sync_directory"] == [c.name for c in fs.calls]


@VARIANTS
def test_order_of_calls_for_many(tmp_path: Path, content: bytes) -> None:
    """The same for many at once, whose names are made durable together, by one sync of their directory."""
    fs = RecordedFileSystem()
    store = open_store(tmp_path, fs)
    put(store, SMALL)
    fs.calls.clear()
    keys = []
    for _ in range(3):
        upload = store.begin(ARRIVAL)
        upload.write(content)
        keys.append(upload.place(new_key()).key)
    unsettled = durability_gaps(fs.calls, tmp_path / "objects")
    store.settle(keys)
    settled = durability_gaps(fs.calls, tmp_path / "objects")
    fs.calls.clear()
    store.delete_all(keys)

    assert (["name not durable"] * 3, []) == (unsettled, settled)
    assert ["unlink", "unlink", "unlink", "sync_directory"] == [call.name for call in fs.calls]


@pytest.mark.parametrize("name", ["settle", "delete_all"])
def test_sync_for_many_that_fails(tmp_path: Path, name: str) -> None:
    """Whoever asked hears of it, and that the disk is not to be trusted is told."""
    fs = RecordedFileSystem()
    store = open_store(tmp_path, fs)
    stored = put(store, SMALL)
    fs.fails = fails_at("sync_directory")
    with pytest.raises(StoreError):
        getattr(store, name)([stored.key])

    assert store.degraded


def without(name: str) -> Callable[[Sequence[Call]], list[Call]]:
    return lambda calls: [call for call in calls if call.name != name]


def without_last_directory_sync(calls: Sequence[Call]) -> list[Call]:
    return list(calls[:-1])


def without_first_directory_sync(calls: Sequence[Call]) -> list[Call]:
    first = next(at for at, call in enumerate(calls) if call.name == "sync_directory")
    return [*calls[:first], *calls[first + 1 :]]


def name_before_bytes(calls: Sequence[Call]) -> list[Call]:
    link = next(call for call in calls if call.name == "link")
    rest = [call for call in calls if call != link]
    at = next(at for at, call in enumerate(rest) if call.name == "sync")
    return [*rest[:at], link, *rest[at:]]


def head_after_sync(calls: Sequence[Call]) -> list[Call]:
    sync = next(at for at, call in enumerate(calls) if call.name == "sync")
    return [*calls[: sync + 1], replace(calls[sync], name="write_at"), *calls[sync + 1 :]]


def directory_sync_before_name(calls: Sequence[Call]) -> list[Call]:
    at = next(at for at, call in enumerate(calls) if call.name == "link")
    return [*calls[:at], calls[-1], *calls[at:-1]]


@pytest.mark.parametrize(
    "mutate",
    [
        without("sync"),
        without("sync_directory"),
        without_last_directory_sync,
        without_first_directory_sync,
        name_before_bytes,
        head_after_sync,
        directory_sync_before_name,
    ],
)
def test_the_check_of_order_can_see(tmp_path: Path, mutate: Callable[[Sequence[Call]], list[Call]]) -> None:
    """A sequence that leaves out or misplaces one step is found."""
    calls = recorded_put(tmp_path, LARGE)

    assert [] != durability_gaps(mutate(calls), tmp_path / "objects")


@VARIANTS
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_error_at_every_call(tmp_path: Path, content: bytes, number: int) -> None:
    """Whichever call fails: the right error, nothing visible, nothing in the spool, and the store goes on."""
    count = len(recorded_put(tmp_path / "count", content))
    for failing in range(1, count + 1):
        fs = RecordedFileSystem()
        root = tmp_path / str(failing)
        store = open_store(root, fs)
        fs.calls.clear()
        fs.fails = nth_fails(failing, number=number)
        with pytest.raises(StoreError if number == errno.EIO else StoreFull):
            put(store, content)

        assert [] == files_below(root), fs.calls[failing - 1]
        assert 0 == fs.open_descriptors()
        assert ("sync" in fs.calls[failing - 1].name and number == errno.EIO) == bool(store.degraded)
        assert content == read(store, put(store, content))


@VARIANTS
def test_everything_fails_from_some_call_on(tmp_path: Path, content: bytes) -> None:
    """A disk that dies meanwhile: a StoreError, never a success; a leftover in the spool goes with the next sweep."""
    count = len(recorded_put(tmp_path / "count", content))
    for first in range(1, count + 1):
        fs = RecordedFileSystem()
        root = tmp_path / str(first)
        store = open_store(root, fs)
        fs.calls.clear()
        fs.fails = every_call_fails_from(first)
        with pytest.raises(StoreError):
            put(store, content)
        restarted = FilesystemStore(root)
        restarted.sweep()

        assert [] == list((root / "spool").rglob("*.part"))
        assert 0 == fs.open_descriptors()


@VARIANTS
def test_no_sync_after_a_failed_one(tmp_path: Path, content: bytes) -> None:
    """The kernel forgets what it could not write: the file is dropped, not synced again."""
    fs = RecordedFileSystem()
    store = open_store(tmp_path, fs)
    fs.fails = fails_at("sync")
    for _attempt in range(2):
        with pytest.raises(StoreError):
            put(store, content)

    synced = [call.path for call in fs.calls if call.name == "sync"]
    assert 2 == len(set(synced)) == len(synced)
    assert [] == files_below(tmp_path)
    assert "fsync of a file failed" in store.degraded


def test_directory_that_could_not_be_made_durable_is_made_again(tmp_path: Path) -> None:
    """After a failed fsync above a new directory, a later success must not stand for the one that failed."""
    fs = RecordedFileSystem()
    store = open_store(tmp_path, fs)
    fs.fails = fails_at("sync_directory")
    key = new_key()
    with pytest.raises(StoreError):
        put(store, SMALL, key)
    year = tmp_path / "objects" / key[:4]
    fs.calls.clear()
    fs.fails = lambda number, call: 0
    put(store, SMALL, key)

    assert Call("make_directory", year) in fs.calls
    assert [] == durability_gaps(fs.calls, tmp_path / "objects")


def test_directory_of_a_process_that_was_killed(tmp_path: Path) -> None:
    """A directory that is there may not be durable yet: what is above it is synced once by each process."""
    key = new_key()
    put(open_store(tmp_path, RecordedFileSystem()), SMALL, key)
    fs = RecordedFileSystem()
    put(open_store(tmp_path, fs), SMALL)

    parents = [(tmp_path / "objects" / key).parents[depth] for depth in (1, 2, 3, 4)]
    assert all(Call("sync_directory", parent) in fs.calls for parent in parents)


def test_folders_of_a_process_that_was_killed(tmp_path: Path) -> None:
    """Opening makes the store's own folders durable, also those that were there already."""
    open_store(tmp_path / "data", RecordedFileSystem())
    fs = RecordedFileSystem()
    open_store(tmp_path / "data", fs)

    assert {Call("sync_directory", tmp_path / "data"), Call("sync_directory", tmp_path)} <= set(fs.calls)


def test_folder_above_that_may_not_be_read(tmp_path: Path) -> None:
    """What lies above the store belongs to others: the store works, and does not call the disk bad."""
    above = Call("sync_directory", tmp_path)
    fs = RecordedFileSystem(lambda number, call: errno.EACCES if call == above else 0)
    open_store(tmp_path / "data", RecordedFileSystem())
    store = open_store(tmp_path / "data", fs)

    assert SMALL == read(store, put(store, SMALL))
    assert above in fs.calls
    assert "" == store.degraded


@pytest.mark.parametrize("name", ["unlink", "sync_directory"])
def test_delete_that_fails(tmp_path: Path, name: str) -> None:
    """A removal that is not durable is a StoreError; trying again works."""
    fs = RecordedFileSystem()
    store = open_store(tmp_path, fs)
    stored = put(store, SMALL)
    fs.fails = fails_at(name)
    with pytest.raises(StoreError):
        store.delete(stored.key)
    fs.fails = lambda number, call: 0
    fs.calls.clear()
    store.delete(stored.key)

    assert [] == list(store.keys())
    assert ["unlink", "sync_directory"] == [call.name for call in fs.calls if call.name not in ("files", "directories")]


def test_listing_that_fails(tmp_path: Path) -> None:
    """A folder that cannot be read is an error, not an empty folder."""
    fs = RecordedFileSystem()
    store = open_store(tmp_path, fs)
    put(store, SMALL)
    fs.fails = fails_at("files")
    with pytest.raises(StoreError):
        list(store.keys())
    with pytest.raises(StoreError):
        store.sweep()
    fs.fails = fails_at("space")
    with pytest.raises(StoreError):
        store.free_bytes()


class TakesLittle(RecordedFileSystem):
    """Writes fewer bytes than it is given, as the operating system may."""

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        return super().write(descriptor, content[:1000])

    def write_at(self, descriptor: int, content: bytes | memoryview, offset: int) -> int:
        return super().write_at(descriptor, content[:7], offset)


def test_short_writes(tmp_path: Path) -> None:
    """A write that took only a part is gone on with."""
    store = open_store(tmp_path, TakesLittle())
    stored = put(store, LARGE)

    assert LARGE == read(store, stored)
    assert stored == store.info(stored.key)
