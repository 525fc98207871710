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

from pacsnode.dicom import completeness, header, part10, walk
from pacsnode.dicom.attributes import HEADER_TAGS, Attribute
from pacsnode.dicom.charset import Assumptions
from pacsnode.dicom.encode import SPECIFIC_CHARACTER_SET
from pacsnode.errors import (
    BadDataset,
    DuplicateRefused,
    ObjectDamaged,
    ObjectNotFound,
    ObjectUnreadable,
    PacsNodeError,
)
from pacsnode.index.index import Index
from pacsnode.model import Arrival, Clock, Instance, InstanceHeader, Key, Outcome, StoredObject, Uid
from pacsnode.storage import layout
from pacsnode.storage.room import Room
from pacsnode.storage.store import Store

_READ_BYTES = 1024 * 1024
_JUST_ARRIVED = timedelta(minutes=1)  # more than clocks are set back, and than it takes to begin an ingest
_SKIM_BYTES = 16 * 1024  # most headers are shorter
_END = Key("~")  # sorts behind all keys
_REBUILD_BATCH = 500
_MAX_RESENDERS = 1000  # AE titles held, where anybody may store
_Feed = Callable[[BinaryIO, walk.DataSetWalker], None]


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

    def receive(self, arrival: Arrival) -> Ingest:
        """Begin to receive an instance. Leaving the ``with`` block without a commit leaves nothing behind.

        Raises StoreFull at once where there is no room, MalformedUid for UIDs that no object should carry.
        """
        return Ingest(self, arrival)

    def settled(self) -> datetime:
        """What arrived before this time is settled: it is stored and has a row, or nothing of it is there."""
        return self.arrivals.oldest(self.clock() - _JUST_ARRIVED)

    def describe(self, key: Key) -> Instance:
        """Read an object to its exact end and say what the index should know of it.

        Raises ObjectNotFound; ObjectDamaged where structure or digest are not those of the head.
        """
        digest = hashlib.sha256()

        def read_all(source: BinaryIO, walker: walk.DataSetWalker) -> None:
            while chunk := source.read(_READ_BYTES):
                digest.update(chunk)
                walker.feed(chunk)

        found = self._read(key, read_all)
        if digest.hexdigest() != found.stored.digest:
            raise ObjectDamaged(f"{key}: the data set's SHA-256 is not the one recorded when it was received")
        return found

    def skim(self, key: Key) -> Instance:
        """As ``describe``, but large values are passed over: the digest is the head's word.

        Raises ObjectNotFound; ObjectDamaged where the structure does not reach its exact end.
        """
        return self._read(key, _skim)

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
        tells about digests.
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
                self.index.add_many(batch)
                batch.clear()
            yield None
        self.index.add_many(batch)

    def problem_of(self, instance: Instance) -> Finding | None:
        """Re-read the object of the instance: what is wrong with it, None where all is well."""
        uid, key = instance.header.sop_instance_uid, instance.stored.key
        try:
            found = self.describe(key)
        except (ObjectDamaged, ObjectNotFound) as error:
            return Finding(uid, key, str(error), is_certain=not isinstance(error, ObjectUnreadable))
        if found.stored.digest != instance.stored.digest or found.header.sop_instance_uid != uid:
            return Finding(uid, key, f"{key}: the object is not the one the index knows")
        return None

    def values(self, key: Key, attributes: Sequence[Attribute]) -> dict[str, str]:
        """What the object says of attributes that the index does not have, by name; "" for what it does not say.

        Raises ObjectNotFound; ObjectDamaged where the structure does not reach its exact end.
        """
        wanted = frozenset(attribute.tag for attribute in attributes) | {SPECIFIC_CHARACTER_SET}
        head, _, elements = self._walk(key, _skim, wanted)
        return header.read_values(elements, attributes, self.assumed.of(head.arrival.calling_ae))

    def _read(self, key: Key, feed: _Feed) -> Instance:
        head, size, elements = self._walk(key, feed, HEADER_TAGS)
        try:
            found = header.read_header(elements, self.assumed.of(head.arrival.calling_ae))
        except BadDataset as error:
            raise ObjectDamaged(f"{key}: {error}") from error
        arrival = head.arrival
        stored = StoredObject(key, size, head.digest, arrival.transfer_syntax_uid, head.offset)
        return Instance(found, stored, arrival.received_at, arrival.calling_ae, arrival.called_ae)

    def _walk(self, key: Key, feed: _Feed, wanted: frozenset[int]) -> tuple[part10.Head, int, walk.Elements]:
        """Head, bytes of the data set, and its elements that are wanted."""
        with self.store.open(key) as source:
            head = part10.read_head(source)
            size = source.seek(0, os.SEEK_END) - head.offset
            source.seek(head.offset)
            walker = walk.DataSetWalker(head.arrival.transfer_syntax_uid, wanted)
            try:
                feed(source, walker)
                return head, size, walker.finish()
            except BadDataset as error:
                raise ObjectDamaged(f"{key}: {error}") from error


