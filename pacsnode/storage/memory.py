"""A Store in memory, under the same contract: for the tests of whoever uses a store."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from pacsnode.dicom import part10
from pacsnode.errors import ObjectDamaged, ObjectNotFound, StoreError, StoreFull
from pacsnode.model import Arrival, Key, StoredObject
from pacsnode.storage import layout


class MemoryStore:
    """Keeps whole Part 10 objects; tests may look at ``objects`` and ``aside`` and alter them."""

    def __init__(self, *, capacity_bytes: int = 1 << 40) -> None:
        self.objects: dict[Key, bytes] = {}
        self.aside: dict[Key, tuple[bytes, str]] = {}  # objects that were set aside, and why
        self._capacity_bytes = capacity_bytes
        self._lock = threading.Lock()

    def begin(self, arrival: Arrival) -> MemoryUpload:
        """See Store.begin."""
        if self.free_bytes() <= 0:
            raise StoreFull("the store's capacity is used up")
        return MemoryUpload(self, arrival)

    def add(self, key: Key, content: bytes) -> None:
        """Put a whole object under the key. Raises StoreError where there is one, StoreFull."""
        with self._lock:
            if not layout.is_key(key):
                raise StoreError("not a key of this store")
            if key in self.objects:
                raise StoreError(f"there is an object {key} already")
            if len(content) > self.free_bytes():
                raise StoreFull("the store's capacity is used up")
            self.objects[key] = content

    def open(self, key: Key) -> BinaryIO:
        """See Store.open."""
        content = self._content(key)
        descriptor = os.memfd_create("object")  # a buffer has no ``fileno``
        with os.fdopen(descriptor, "wb", closefd=False) as target:
            target.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return io.FileIO(descriptor)

    def read_into(self, key: Key, buffer: memoryview) -> int:
        """See Store.read_into."""
        content = self._content(key)[: len(buffer)]
        buffer[: len(content)] = content
        return len(content)

    def info(self, key: Key) -> StoredObject:
        """See Store.info."""
        content = self._content(key)
        head = part10.read_head(io.BytesIO(content))
        size = len(content) - head.offset
        if size < 0:
            raise ObjectDamaged(f"{key}: ends within its own head")
        return StoredObject(key, size, head.digest, head.arrival.transfer_syntax_uid, head.offset)

    def arrival(self, key: Key) -> Arrival:
        """See Store.arrival."""
        return part10.read_head(io.BytesIO(self._content(key))).arrival

    def delete(self, key: Key) -> None:
        """See Store.delete."""
        self.delete_all([key])

    def delete_all(self, keys: Sequence[Key]) -> None:
        """See Store.delete_all."""
        with self._lock:
            for key in keys:
                self.objects.pop(key, None)

    def settle(self, keys: Sequence[Key]) -> None:
        """See Store.settle."""

    def set_aside(self, key: Key, reason: str) -> None:
        """See Store.set_aside."""
        with self._lock:
            content = self.objects.pop(key, None)
            if content is not None:
                self.aside[key] = (content, reason)

    def keys(self, since: str = "") -> Iterator[Key]:
        """See Store.keys."""
        with self._lock:
            found = sorted(self.objects)
        return (key for key in found if key >= since)

    def is_bare(self) -> bool:
        """See Store.is_bare."""
        return not self.objects and not self.aside

    def free_bytes(self) -> int:
        """See Store.free_bytes."""
        return self._capacity_bytes - sum(map(len, self.objects.values()))

    def _content(self, key: Key) -> bytes:
        try:
            return self.objects[key]
        except KeyError:
            raise ObjectNotFound(f"no object {key}") from None


class MemoryUpload:
    """An Upload that collects its bytes."""

    def __init__(self, store: MemoryStore, arrival: Arrival) -> None:
        self._head = part10.HeadTemplate(arrival)
        self._store = store
        self._arrival = arrival
        self._content = bytearray()
        self._is_over = False

    def write(self, chunk: bytes | memoryview) -> None:
        """See Upload.write."""
        self._must_be_open()
        if len(self._content) + len(chunk) > self._store.free_bytes():
            self.abort()
            raise StoreFull("the store's capacity is used up")
        self._content += chunk

    def digest(self) -> str:
        """See Upload.digest."""
        return hashlib.sha256(self._content).hexdigest()

    def commit(self, key: Key) -> StoredObject:
        """See Upload.commit."""
        self._must_be_open()
        self._is_over = True
        digest = self.digest()
        head = self._head.filled(digest)
        self._store.add(key, head + bytes(self._content))
        return StoredObject(key, len(self._content), digest, self._arrival.transfer_syntax_uid, len(head))

    def place(self, key: Key) -> StoredObject:
        """See Upload.place."""
        return self.commit(key)

    def abort(self) -> None:
        """See Upload.abort."""
        self._is_over = True

    def _must_be_open(self) -> None:
        if self._is_over:
            raise StoreError("this upload is over: it was committed, aborted or has failed")
