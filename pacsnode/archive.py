"""The use cases that need both store and index. Bytes durable, then index row, then the caller may say Success."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType

from pacsnode.dicom import header, walk
from pacsnode.dicom.attributes import HEADER_TAGS
from pacsnode.errors import (
    BadDataset,
    DuplicateRefused,
    ObjectDamaged,
    ObjectNotFound,
    PacsNodeError,
)
from pacsnode.index.index import Index
from pacsnode.model import Arrival, Clock, Instance, Key, Outcome
from pacsnode.storage import layout
from pacsnode.storage.store import Store

_READ_BYTES = 1024 * 1024
_REBUILD_BATCH = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with what is stored. ``uid`` is empty where the object does not tell."""

    uid: str
    key: Key
    problem: str


class Archive:
    """Store and index under one promise: what was acknowledged is there, unaltered, and can be found."""

    def __init__(self, store: Store, index: Index, clock: Clock) -> None:
        self.store = store
        self.index = index
        self.clock = clock

    def receive(self, arrival: Arrival) -> Ingest:
        """Begin to receive an instance. Leaving the ``with`` block without a commit leaves nothing behind.

        Raises StoreFull at once where there is no room, MalformedUid for UIDs that no object should carry.
        """
        return Ingest(self, arrival)

    def describe(self, key: Key) -> Instance:
        """Read an object to its exact end and say what the index should know of it.

        Raises ObjectNotFound; ObjectDamaged where structure or digest are not those of the head.
        """
        stored = self.store.info(key)
        arrival = self.store.arrival(key)
        with self.store.open(key) as source:
            source.seek(stored.offset)
            walker, digest = walk.DataSetWalker(arrival.transfer_syntax_uid, HEADER_TAGS), hashlib.sha256()
            try:
                while chunk := source.read(_READ_BYTES):
                    digest.update(chunk)
                    walker.feed(chunk)
                found = header.read_header(walker.finish())
            except BadDataset as error:
                raise ObjectDamaged(f"{key}: {error}") from error
        if digest.hexdigest() != stored.digest:
            raise ObjectDamaged(f"{key}: the data set's SHA-256 is not the one recorded when it was received")
        return Instance(found, stored, arrival.received_at, arrival.calling_ae, arrival.called_ae)

    def verify(self, instances: Iterable[Instance]) -> Iterator[Finding | None]:
        """Re-read the object of every instance; a finding, or None where all is well, for each."""
        for instance in instances:
            yield self._problem_of(instance)

    def rebuild(self, keys: Iterable[Key]) -> Iterator[Finding | None]:
        """Add the objects to the index; a finding for each that cannot be read, None for each that was added.

        Keys come in order of arrival, so that versions and descriptions come out as they were.
        """
        batch: list[Instance] = []
        for key in keys:
            try:
                batch.append(self.describe(key))
            except (ObjectDamaged, ObjectNotFound) as error:
                yield Finding("", key, str(error))
                continue
            if len(batch) == _REBUILD_BATCH:
                self.index.add_many(batch)
                batch.clear()
            yield None
        self.index.add_many(batch)

    def _problem_of(self, instance: Instance) -> Finding | None:
        uid, key = instance.header.sop_instance_uid, instance.stored.key
        try:
            found = self.describe(key)
        except (ObjectDamaged, ObjectNotFound) as error:
            return Finding(uid, key, str(error))
        if found.stored.digest != instance.stored.digest or found.header.sop_instance_uid != uid:
            return Finding(uid, key, f"{key}: the object is not the one the index knows")
        return None


class Ingest:
    """One instance on its way in. Used by one thread."""

    def __init__(self, archive: Archive, arrival: Arrival) -> None:
        self.arrival = arrival
        self.size = 0  # bytes of the data set so far
        self._archive = archive
        self._walker = walk.DataSetWalker(arrival.transfer_syntax_uid, HEADER_TAGS)
        self._upload = archive.store.begin(arrival)

    def __enter__(self) -> Ingest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._upload.abort()

    def write(self, chunk: bytes | memoryview) -> None:
        """Take bytes of the data set as they arrive. Raises BadDataset as soon as it cannot be right, StoreError."""
        self._walker.feed(chunk)
        self._upload.write(chunk)
        self.size += len(chunk)

    def commit(self) -> Outcome:
        """Check the instance and make it durable: when this returns, Success may be said.

        Raises BadDataset (UidMismatch where it names another instance than the arrival), MalformedUid,
        DuplicateRefused or StoreError, and nothing visible is left. After an IndexFailure an orphan may be.
        """
        found = header.read_header(self._walker.finish())
        header.check_against(found, self.arrival)
        archive = self._archive
        if archive.index.knows(found.sop_instance_uid, self._upload.digest()):
            self._upload.abort()
            return Outcome.ALREADY_THERE

        key = layout.new_key(self.arrival.received_at, secrets.token_bytes(10))
        stored = self._upload.commit(key)
        instance = Instance(found, stored, self.arrival.received_at, self.arrival.calling_ae, self.arrival.called_ae)
        try:
            outcome = archive.index.add(instance)
        except DuplicateRefused:
            archive.store.delete(key)
            raise
        except PacsNodeError:
            # The row may or may not have been committed: a file without a row is harmless, the reverse is not.
            raise
        if outcome in (Outcome.ALREADY_THERE, Outcome.KEPT_FIRST):
            archive.store.delete(key)
        return outcome
