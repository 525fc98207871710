"""What every Store promises; each implementation runs the same class."""

from __future__ import annotations

import hashlib
import random
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacsnode.dicom import part10
from pacsnode.errors import MalformedUid, ObjectDamaged, ObjectNotFound, StoreError, StoreFull
from pacsnode.model import Arrival, Key, StoredObject, Uid
from pacsnode.storage import layout
from pacsnode.storage.filesystem import FilesystemStore
from pacsnode.storage.memory import MemoryStore
from pacsnode.storage.store import Store

ARRIVAL = Arrival(
    sop_class_uid=Uid("1.2.840.10008.5.1.4.1.1.2"),
    sop_instance_uid=Uid("1.2.3.4"),
    transfer_syntax_uid=Uid("1.2.840.10008.1.2.1"),
    calling_ae="CT01",
    called_ae="PACSNODE",
    received_at=datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC),
)
CONTENT = random.Random(7).randbytes(30_000)
STAGING_BYTES = 8192  # small, so that little content is more than fits
MISSING = Key("2024/02/29/80/" + "0" * 32)


def new_key(seconds: float = 0) -> Key:
    return layout.new_key(ARRIVAL.received_at + timedelta(seconds=seconds), secrets.token_bytes(9))


def put(store: Store, content: bytes, key: Key | None = None) -> StoredObject:
    upload = store.begin(ARRIVAL)
    upload.write(content)
    return upload.commit(key or new_key())


def read(store: Store, stored: StoredObject) -> bytes:
    with store.open(stored.key) as source:
        source.seek(stored.offset)
        return source.read()


