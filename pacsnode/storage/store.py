"""The interface of the store: immutable Part 10 objects under keys of our own. Read this first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol

from pacsnode.model import Arrival, Key, StoredObject


class Upload(Protocol):
    """An object in the making: invisible until commit, gone after abort. Used by one thread."""

    def write(self, chunk: bytes | memoryview) -> None:
        """Append bytes of the data set. Does not keep the view. Raises StoreFull or StoreError."""

    def digest(self) -> str:
        """SHA-256 of the data set bytes written so far, as 64 hex digits."""

    def commit(self, key: Key) -> StoredObject:
        """Make the object durable under the key. After this returns, a power cut loses nothing.

        Raises StoreError (StoreFull when space ran out); then nothing is visible and the upload is spent.
        An existing object is never overwritten: that is a StoreError, too.
        """

    def place(self, key: Key) -> StoredObject:
        """As ``commit``, but its name is durable only when the store's ``settle`` has returned: for many at once."""

    def abort(self) -> None:
        """Drop everything; may be called twice, and after commit, where it does nothing."""


class Store(Protocol):
    """Where the bytes are. Safe to use from several threads."""

    def begin(self, arrival: Arrival) -> Upload:
        """Start an object whose file meta is made of the arrival.

        Raises StoreFull below the free-space mark, MalformedUid for UIDs that break PS3.5 9.1.
        """

    def open(self, key: Key) -> BinaryIO:
        """The whole Part 10 object from its first byte, unbuffered, seekable, with ``fileno``. ObjectNotFound."""

    def read_into(self, key: Key, buffer: memoryview) -> int:
        """The Part 10 object from its first byte, as far as the buffer takes it: how many bytes.

        For many small ones: costs less than ``open``. ObjectNotFound, ObjectUnreadable, StoreError.
        """

    def info(self, key: Key) -> StoredObject:
        """What the object's own head says of it, size from the file. ObjectNotFound, ObjectDamaged."""

    def arrival(self, key: Key) -> Arrival:
        """How the object came here, as its own head says (no move originator). ObjectNotFound, ObjectDamaged."""

    def delete(self, key: Key) -> None:
        """Remove the object, durably; deleting what is gone is fine."""

    def delete_all(self, keys: Sequence[Key]) -> None:
        """``delete`` for each of them; where it raises, some may be gone, and some of those not durably."""

    def settle(self, keys: Sequence[Key]) -> None:
        """Make the names of objects that were placed durable. Raises StoreError: then none of them may be relied on."""

    def set_aside(self, key: Key, reason: str) -> None:
        """Take the object out of the archive, durably, but keep it, with the reason, for people to look at.

        Does nothing where there is no such object. Raises StoreError; then the object may be at either place.
        """

    def keys(self, since: str = "") -> Iterator[Key]:
        """All keys that are not below ``since``, in ascending order, which is the order of arrival."""

    def is_bare(self) -> bool:
        """Is there no object, and none that was set aside? Then perhaps its file system is not mounted."""

    def free_bytes(self) -> int:
        """Bytes that can still be written."""
