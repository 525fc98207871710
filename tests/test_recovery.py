"""Recovery at start: store and index agree again, whatever the moment the last process ended."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pacsnode.archive import Archive
from pacsnode.errors import IndexFailure, ObjectUnreadable, StoreError
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import DuplicatePolicy, Instance, Key, Outcome, Uid
from pacsnode.recovery import Mark, MarkFile, Recovery, kept_settled, recover
from pacsnode.storage.memory import MemoryStore
from tests.test_archive import Times, arrival, data_set, keys, receive

UID = Uid("2.25.3151.1.3.0")
NOTHING_KNOWN = Mark()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = Archive(MemoryStore(), SqliteIndex(tmp_path / "index.db"), Times())
    yield made
    made.index.close()


def store_of(archive: Archive) -> MemoryStore:
    assert isinstance(archive.store, MemoryStore)
    return archive.store


def alter(archive: Archive, key: Key) -> None:
    """Flip the last byte of the pixels."""
    content = store_of(archive).objects[key]
    store_of(archive).objects[key] = content[:-1] + bytes([content[-1] ^ 1])


def orphan(archive: Archive, data: bytes, index: int = 0) -> Key:
    """What a crash between object and row leaves."""
    receive(archive, data, index)
    newest = keys(archive)[-1]
    archive.index.strike(newest)
    return newest


def test_orphans_are_adopted(archive: Archive) -> None:
    """An object without a row gets one, and is found as if nothing had happened."""
    receive(archive, data_set(0), 0)
    key = orphan(archive, data_set(1), 1)

    assert Recovery(adopted=1, verified=2) == recover(archive, NOTHING_KNOWN)
    assert archive.describe(key) == archive.index.current(Uid("2.25.3151.1.3.1"))
    assert Recovery(verified=2) == recover(archive, NOTHING_KNOWN)


def test_second_copies_are_removed(archive: Archive) -> None:
    """An orphan with the content of what is stored elsewhere goes; what was sent again after a crash is there once."""
    key = orphan(archive, data_set())
    receive(archive, data_set())

    assert Recovery(removed=1, verified=1) == recover(archive, NOTHING_KNOWN)
    assert key not in keys(archive)


def test_second_copy_replaces_a_damaged_first(archive: Archive) -> None:
    """Of two copies the sound one is kept, and the other set aside."""
    key = orphan(archive, data_set())
    receive(archive, data_set())
    damaged = keys(archive)[-1]
    alter(archive, damaged)

    assert Recovery(set_aside=1, verified=1) == recover(archive, NOTHING_KNOWN)
    assert [key] == keys(archive)
    assert [damaged] == list(store_of(archive).aside)
    current = archive.index.current(UID)
    assert current is not None
    assert archive.store.info(key) == current.stored


def test_damaged_orphans_are_set_aside(archive: Archive) -> None:
    """Nobody was told Success for an orphan that is damaged: it goes out of the way, with the reason."""
    key = orphan(archive, data_set())
    alter(archive, key)

    assert Recovery(set_aside=1) == recover(archive, NOTHING_KNOWN)
    assert "SHA-256" in store_of(archive).aside[key][1]
    assert [] == keys(archive)


@pytest.mark.parametrize("policy", [DuplicatePolicy.FIRST, DuplicatePolicy.REJECT])
def test_orphans_that_the_policy_refuses(policy: DuplicatePolicy, tmp_path: Path) -> None:
    """Other content under a known UID was refused, and still is; it is kept aside all the same."""
    archive = Archive(MemoryStore(), SqliteIndex(tmp_path / "index.db"), Times())
    receive(archive, data_set(PatientID="2"))
    other = orphan_of_another_version(archive)
    archive.index.close()
    archive = Archive(archive.store, SqliteIndex(tmp_path / "index.db", duplicates=policy), archive.clock)

    assert Recovery(set_aside=1, verified=1) == recover(archive, NOTHING_KNOWN)
    assert [other] == list(store_of(archive).aside)
    archive.index.close()


def orphan_of_another_version(archive: Archive) -> Key:
    return orphan(archive, data_set(PatientID="3"))


@pytest.mark.parametrize("breaks", [alter, lambda archive, key: store_of(archive).objects.pop(key)])
def test_rows_without_a_sound_object_are_struck(archive: Archive, breaks: Callable[[Archive, Key], None]) -> None:
    """What the disk lost is not claimed to be here: the instance can be stored again."""
    receive(archive, data_set(0), 0)
    receive(archive, data_set(1), 1)
    breaks(archive, keys(archive)[0])

    assert 1 == recover(archive, NOTHING_KNOWN).lost
    assert None is archive.index.current(UID)
    assert Outcome.STORED is receive(archive, data_set(0), 0)


def test_an_unmounted_store_strikes_nothing(archive: Archive) -> None:
    """Rows without a single object tell of a missing mount: nothing is changed."""
    receive(archive, data_set())
    store_of(archive).objects.clear()

    with pytest.raises(StoreError, match="mount their file system"):
        recover(archive, NOTHING_KNOWN)
    assert None is not archive.index.current(UID)


class FailingStore(MemoryStore):
    """A disk that gives one object back no more."""

    unreadable: Key | None = None

    def _content(self, key: Key) -> bytes:
        if key == self.unreadable:
            raise ObjectUnreadable("an object cannot be read: Input/output error")
        return super()._content(key)


def test_an_unreadable_object_is_left_alone(tmp_path: Path) -> None:
    """A disk that fails now may answer later: neither rows nor orphans are touched."""
    store = FailingStore()
    archive = Archive(store, SqliteIndex(tmp_path / "index.db"), Times())
    receive(archive, data_set(0), 0)
    store.unreadable = keys(archive)[0]
    assert Recovery(verified=1) == recover(archive, NOTHING_KNOWN)
    assert None is not archive.index.current(UID)
    archive.index.strike(store.unreadable)

    assert Recovery() == recover(archive, NOTHING_KNOWN)
    assert [store.unreadable] == keys(archive)
    archive.index.close()


def test_what_arrived_before_the_mark_is_not_looked_at(archive: Archive) -> None:
    """The mark bounds the work; what is newer is looked at."""
    old = orphan(archive, data_set(0), 0)
    mark = Mark(archive.clock())
    orphan(archive, data_set(1), 1)

    assert Recovery(adopted=1, verified=1) == recover(archive, mark)
    assert None is archive.index.at(old)


def test_reading_again_is_bounded(archive: Archive) -> None:
    """The newest objects are read first, and no longer than allowed."""
    for index in range(5):
        receive(archive, data_set(index), index)
    seconds = iter([0.0, 1.0, 2.0, 3.0, 9.0])

    assert 3 == recover(archive, NOTHING_KNOWN, seconds=5, monotonic=lambda: next(seconds)).verified


def test_mark_survives_and_ruins_nothing(archive: Archive, tmp_path: Path) -> None:
    """A clean stop is remembered; a mark that is missing or damaged says that nothing is known."""
    mark = MarkFile(tmp_path / "mark")
    assert NOTHING_KNOWN == mark.read()
    with kept_settled(archive, mark, leftovers=0):
        in_use = mark.read()
    stopped = mark.read()
    (tmp_path / "mark").write_bytes(b'{"settled": "yesterday"}')

    assert not in_use.is_clean
    assert stopped.is_clean
    assert stopped.settled is not None
    assert NOTHING_KNOWN == mark.read()


def test_a_crash_leaves_no_clean_mark(archive: Archive, tmp_path: Path) -> None:
    """Only who came to the end says that the stop was clean; the next start looks, and adopts."""
    mark = MarkFile(tmp_path / "mark")
    with contextlib.suppress(KeyboardInterrupt), kept_settled(archive, mark, leftovers=0):
        orphan(archive, data_set())
        raise KeyboardInterrupt

    assert not mark.read().is_clean
    with kept_settled(archive, mark, leftovers=1):
        assert None is not archive.index.current(UID)


def test_the_mark_waits_for_what_is_under_way(archive: Archive) -> None:
    """While an instance arrives what is settled ends before it."""
    with archive.receive(arrival(archive)) as ingest:
        assert archive.settled() <= ingest.arrival.received_at
    assert archive.arrivals.are_settled


def test_doubt_stays_until_the_end(tmp_path: Path) -> None:
    """After an index failure within commit the mark never passes the instance."""

    class Refusing(SqliteIndex):
        def add(self, instance: Instance) -> Outcome:
            raise IndexFailure("index: cannot commit")

    archive = Archive(MemoryStore(), Refusing(tmp_path / "index.db"), lambda: datetime(2026, 1, 1, tzinfo=UTC))
    past = replace(arrival(archive), received_at=datetime(2025, 1, 1, tzinfo=UTC))
    with archive.receive(past) as ingest:
        ingest.write(data_set())
        with pytest.raises(IndexFailure):
            ingest.commit()

    assert (past.received_at, False) == (archive.settled(), archive.arrivals.are_settled)
    archive.index.close()


def test_a_damaged_index_is_refused(archive: Archive, tmp_path: Path) -> None:
    """After a stop that was not clean the database is checked; what is wrong with it ends the start."""
    for index in range(30):
        receive(archive, data_set(index), index)
    archive.index.close()
    path = tmp_path / "index.db"
    content = bytearray(path.read_bytes())
    for start in range(8192, len(content), 4096):
        content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    try:
        damaged = Archive(archive.store, SqliteIndex(path), archive.clock)
    except IndexFailure:
        return  # the schema itself could not be read: refused as well

    with pytest.raises(IndexFailure), kept_settled(damaged, MarkFile(tmp_path / "mark"), leftovers=0):
        pass
    damaged.index.close()


def test_sending_again_repairs(archive: Archive) -> None:
    """An instance whose object is damaged is not taken for granted: what comes takes its place."""
    receive(archive, data_set())
    damaged = keys(archive)[0]
    alter(archive, damaged)

    assert Outcome.REPAIRED is receive(archive, data_set())
    current = archive.index.current(UID)
    assert current is not None
    assert None is archive.problem_of(current)
    assert archive.describe(current.stored.key) == current
    assert [damaged] == list(store_of(archive).aside)
    assert Outcome.ALREADY_THERE is receive(archive, data_set())
