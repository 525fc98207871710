"""Data sets read and proved to be the ones that were stored: small objects in memory that is used again and again."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from pacsnode.errors import ObjectDamaged
from pacsnode.model import StoredObject
from pacsnode.storage.store import Store

_PIECE_BYTES = 1024 * 1024
_IN_MEMORY_BYTES = 8 * 1024 * 1024


class Reader:
    """Reads one object at a time. Used by one thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._memory = io.BytesIO(bytes(_IN_MEMORY_BYTES))  # costs no more of it than the largest object filled
        self._view = self._memory.getbuffer()

    @contextmanager
    def opened(self, stored: StoredObject) -> Iterator[BinaryIO]:
        """The data set as it came, from its beginning; of a small object that is the last thing asked for, and other
        bytes may be behind it. Raises ObjectDamaged, ObjectNotFound, StoreError."""
        self.check(stored)
        if _is_small(stored):
            self._memory.seek(stored.offset)
            yield self._memory
            return
        with self._store.open(stored.key) as source:
            source.seek(stored.offset)
            yield source

    def check(self, stored: StoredObject) -> None:
        """Read the data set to its end. Raises ObjectDamaged where it is not the one with this digest, ObjectNotFound,
        StoreError."""
        if (self._small if _is_small(stored) else self._large)(stored) != stored.digest:
            raise ObjectDamaged(f"{stored.key}: the data set's SHA-256 is not the one recorded when it was stored")

    def _small(self, stored: StoredObject) -> str:
        size = self._store.read_into(stored.key, self._view)
        return hashlib.sha256(self._view[stored.offset : size]).hexdigest()

    def _large(self, stored: StoredObject) -> str:
        digest = hashlib.sha256()
        with self._store.open(stored.key) as source:
            source.seek(stored.offset)
            while piece := source.read(_PIECE_BYTES):  # hashlib's own way makes and clears 256 KiB for the smallest one
                digest.update(piece)
        return digest.hexdigest()


def _is_small(stored: StoredObject) -> bool:
    """Is there room for more than it, so that it is seen when there is more?"""
    return stored.offset + stored.size < _IN_MEMORY_BYTES
