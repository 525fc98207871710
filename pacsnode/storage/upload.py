"""An object on its way into the file system: collected, hashed, written in few pieces, published."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pacsnode.dicom import part10
from pacsnode.errors import StoreError
from pacsnode.model import Arrival, Key, StoredObject
from pacsnode.storage import layout
from pacsnode.storage.assistant import Assistant
from pacsnode.storage.buffers import Buffers
from pacsnode.storage.calls import DIRECT_BYTES, PAGE_BYTES, store_error
from pacsnode.storage.directories import Directories
from pacsnode.storage.room import Room
from pacsnode.storage.spool import Spool


@dataclass(frozen=True, slots=True)
class Premises:
    """What all uploads of a store share."""

    objects: Path
    spool: Spool
    directories: Directories
    buffers: Buffers
    room: Room
    assistant: Assistant


class FileUpload:
    """An Upload through one staging buffer: what fits in it is written at once, when it is whole."""

    def __init__(self, arrival: Arrival, premises: Premises) -> None:
        self._arrival = arrival
        self._premises = premises
        self._file = premises.spool.new_file()
        self._head = part10.HeadTemplate(arrival)
        self._offset = self._head.size  # of the data set: the head is filled in last
        self._size = 0  # bytes of the data set so far
        self._sha = hashlib.sha256()
        self._staging: memoryview | None = premises.buffers.take()
        self._fill = self._hashed = self._offset  # positions in the staging buffer

    def write(self, chunk: bytes | memoryview) -> None:
        """See Upload.write."""
        staging, rest = self._open_staging(), chunk
        while len(rest) > (room := len(staging) - self._fill):
            rest = memoryview(rest)
            staging[self._fill :], rest = rest[:room], rest[room:]
            self._fill = len(staging)
            self._flush(staging)
        end = self._fill + len(rest)
        staging[self._fill : end] = rest
        self._fill = end
        self._size += len(chunk)

    def digest(self) -> str:
        """See Upload.digest."""
        if self._staging is not None:
            self._hash(self._staging)
        return self._sha.hexdigest()

    def commit(self, key: Key) -> StoredObject:
        """See Upload.commit."""
        return self._finished(key, self._file.publish)

    def place(self, key: Key) -> StoredObject:
        """See Upload.place."""
        return self._finished(key, self._file.place)

    def _finished(self, key: Key, publish: Callable[[Path], None]) -> StoredObject:
        staging = self._open_staging()
        try:
            digest = self._write_out(staging)
            self._publish(key, publish)
        except OSError as error:
            raise store_error(error, f"cannot store {key}") from error
        finally:
            self.abort()
        return StoredObject(key, self._size, digest, self._arrival.transfer_syntax_uid, self._offset)

    def abort(self) -> None:
        """See Upload.abort."""
        staging, self._staging = self._staging, None
        if staging is not None:
            self._file.drop()
            self._premises.buffers.give_back(staging)

    def _open_staging(self) -> memoryview:
        if self._staging is None:
            raise StoreError("this upload is over: it was committed, aborted or has failed")
        return self._staging

    def _hash(self, staging: memoryview) -> None:
        self._sha.update(staging[self._hashed : self._fill])
        self._hashed = self._fill

    def _flush(self, staging: memoryview) -> None:
        try:
            self._premises.room.check()
            self._append(staging)
        except OSError as error:
            self.abort()
            raise store_error(error, "cannot write to the spool") from error
        except BaseException:
            self.abort()
            raise
        self._fill = self._hashed = 0

    def _append(self, staging: memoryview) -> None:
        """Write what is staged, with zeros for the head, and hash it meanwhile."""
        if not self._file.size:
            staging[: self._offset] = bytes(self._offset)  # nothing of whoever had the buffer before us
        content, unhashed = staging[: self._fill], staging[self._hashed : self._fill]
        self._premises.assistant.hash_beside(self._sha, unhashed, lambda: self._file.append(content))
        self._hashed = self._fill

    def _write_out(self, staging: memoryview) -> str:
        """Write what is left, and the head last or with it: the digest that it tells."""
        is_whole = not self._file.size
        if is_whole and self._fill - self._hashed < DIRECT_BYTES:
            digest = self.digest()
            staging[: self._offset] = self._head.filled(digest)
            self._file.append(staging[: self._fill])
            return digest
        self._append(staging)
        head = self._head.filled(self.digest())
        if is_whole:
            staging[: self._offset] = head
            self._file.fill_in(staging[:PAGE_BYTES])  # a whole page: else it would have to be read first
        else:
            self._file.fill_in(head)
        return self._sha.hexdigest()

    def _publish(self, key: Key, publish: Callable[[Path], None]) -> None:
        if not layout.is_key(key):
            raise StoreError("not a key of this store")
        target = layout.path(self._premises.objects, key)
        self._premises.directories.ensure(target.parent)
        try:
            publish(target)
        except FileNotFoundError:
            self._premises.directories.forget()
            raise
