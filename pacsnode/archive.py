"""The use cases that need both store and index. Bytes durable, then index row, then the caller may say Success."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import BinaryIO

from pacsnode import encodings
from pacsnode.arrivals import Arrivals, Resends
from pacsnode.dicom import completeness, header, part10, walk
from pacsnode.dicom.attributes import HEADER_TAGS, Attribute
from pacsnode.dicom.charset import Assumptions
from pacsnode.dicom.elements import Elements
from pacsnode.dicom.encode import SPECIFIC_CHARACTER_SET
from pacsnode.dicom.skim import skim
from pacsnode.errors import (
    BadDataset,
    DuplicateRefused,
    ObjectDamaged,
    ObjectNotFound,
    ObjectUnreadable,
    PacsNodeError,
)
from pacsnode.index.index import Index
from pacsnode.model import Arrival, Clock, Holding, Instance, InstanceHeader, Key, Outcome, StoredObject, Uid
from pacsnode.storage import layout
from pacsnode.storage.buffers import Buffers
from pacsnode.storage.room import Room
from pacsnode.storage.store import Store

_READ_BYTES = 1024 * 1024
_JUST_ARRIVED = timedelta(minutes=1)  # more than clocks are set back, and than it takes to begin an ingest
_END = Key("~")  # sorts behind all keys
_EXAMINED_BYTES = 256 * 1024  # benchmarks/scrub.py: what is hashed is still in the processor's cache
_REBUILD_BATCH = 500
_Feed = Callable[[BinaryIO, walk.DataSetWalker], None]
_Told = Callable[[int], None]


def _nobody(size: int) -> None:
    """Is told of bytes that were read, and does nothing about it."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that store and index do not agree on."""

    key: Key
    has_object: bool  # else it has a row


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with what is stored. ``uid`` is empty where the object does not tell."""

    uid: str
    key: Key
    problem: str
    is_certain: bool = True  # else the object could not be read, and perhaps can be another time


class Archive:
    """Store and index under one promise: what was acknowledged is there, unaltered, and can be found."""

    def __init__(
        self,
        store: Store,
        index: Index,
        clock: Clock,
        assumed: Assumptions = Assumptions(),  # noqa: B008 - frozen
        *,
        rooms: Sequence[Room] = (),
    ) -> None:
        """``assumed``: in which character set the text of data sets that declare none is read, by who sent them.

        ``rooms``: what has to have room besides the store before an instance is received.
        """
        self.store = store
        self.index = index
        self.clock = clock
        self.assumed = assumed
        self.arrivals = Arrivals()
        self.rooms = rooms
        self.resends = Resends()
        self._buffers = Buffers(_EXAMINED_BYTES)

    def receive(self, arrival: Arrival) -> Ingest:
        """Begin to receive an instance. Leaving the ``with`` block without a commit leaves nothing behind.

        Raises StoreFull at once where there is no room, MalformedUid for UIDs that no object should carry.
        """
        return Ingest(self, arrival)

    def record(self, instance: Instance, digest: str) -> Outcome:
        """As ``index.add``; ALREADY_THERE also where a version holds the same in another encoding.

        ``digest``: of the data set that came, which the object may hold encoded anew.
        """
        outcome = self.index.add(instance)
        while outcome is Outcome.UNDECIDED:
            versions = self.index.versions(instance.header.sop_instance_uid)
            if encodings.holding(self.store, versions, digest) is not None:
                return Outcome.ALREADY_THERE
            outcome = self.index.add_beside(instance, {version.stored.key for version in versions})
        return outcome

    def holding(self, uid: Uid, digest: str) -> Instance | None:
        """The version of the SOP instance that holds the data set that came with this digest, in any encoding."""
        return encodings.holding(self.store, self.index.versions(uid), digest)

    def moved(self, instance: Instance) -> Instance | None:
        """The current version of the instance, where that is another object than the one that was found before."""
        current = self.index.current(instance.header.sop_instance_uid)
        return None if current is None or current.stored.key == instance.stored.key else current

    def settled(self) -> datetime:
        """What arrived before this time is settled: it is stored and has a row, or nothing of it is there."""
        return self.arrivals.oldest(self.clock() - _JUST_ARRIVED)

    def describe(self, key: Key) -> Instance:
        """Read an object to its exact end and say what the index should know of it.

        Raises ObjectNotFound; ObjectDamaged where structure or digest are not those of the head.
        """
        with self.store.open(key) as source:
            return self.describe_source(source, key)

    def describe_source(self, source: BinaryIO, key: Key) -> Instance:
        """As ``describe``, of an object that lies elsewhere, from its first byte."""
        digest = hashlib.sha256()

        def read_all(source: BinaryIO, walker: walk.DataSetWalker) -> None:
            while chunk := source.read(_READ_BYTES):
                digest.update(chunk)
                walker.feed(chunk)

        found = self._read(source, key, read_all)
        if digest.hexdigest() != found.stored.digest:
            raise ObjectDamaged(f"{key}: the data set's SHA-256 is not the one recorded when it was received")
        return found

    def skim(self, key: Key) -> Instance:
        """As ``describe``, but large values are passed over: the digest is the head's word.

        Raises ObjectNotFound; ObjectDamaged where the structure does not reach its exact end.
        """
        with self.store.open(key) as source:
            return self._read(source, key, skim)

    def verify(self, instances: Iterable[Instance]) -> Iterator[Finding | None]:
        """Re-read the object of every instance; a finding, or None where all is well, for each."""
        for instance in instances:
            yield self.problem_of(instance)

    def compare(self, since: str = "") -> Iterator[Difference]:
        """Keys from ``since`` on, in ascending order, that have an object but no row, or a row but no object.

        What the caller then does about a key does not disturb the comparison.
        """
        objects, rows = self.store.keys(since), self.index.keys(since)
        key, row = next(objects, _END), next(rows, _END)
        while not key == row == _END:
            if key < row:
                yield Difference(key, has_object=True)
                key = next(objects, _END)
            elif row < key:
                yield Difference(row, has_object=False)
                row = next(rows, _END)
            else:
                key, row = next(objects, _END), next(rows, _END)

    def rebuild(self) -> Iterator[Finding | None]:
        """Make the index hold exactly the objects that can be read; goes on where an earlier rebuild was stopped.

        A finding for each object that cannot be read, None for each that was added. They are skimmed: ``verify``
        tells about digests. Of two that hold the same in two encodings, the one that was encoded anew gets the row.
        """
        batch: list[Instance] = []
        for difference in self.compare():
            if not difference.has_object:
                self.index.strike(difference.key)
                continue
            try:
                batch.append(self.skim(difference.key))
            except (ObjectDamaged, ObjectNotFound) as error:
                yield Finding("", difference.key, str(error))
                continue
            if len(batch) == _REBUILD_BATCH:
                self._add_many(batch)
                batch.clear()
            yield None
        self._add_many(batch)

    def _add_many(self, batch: Sequence[Instance]) -> None:
        for instance, outcome in zip(batch, self.index.add_many(batch), strict=True):
            if outcome is Outcome.UNDECIDED:
                self._prefer_encoded(instance)

    def _prefer_encoded(self, instance: Instance) -> None:
        digest = encodings.digest_of_origin(self.store, instance.stored)
        if self.record(instance, digest) is Outcome.ALREADY_THERE and digest != instance.stored.digest:
            as_it_came = self.holding(instance.header.sop_instance_uid, digest)
            if as_it_came is not None and as_it_came.stored.digest == digest:
                self.index.relocate(as_it_came.stored, instance)

    def problem_of(self, instance: Instance, told: _Told = _nobody) -> Finding | None:
        """Re-read the object of the instance: what is wrong with it, None where it is as it was stored, to the byte.

        ``told`` hears of every piece that was read.
        """
        uid, key = instance.header.sop_instance_uid, instance.stored.key
        try:
            with self.store.open(key) as source:
                if self.holds_as_stored(source, instance, told):
                    return None
                # The page cache may be wrong where the disk is right.
                os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                source.seek(0)
                if self.holds_as_stored(source, instance, told):
                    return Finding(uid, key, f"{key}: two reads gave different bytes", is_certain=False)
                source.seek(0)
                found = self.describe_source(source, key)
        except (ObjectDamaged, ObjectNotFound) as error:
            return Finding(uid, key, str(error), is_certain=not isinstance(error, ObjectUnreadable))
        if found.stored.digest != instance.stored.digest or found.header.sop_instance_uid != uid:
            return Finding(uid, key, f"{key}: the object is not the one the index knows")
        return Finding(uid, key, f"{key}: the head is not as it was written")

    def is_as_stored(self, holding: Holding, told: _Told = _nobody) -> bool:
        """As ``holds_as_stored``, of the object under its key. False is no finding yet: see ``problem_of``.

        Raises ObjectNotFound, ObjectUnreadable, StoreError.
        """
        stored = holding.stored
        end = stored.offset + stored.size
        if end >= _EXAMINED_BYTES:
            with self.store.open(stored.key) as source:
                return self._is_as_stored(source, stored, holding.arrival, told)
        buffer = self._buffers.take()
        try:
            count = self.store.read_into(stored.key, buffer)
            told(count)
            return (
                count == end
                and part10.is_head_of(bytes(buffer[: stored.offset]), holding.arrival, stored.digest)
                and hashlib.sha256(buffer[stored.offset : end]).hexdigest() == stored.digest
            )
        finally:
            self._buffers.give_back(buffer)

    def holds_as_stored(self, source: BinaryIO, instance: Instance, told: _Told = _nobody) -> bool:
        """Is this object, from its first byte, what was stored of the instance, byte for byte?

        Its structure need not be walked again for that: it was, to its exact end, before the digest was recorded.
        Raises ObjectUnreadable.
        """
        return self._is_as_stored(source, instance.stored, arrival_of(instance), told)

    def _is_as_stored(self, source: BinaryIO, stored: StoredObject, arrival: Arrival, told: _Told) -> bool:
        buffer = self._buffers.take()
        try:
            count = _fill(source, buffer)
            told(count)
            head = bytes(buffer[: min(stored.offset, count)])
            if not part10.is_head_of(head, arrival, stored.digest):
                return False
            digest, size = hashlib.sha256(buffer[stored.offset : count]), count
            while count:
                count = source.readinto(buffer)  # type: ignore[attr-defined]  # of every binary file
                digest.update(buffer[:count])
                size += count
                told(count)
        finally:
            self._buffers.give_back(buffer)
        return size == stored.offset + stored.size and digest.hexdigest() == stored.digest

    def values(self, key: Key, attributes: Sequence[Attribute]) -> dict[str, str]:
        """What the object says of attributes that the index does not have, by name; "" for what it does not say.

        Raises ObjectNotFound; ObjectDamaged where the structure does not reach its exact end.
        """
        wanted = frozenset(attribute.tag for attribute in attributes) | {SPECIFIC_CHARACTER_SET}
        with self.store.open(key) as source:
            head, _, elements = self._walk(source, key, skim, wanted)
        return header.read_values(elements, attributes, self.assumed.of(head.arrival.calling_ae))

    def _read(self, source: BinaryIO, key: Key, feed: _Feed) -> Instance:
        head, size, elements = self._walk(source, key, feed, HEADER_TAGS)
        try:
            found = header.read_header(elements, self.assumed.of(head.arrival.calling_ae))
        except BadDataset as error:
            raise ObjectDamaged(f"{key}: {error}") from error
        arrival = head.arrival
        stored = StoredObject(key, size, head.digest, arrival.transfer_syntax_uid, head.offset)
        return Instance(found, stored, arrival.received_at, arrival.calling_ae, arrival.called_ae)

    def _walk(
        self, source: BinaryIO, key: Key, feed: _Feed, wanted: frozenset[int]
    ) -> tuple[part10.Head, int, Elements]:
        """Head, bytes of the data set, and its elements that are wanted."""
        head = part10.read_head(source)
        size = source.seek(0, os.SEEK_END) - head.offset
        source.seek(head.offset)
        walker = walk.DataSetWalker(head.arrival.transfer_syntax_uid, wanted)
        try:
            feed(source, walker)
            return head, size, walker.finish()
        except BadDataset as error:
            raise ObjectDamaged(f"{key}: {error}") from error


def arrival_of(instance: Instance) -> Arrival:
    """How the instance came here, as far as the row tells."""
    return Arrival(
        instance.header.sop_class_uid,
        instance.header.sop_instance_uid,
        instance.stored.transfer_syntax_uid,
        instance.calling_ae,
        instance.called_ae,
        instance.received_at,
    )


def _fill(source: BinaryIO, buffer: memoryview) -> int:
    """Read until the buffer is full or the source ends: how many bytes. The head is never cut in two."""
    size = 0
    while size < len(buffer) and (count := source.readinto(buffer[size:])):  # type: ignore[attr-defined]
        size += count
    return size


class Ingest:
    """One instance on its way in. Used by one thread."""

    def __init__(self, archive: Archive, arrival: Arrival) -> None:
        self.arrival = arrival
        self.size = 0  # bytes of the data set so far
        self.header: InstanceHeader | None = None  # what the data set says, once ``commit`` has read it
        self._archive = archive
        self._walker = walk.DataSetWalker(arrival.transfer_syntax_uid, HEADER_TAGS, noted=completeness.NOTED_TAGS)
        for room in archive.rooms:
            room.check()
        self._upload = archive.store.begin(arrival)
        archive.arrivals.begin(arrival)

    def __enter__(self) -> Ingest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._upload.abort()
        self._archive.arrivals.end(self.arrival)

    def write(self, chunk: bytes | memoryview) -> None:
        """Take bytes of the data set as they arrive. Raises BadDataset as soon as it cannot be right, StoreError."""
        self._walker.feed(chunk)
        self._upload.write(chunk)
        self.size += len(chunk)

    def commit(self) -> Outcome:
        """Check the instance and make it durable: when this returns, Success may be said.

        Raises BadDataset (UidMismatch where it names another instance than the arrival), MalformedUid,
        DuplicateRefused or StoreError, and nothing visible is left. After an IndexFailure an orphan may be: a file
        without a row is harmless, the reverse is not.

        What is here already is not taken on trust: where its object is damaged, what came takes its place.
        """
        elements = self._walker.finish()
        archive, peer = self._archive, self.arrival.calling_ae
        found = self.header = header.read_header(elements, archive.assumed.of(peer))
        header.check_against(found, self.arrival)
        completeness.check(found, elements)
        uid = found.sop_instance_uid
        if archive.resends.is_likely(peer):
            known = archive.holding(uid, self._upload.digest())
            if known is not None and archive.problem_of(known) is None:
                self._upload.abort()
                return Outcome.ALREADY_THERE

        key = layout.new_key(self.arrival.received_at, secrets.token_bytes(10))
        stored = self._upload.commit(key)
        instance = Instance(found, stored, self.arrival.received_at, peer, self.arrival.called_ae)
        try:
            outcome = archive.record(instance, stored.digest)
            if outcome is Outcome.ALREADY_THERE:
                outcome = self._repaired(instance)
        except DuplicateRefused:
            archive.store.delete(key)
            raise
        except PacsNodeError:
            archive.arrivals.doubt(self.arrival)
            raise
        archive.resends.note(peer, outcome)
        if outcome in (Outcome.ALREADY_THERE, Outcome.KEPT_FIRST):
            archive.store.delete(key)
        return outcome

    def _repaired(self, instance: Instance) -> Outcome:
        """Let the new object take the place of one with the same content if that is damaged, which is set aside."""
        archive = self._archive
        known = archive.holding(instance.header.sop_instance_uid, instance.stored.digest)
        if known is not None and archive.problem_of(known) is None:
            return Outcome.ALREADY_THERE
        if known is None or not archive.index.relocate(known.stored, instance):
            return archive.record(instance, instance.stored.digest)
        archive.store.set_aside(known.stored.key, "damaged; the same instance was sent again and took its place")
        return Outcome.REPAIRED