def _skim(source: BinaryIO, walker: walk.DataSetWalker) -> None:
    """Feed the walker what it needs to reach the end, and seek past the rest."""
    at, end = source.tell(), source.seek(0, os.SEEK_END)
    while at < end:
        passed = min(walker.unneeded(), end - at)
        walker.skip(passed)
        source.seek(at + passed)
        chunk = source.read(_SKIM_BYTES)
        walker.feed(chunk)
        at += passed + len(chunk)


class Arrivals:
    """Times of arrival of what is not settled yet. Safe to use from several threads."""

    def __init__(self) -> None:
        self._under_way: dict[int, datetime] = {}
        self._doubtful: list[datetime] = []

    def begin(self, ingest: Ingest) -> None:
        """Something arrives."""
        self._under_way[id(ingest)] = ingest.arrival.received_at

    def end(self, ingest: Ingest) -> None:
        """It is settled; may be said twice."""
        self._under_way.pop(id(ingest), None)

    def doubt(self, ingest: Ingest) -> None:
        """Whether it has a row can only be told when the index is opened again."""
        self._doubtful = [min([ingest.arrival.received_at, *self._doubtful])]

    @property
    def are_settled(self) -> bool:
        """Is there nothing under way, and nothing in doubt?"""
        return not self._doubtful and not self._under_way

    def oldest(self, now: datetime) -> datetime:
        """The earliest of them; now, where there are none."""
        return min([now, *self._doubtful, *self._under_way.copy().values()])


class Resends:
    """Who sends again what is here already, and will go on so: it need not be written to find out.

    Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._peers: set[str] = set()

    def is_likely(self, calling_ae: str) -> bool:
        """Was the last instance of this peer here already?"""
        return calling_ae in self._peers

    def note(self, calling_ae: str, outcome: Outcome) -> None:
        """What became of an instance that was written."""
        if outcome is not Outcome.ALREADY_THERE:
            self._peers.discard(calling_ae)
        elif len(self._peers) < _MAX_RESENDERS:
            self._peers.add(calling_ae)


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
        archive.arrivals.begin(self)

    def __enter__(self) -> Ingest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._upload.abort()
        self._archive.arrivals.end(self)

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
        if archive.resends.is_likely(peer) and archive.index.knows(uid, self._upload.digest()):
            known = self._known(uid)
            if known is not None and archive.problem_of(known) is None:
                self._upload.abort()
                return Outcome.ALREADY_THERE

        key = layout.new_key(self.arrival.received_at, secrets.token_bytes(10))
        stored = self._upload.commit(key)
        instance = Instance(found, stored, self.arrival.received_at, peer, self.arrival.called_ae)
        try:
            outcome = archive.index.add(instance)
            if outcome is Outcome.ALREADY_THERE:
                outcome = self._repaired(instance)
        except DuplicateRefused:
            archive.store.delete(key)
            raise
        except PacsNodeError:
            archive.arrivals.doubt(self)
            raise
        archive.resends.note(peer, outcome)
        if outcome in (Outcome.ALREADY_THERE, Outcome.KEPT_FIRST):
            archive.store.delete(key)
        return outcome

    def _known(self, uid: Uid) -> Instance | None:
        versions = self._archive.index.versions(uid)
        return next((version for version in versions if version.stored.digest == self._upload.digest()), None)

    def _repaired(self, instance: Instance) -> Outcome:
        """Let the new object take the place of one with the same content if that is damaged, which is set aside."""
        archive = self._archive
        known = self._known(instance.header.sop_instance_uid)
        if known is not None and archive.problem_of(known) is None:
            return Outcome.ALREADY_THERE
        if known is None or not archive.index.relocate(known.stored, instance):
            return archive.index.add(instance)
        archive.store.set_aside(known.stored.key, "damaged; the same instance was sent again and took its place")
        return Outcome.REPAIRED