class StoreContract:
    @pytest.fixture
    def store(self) -> Iterator[Store] | Store:
        raise NotImplementedError

    def damage(self, store: Store, key: Key, size: int) -> None:
        """Cut the object to ``size`` bytes, as no store would."""
        raise NotImplementedError

    def test_bare(self, store: Store) -> None:
        """A store is bare before anything was stored; not while something is only set aside."""
        before = store.is_bare()
        key = put(store, CONTENT).key
        while_there = store.is_bare()
        store.set_aside(key, "for the test")

        assert (True, False, False) == (before, while_there, store.is_bare())

    @pytest.mark.parametrize("size", [0, 1, 7_000, 8_192, 16_384, 30_000])
    def test_what_was_stored_comes_back(self, store: Store, size: int) -> None:
        """The data set is there bit for bit, behind a head that tells the arrival and the digest."""
        stored = put(store, CONTENT[:size])

        assert CONTENT[:size] == read(store, stored)
        with store.open(stored.key) as source:
            head = part10.read_head(source)
        assert (ARRIVAL, stored.digest, stored.offset) == (head.arrival, head.digest, head.offset)

    def test_reading_into_a_buffer(self, store: Store) -> None:
        """The object from its first byte, all of it or as much as the buffer takes; the rest stays as it was."""
        key = put(store, CONTENT).key
        with store.open(key) as source:
            content = source.read()
        large, small = bytearray(len(content) + 2), bytearray(1000)
        counts = store.read_into(key, memoryview(large)), store.read_into(key, memoryview(small))

        assert (len(content), 1000) == counts
        assert (content + bytes(2), content[:1000]) == (bytes(large), bytes(small))
        with pytest.raises(ObjectNotFound):
            store.read_into(MISSING, memoryview(small))

    def test_description_of_what_was_stored(self, store: Store) -> None:
        """Commit and info say the same: key, size and digest of the data set, its syntax, where it begins."""
        key = new_key()
        stored = put(store, CONTENT, key)

        digest = hashlib.sha256(CONTENT).hexdigest()
        offset = part10.HeadTemplate(ARRIVAL).size
        assert StoredObject(key, len(CONTENT), digest, ARRIVAL.transfer_syntax_uid, offset) == stored
        assert stored == store.info(key)
        assert ARRIVAL == store.arrival(key)

    def test_view_may_be_reused_after_write(self, store: Store) -> None:
        """The receive buffer is overwritten by the next fragment: the upload must not look at it again."""
        buffer, upload = bytearray(b"first"), store.begin(ARRIVAL)
        upload.write(memoryview(buffer))
        buffer[:] = b"other"
        stored = upload.commit(new_key())

        assert b"first" == read(store, stored)

    def test_malformed_uid_is_refused_at_once(self, store: Store) -> None:
        """A UID that no head should carry is refused before the first byte, and nothing is left."""
        with pytest.raises(MalformedUid):
            store.begin(replace(ARRIVAL, sop_instance_uid=Uid("../../etc")))

        assert [] == list(store.keys())

    def test_digest_on_the_way(self, store: Store) -> None:
        """The digest can be asked at any time, without disturbing what follows."""
        upload = store.begin(ARRIVAL)
        digests = [upload.digest()]
        for start in range(0, len(CONTENT), 10_000):
            upload.write(CONTENT[start : start + 10_000])
            digests.append(upload.digest())
        stored = upload.commit(new_key())

        assert [hashlib.sha256(CONTENT[:size]).hexdigest() for size in (0, 10_000, 20_000, 30_000)] == digests
        assert digests[-1] == stored.digest

    def test_invisible_before_commit(self, store: Store) -> None:
        """An object in the making cannot be seen."""
        upload = store.begin(ARRIVAL)
        upload.write(CONTENT)

        assert [] == list(store.keys())
        upload.abort()

    def test_abort_leaves_nothing(self, store: Store) -> None:
        """An aborted upload is gone, and aborting it again is fine."""
        upload = store.begin(ARRIVAL)
        upload.write(CONTENT)
        upload.abort()
        upload.abort()

        assert [] == list(store.keys())

    def test_abort_after_commit_does_nothing(self, store: Store) -> None:
        """Leaving a ``with`` block aborts in any case: what was committed stays."""
        upload = store.begin(ARRIVAL)
        upload.write(CONTENT)
        stored = upload.commit(new_key())
        upload.abort()

        assert CONTENT == read(store, stored)

    def test_upload_is_spent(self, store: Store) -> None:
        """After commit or abort nothing can be added or committed."""
        for end in ("commit", "abort"):
            upload = store.begin(ARRIVAL)
            if end == "commit":
                upload.commit(new_key())
            else:
                upload.abort()
            with pytest.raises(StoreError):
                upload.write(b"more")
            with pytest.raises(StoreError):
                upload.commit(new_key())

    def test_never_overwrites(self, store: Store) -> None:
        """A key that is taken is a StoreError; the object that was there stays as it is."""
        stored = put(store, b"first")
        with pytest.raises(StoreError):
            put(store, b"second", stored.key)

        assert b"first" == read(store, stored)
        assert [stored.key] == list(store.keys())

    @pytest.mark.parametrize("name", ["../escape", "2024/02/29/80/short", "/etc/passwd", "."])
    def test_what_is_not_a_key(self, store: Store, name: str) -> None:
        """Nothing is stored, found or deleted under a name of another form."""
        key = Key(name)
        with pytest.raises(StoreError):
            put(store, CONTENT, key)
        with pytest.raises(ObjectNotFound):
            store.open(key)
        with pytest.raises(ObjectNotFound):
            store.info(key)
        store.delete(key)

        assert [] == list(store.keys())

    def test_missing_object(self, store: Store) -> None:
        """Where there is no object, every question about it is answered with ObjectNotFound."""
        for question in (store.open, store.info, store.arrival):
            with pytest.raises(ObjectNotFound):
                question(MISSING)

    def test_delete(self, store: Store) -> None:
        """A deleted object is gone; deleting what is gone is fine; others stay."""
        gone, kept = put(store, CONTENT), put(store, CONTENT)
        store.delete(gone.key)
        store.delete(gone.key)
        store.delete(MISSING)

        assert [kept.key] == list(store.keys())
        with pytest.raises(ObjectNotFound):
            store.open(gone.key)

    def test_many_at_once(self, store: Store) -> None:
        """What was placed and settled is as what was committed; what is deleted together is gone, others stay."""
        placed = []
        for size in (10, 7_000, 30_000):
            upload = store.begin(ARRIVAL)
            upload.write(CONTENT[:size])
            placed.append(upload.place(new_key()))
            upload.abort()
        store.settle([stored.key for stored in placed])
        there = [read(store, stored) for stored in placed]
        told = [store.info(stored.key) for stored in placed]
        store.delete_all([placed[0].key, MISSING, placed[2].key])

        assert ([CONTENT[:10], CONTENT[:7_000], CONTENT], placed) == (there, told)
        assert [placed[1].key] == list(store.keys())

    def test_place_never_overwrites(self, store: Store) -> None:
        """Nor does what is placed."""
        before = put(store, CONTENT)
        upload = store.begin(ARRIVAL)
        upload.write(b"other")
        with pytest.raises(StoreError):
            upload.place(before.key)

        assert CONTENT == read(store, before)

    def test_open_object_outlives_its_deletion(self, store: Store) -> None:
        """Who reads an object can read it to its end."""
        stored = put(store, CONTENT)
        with store.open(stored.key) as source:
            store.delete(stored.key)
            source.seek(stored.offset)

            assert CONTENT == source.read()

    def test_keys_come_in_order_of_arrival(self, store: Store) -> None:
        """Keys ascend, whatever the order of commits."""
        seconds = [86_400 * 400, 3, 0.5, 86_400, 400, 0.000001]
        stored = {second: put(store, b"x", new_key(second)).key for second in seconds}

        assert [stored[second] for second in sorted(seconds)] == list(store.keys())

    @pytest.mark.parametrize("length", [0, 1, 4, 5, 7, 8, 10, 12, 13, 14, 20, 46])
    def test_keys_from_one_on(self, store: Store, length: int) -> None:
        """Any beginning of a key says where to begin, at a folder's edge or not."""
        keys = [put(store, b"x", new_key(second)).key for second in (0, 400, 86_400, 86_400 * 400)]
        since = keys[2][:length]

        assert [key for key in keys if key >= since] == list(store.keys(since))

    def test_keys_from_a_strange_one_on(self, store: Store) -> None:
        """Where to begin need not look like a key."""
        stored = put(store, CONTENT)

        assert [stored.key] == list(store.keys("../"))
        assert [] == list(store.keys("2024/02/29/80/" + "f" * 33))
        assert [] == list(store.keys("z"))

    def test_what_is_set_aside_is_no_object(self, store: Store) -> None:
        """An object that was set aside is gone for everybody; setting aside what is gone is fine."""
        stored, other = put(store, CONTENT), put(store, b"other")
        for _ in range(2):
            store.set_aside(stored.key, "it is damaged")

        assert [other.key] == list(store.keys())
        with pytest.raises(ObjectNotFound):
            store.open(stored.key)

    def test_opened_object_has_a_descriptor(self, store: Store) -> None:
        """Retrieve hands the descriptor to the kernel."""
        stored = put(store, CONTENT)
        with store.open(stored.key) as source:
            assert source.fileno() >= 0
            assert source.seekable()
            assert source.read(132).endswith(b"DICM")

    @pytest.mark.parametrize("size", [0, 100, 140])
    def test_object_without_a_readable_head(self, store: Store, size: int) -> None:
        """An object that was cut within its head is damaged, not missing."""
        stored = put(store, CONTENT)
        self.damage(store, stored.key, size)

        with pytest.raises(ObjectDamaged):
            store.info(stored.key)
        with pytest.raises(ObjectDamaged):
            store.arrival(stored.key)

    def test_size_comes_from_the_object(self, store: Store) -> None:
        """An object that was cut within its data set tells the size it has now."""
        stored = put(store, CONTENT)
        self.damage(store, stored.key, stored.offset + 10)

        assert 10 == store.info(stored.key).size

    def test_several_threads(self, store: Store) -> None:
        """Associations store at the same time; each gets its own bytes back."""
        done: dict[bytes, StoredObject] = {}

        def send(sender: int) -> None:
            for number in range(10):
                content = f"{sender}.{number}".encode() * 3_000
                done[content] = put(store, content, new_key(number))

        threads = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert 40 == len(done)
        assert list(done) == [read(store, stored) for stored in done.values()]
        assert sorted(stored.key for stored in done.values()) == list(store.keys())

    def test_free_bytes(self, store: Store) -> None:
        """There is room in the stores of these tests."""
        assert store.free_bytes() > 1_000_000


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()

    def damage(self, store: Store, key: Key, size: int) -> None:
        assert isinstance(store, MemoryStore)
        store.objects[key] = store.objects[key][:size]

    def test_full(self) -> None:
        """What does not fit is refused, at the latest by the write that does not fit."""
        store = MemoryStore(capacity_bytes=20_000)
        with pytest.raises(StoreFull):
            put(store, CONTENT)
        put(store, CONTENT[:15_000])

        assert 1 == len(list(store.keys()))


class TestFilesystemStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        yield FilesystemStore(tmp_path, staging_bytes=STAGING_BYTES)
        assert [] == list((tmp_path / "spool").rglob("*.part"))

    def damage(self, store: Store, key: Key, size: int) -> None:
        with store.open(key) as source:
            path = Path(f"/proc/self/fd/{source.fileno()}").resolve()
        with path.open("r+b") as target:
            target.truncate(size)


def filesystem_store(folder: Path) -> Store:
    return FilesystemStore(folder, staging_bytes=STAGING_BYTES)


def memory_store(folder: Path) -> Store:
    return MemoryStore()


@pytest.mark.parametrize("new_store", [memory_store, filesystem_store])
def test_any_split_makes_the_same_object(new_store: Callable[[Path], Store], tmp_path: Path) -> None:
    """How the bytes were cut on their way does not matter."""
    store = new_store(tmp_path)

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, len(CONTENT)), st.lists(st.integers(0, len(CONTENT)), max_size=12), st.booleans())
    def check(size: int, cuts: list[int], as_views: bool) -> None:
        content = CONTENT[:size]
        edges = [0, *sorted(min(cut, size) for cut in cuts), size]
        upload = store.begin(ARRIVAL)
        for start, end in pairwise(edges):
            piece = content[start:end]
            upload.write(memoryview(piece) if as_views else piece)
        stored = upload.commit(new_key())

        assert content == read(store, stored)
        assert hashlib.sha256(content).hexdigest() == stored.digest

    check()
