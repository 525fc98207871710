"""The store in a folder of a local file system: ``objects/`` by key, ``spool/`` for what is in the making.

An object is durable before it is visible, and the name is durable before ``commit`` returns.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from pacsnode.dicom import part10
from pacsnode.errors import ObjectDamaged, ObjectNotFound
from pacsnode.model import Arrival, Key, StoredObject
from pacsnode.storage import layout
from pacsnode.storage.assistant import Assistant
from pacsnode.storage.buffers import STAGING_BYTES, Buffers
from pacsnode.storage.calls import FileSystem, store_error
from pacsnode.storage.directories import Directories, make_path
from pacsnode.storage.quarantine import Quarantine
from pacsnode.storage.room import Room
from pacsnode.storage.spool import Spool
from pacsnode.storage.syncs import Syncs
from pacsnode.storage.trash import Trash
from pacsnode.storage.upload import FileUpload, Premises

_SHARD_DEPTH = 4


class FilesystemStore:
    """A Store below one folder. Its node holds the folder's lock; reading needs none."""

    def __init__(
        self,
        root: Path,
        *,
        min_free_bytes: int = 0,
        staging_bytes: int = STAGING_BYTES,
        fs: FileSystem | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        cpu_time: Callable[[], float] = time.thread_time,
        read_only: bool = False,
    ) -> None:
        """Create the folders where they are missing. Raises StoreError where nothing can be stored there.

        With ``read_only`` nothing is created or tried: right for whoever may read the folder and no more.
        """
        self._fs = fs or FileSystem()
        self._objects, spool_folder = root.absolute() / "objects", root.absolute() / "spool"
        self._syncs = Syncs(self._fs)
        self._spool = Spool(spool_folder, self._fs, self._syncs, cpu_time)
        self.quarantine = Quarantine(root.absolute() / "quarantine", self._objects, self._fs, self._syncs)
        """Where ``set_aside`` puts objects."""
        self.trash = Trash(root.absolute() / "trash", self._objects, self._fs, self._syncs)
        """Where the objects of deleted studies are for a while."""
        self._room = Room(self._objects, self._fs, min_free_bytes=min_free_bytes, monotonic=monotonic)
        self._premises = Premises(
            objects=self._objects,
            spool=self._spool,
            directories=Directories(self._objects, self._fs, self._syncs),
            buffers=Buffers(staging_bytes),
            room=self._room,
            assistant=Assistant(),
        )
        if read_only:
            return
        try:
            make_path(self._objects, self._fs, self._syncs)
            make_path(spool_folder, self._fs, self._syncs)
            self._make_durable(root.absolute())
            self._spool.probe(self._objects)
        except OSError as error:
            raise store_error(error, f"cannot store anything below {root}") from error

    @property
    def degraded(self) -> str:
        """Why what was not yet promised may be lost on this disk, for people; "" while all is well."""
        return self._syncs.degraded

    def sweep(self) -> int:
        """Remove what uploads of a process that died left in the spool; answers how many. Only at start."""
        try:
            return self._spool.sweep(self._objects)
        except OSError as error:
            raise store_error(error, "cannot sweep the spool folder") from error

    def begin(self, arrival: Arrival) -> FileUpload:
        """See Store.begin."""
        self._room.check()
        return FileUpload(arrival, self._premises)

    def open(self, key: Key) -> BinaryIO:
        """See Store.open."""
        if not layout.is_key(key):
            raise ObjectNotFound("not a key of this store")
        try:
            return self._fs.open(f"{self._objects}/{key}")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ObjectNotFound(f"no object {key}") from error
        except OSError as error:
            raise store_error(error, f"cannot open {key}") from error

    def read_into(self, key: Key, buffer: memoryview) -> int:
        """See Store.read_into."""
        if not layout.is_key(key):
            raise ObjectNotFound("not a key of this store")
        try:
            return self._fs.read_into(f"{self._objects}/{key}", buffer)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ObjectNotFound(f"no object {key}") from error
        except OSError as error:
            raise store_error(error, f"cannot open {key}") from error

    def info(self, key: Key) -> StoredObject:
        """See Store.info."""
        head, size = self._head(key)
        if size < head.offset:
            raise ObjectDamaged(f"{key}: ends within its own head")
        return StoredObject(key, size - head.offset, head.digest, head.arrival.transfer_syntax_uid, head.offset)

    def arrival(self, key: Key) -> Arrival:
        """See Store.arrival."""
        return self._head(key)[0].arrival

    def delete(self, key: Key) -> None:
        """See Store.delete."""
        self.delete_all([key])

    def delete_all(self, keys: Sequence[Key]) -> None:
        """See Store.delete_all. A directory is synced once for all that was in it."""
        paths = [layout.path(self._objects, key) for key in keys if layout.is_key(key)]
        try:
            for path in paths:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    self._fs.unlink(path)
            # What is gone may be gone since a moment ago, by a process that was killed before it came to the fsync.
            for directory in sorted({path.parent for path in paths}):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    self._syncs.directory(directory)
        except OSError as error:
            raise store_error(error, f"cannot delete {', '.join(keys[:3])}") from error

    def settle(self, keys: Sequence[Key]) -> None:
        """See Store.settle."""
        try:
            for directory in sorted({layout.path(self._objects, key).parent for key in keys}):
                self._syncs.directory(directory)
        except OSError as error:
            raise store_error(error, "cannot make names durable") from error

    def set_aside(self, key: Key, reason: str) -> None:
        """See Store.set_aside. It goes to ``quarantine/``, beside a JSON file that tells key and reason."""
        if layout.is_key(key):
            try:
                self.quarantine.take(layout.path(self._objects, key), key, reason)
            except OSError as error:
                raise store_error(error, f"cannot set {key} aside") from error

    def keys(self, since: str = "") -> Iterator[Key]:
        """See Store.keys. Holds one directory's names at a time; what is not ours is passed over."""
        try:
            yield from self._walk("", since)
        except OSError as error:
            raise store_error(error, "cannot list the objects") from error

    def is_bare(self) -> bool:
        """See Store.is_bare. Quarantine and trash are on the file system of the objects."""
        return next(self.keys(), None) is None and self.quarantine.is_empty() and self.trash.is_empty()

    def free_bytes(self) -> int:
        """See Store.free_bytes. ``begin`` refuses before these are used up, at ``min_free_bytes``."""
        try:
            return self._fs.space(self._objects).free_bytes
        except OSError as error:
            raise store_error(error, "cannot tell the free space") from error

    def _make_durable(self, root: Path) -> None:
        """The folders that were there, too: who made them may have been killed before it came to the fsync."""
        self._syncs.directory(root)
        with contextlib.suppress(PermissionError):  # what is above belongs to others, who need not let us read it
            self._syncs.directory(root.parent)

    def _head(self, key: Key) -> tuple[part10.Head, int]:
        with self.open(key) as source:
            size = source.seek(0, os.SEEK_END)
            source.seek(0)
            return part10.read_head(source), size

    def _walk(self, folder: str, since: str) -> Iterator[Key]:
        if folder.count("/") == _SHARD_DEPTH:
            for name in self._names(self._fs.files, folder):
                key = layout.parse(folder + name)
                if key is not None and key >= since:
                    yield key
            return
        for name in self._names(self._fs.directories, folder):
            below = f"{folder}{name}/"
            if layout.is_folder(below[:-1]) and below >= since[: len(below)]:
                yield from self._walk(below, since)

    def _names(self, list_names: Callable[[Path], list[str]], folder: str) -> list[str]:
        try:
            return sorted(list_names(self._objects / folder))
        except FileNotFoundError:
            return []
