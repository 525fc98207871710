"""One call fails, EIO or ENOSPC, whichever it is of all that store and index make: no promise is broken."""

from __future__ import annotations

import dataclasses
import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pacsnode.archive import Archive
from pacsnode.errors import IndexFailure, PacsNodeError
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Arrival, Key, Uid
from pacsnode.recovery import Mark, recover
from pacsnode.storage.filesystem import FilesystemStore
from tests.dimse.images import image, uid_of
from tests.dimse.raw_peer import CT, EXPLICIT
from tests.durability.failing import SYNCS, Faults, failing_sqlite

STAGING_BYTES = 4096
OLD, OTHER, NEW, LATER = range(4)  # instance numbers


@dataclass
class Disk:
    """A data folder, and an archive of this moment over it."""

    folder: Path
    faults: Faults
    seconds: int = 0

    def opened(self) -> Archive:
        store = FilesystemStore(self.folder, fs=self.faults.file_system(), staging_bytes=STAGING_BYTES)
        store.sweep()
        return Archive(store, SqliteIndex(self.folder / "index.db"), self.now)

    def now(self) -> datetime:
        self.seconds += 1
        return datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC) + timedelta(seconds=self.seconds)


def store(archive: Archive, number: int, pixels: bytes = b"\1\2\3\4") -> None:
    arrival = Arrival(Uid(CT), Uid(uid_of(number)), Uid(EXPLICIT), "CT01", "PACSNODE", archive.clock())
    with archive.receive(arrival) as ingest:
        ingest.write(image(number, pixels=pixels))
        ingest.commit()


def store_new(archive: Archive) -> None:
    store(archive, NEW)


def store_large(archive: Archive) -> None:
    store(archive, NEW, bytes(3 * STAGING_BYTES))


def replace(archive: Archive) -> None:
    store(archive, OLD, b"\4\3\2\1")


def remove(archive: Archive) -> None:
    removed = archive.index.remove(Uid(uid_of(OLD)))
    assert removed is not None
    archive.store.delete(removed.stored.key)


def strike(archive: Archive) -> None:
    key = next(iter(archive.index.keys()))
    assert archive.index.strike(key)
    archive.store.set_aside(key, "a test")


def store_and_checkpoint(archive: Archive) -> None:
    """Every commit brings the log into the database."""
    assert isinstance(archive.index, SqliteIndex)
    archive.index._writing().connection.pragma("wal_autocheckpoint", 1)
    store(archive, NEW)


STORES = (store_new, store_large, replace, store_and_checkpoint)
REMOVALS = (remove, strike)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Disk]]:
    """Makes folders with two instances in each."""
    faults = Faults()

    def new(number: int) -> Disk:
        made = Disk(tmp_path / str(number), faults)
        faults.disarm()
        archive = made.opened()
        with closing(archive.index):
            store(archive, OLD)
            store(archive, OTHER)
        return made

    with failing_sqlite(faults):
        yield new


def rows(archive: Archive) -> dict[Key, str]:
    """The key and digest of every row. No row lacks a sound object."""
    found = list(archive.index.everything())
    assert [] == [finding for finding in archive.verify(found) if finding is not None]
    return {row.stored.key: row.stored.digest for row in found}


def fail(disk: Disk, work: Callable[[Archive], None], failing: int, number: int) -> bool:
    """Do the work with this call failing, look at what is left, now and after a kill. False: no such call."""
    faults, archive = disk.faults, disk.opened()
    with suppress(IndexFailure), closing(archive.index):
        before = rows(archive)
        faults.arm(failing, number)
        try:
            work(archive)
            is_done = True
        except PacsNodeError:
            is_done = False
        hit = faults.hit
        faults.disarm()
        after = rows(archive)
        _look(archive, hit, number, is_done=is_done)
        expected = before.keys() if work in STORES else after.keys()
        assert expected <= after.keys()
        if is_done:
            assert before.keys() != after.keys()
        killed = copied(disk)
    again = killed.opened()
    with closing(again.index):
        done = recover(again, Mark())
        assert 0 == done.lost
        assert after.items() <= rows(again).items()
        store(again, LATER)
        if work in REMOVALS and is_done:
            assert not (before.keys() - after.keys()) & set(again.store.keys())
    return bool(hit)


def copied(disk: Disk) -> Disk:
    """The folder as it is now, as a kill would leave it, beside the one that is still open."""
    return dataclasses.replace(disk, folder=shutil.copytree(disk.folder, disk.folder.with_name(f"{disk.folder.name}k")))


def _look(archive: Archive, hit: str, number: int, *, is_done: bool) -> None:
    """Success is said only after every sync; a failed one is known; all others are forgotten at once."""
    assert isinstance(archive.store, FilesystemStore)
    assert isinstance(archive.index, SqliteIndex)
    assert not (is_done and hit in SYNCS)
    if hit != "xSync":  # of a checkpoint: SQLite itself would try again, writing the pages anew
        assert (hit == "xSync -wal") == bool(archive.index.degraded)
    assert (hit in ("sync", "sync_directory") and number == errno.EIO) == bool(archive.store.degraded)
    if archive.index.degraded:
        with pytest.raises(IndexFailure, match="until the node is started again"):
            store(archive, LATER)
    else:
        store(archive, LATER)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("work", [*STORES, *REMOVALS])
def test_every_call(disk: Callable[[int], Disk], work: Callable[[Archive], None], number: int) -> None:
    """No Success that is not durable, no row without an object, the process goes on, and so does the next one."""
    failing = 1
    while fail(disk(failing), work, failing, number):
        failing += 1
    print(f"{work.__name__}: {failing - 1} calls")

    assert failing > 5
