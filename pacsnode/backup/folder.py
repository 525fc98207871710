"""A backup in a folder: another disk, or a share that is mounted. Names appear whole and durable, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pacsnode.errors import BackupDamaged, BackupFailure, NotInBackup, ObjectUnreadable
from pacsnode.storage.calls import FileSystem, is_full, write_all
from pacsnode.storage.directories import Directories
from pacsnode.storage.syncs import Syncs

_DRAFTS = "drafts"
_READ_BYTES = 1024 * 1024
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class FolderTarget:
    """A Target below one folder, which has to be there: a mount that is missing must not fill the disk below it."""

    def __init__(self, root: Path, fs: FileSystem | None = None) -> None:
        """Raises BackupFailure where there is no such folder."""
        self.url = f"file://{root}"
        self._root = root
        self._fs = fs or FileSystem()
        self._syncs = Syncs(self._fs)
        self._directories = Directories(root, self._fs, self._syncs)
        if not self._fs.is_directory(root):
            raise BackupFailure(f"backup: {root} is not there; mount it, or create the folder")

    def put(self, name: str, source: BinaryIO) -> bool:
        """See Target.put."""
        path = self._root / name
        with self._translated(name):
            if path.exists():
                return False
            with self._drafted(source) as draft:
                self._directories.ensure(path.parent)
                if not self._publish(draft, path):
                    return False
            self._syncs.directory(path.parent)
        return True

    def replace(self, name: str, source: BinaryIO) -> None:
        """See Target.replace."""
        path = self._root / name
        with self._translated(name), self._drafted(source) as draft:
            self._directories.ensure(path.parent)
            self._fs.rename(draft, path)
            self._syncs.directory(path.parent)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """See Target.open."""
        with self._translated(name):
            source = self._fs.open(self._root / name)
        with source:
            try:
                yield source
            except ObjectUnreadable as error:
                raise BackupDamaged(f"backup: {name} cannot be read from {self.url}") from error

    def names(self, folder: str) -> Iterator[str]:
        """See Target.names."""
        with self._translated(folder):
            for where, _, files in os.walk(self._root / folder):
                for file in files:
                    yield (Path(where) / file).relative_to(self._root).as_posix()

    def delete(self, name: str) -> bool:
        """See Target.delete."""
        path = self._root / name
        with self._translated(name):
            try:
                self._fs.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                return True
            except PermissionError:
                return False
            self._syncs.directory(path.parent)
        return True

    def sweep(self) -> None:
        """Remove what a process that died left half-written. Only for who may write here alone."""
        with self._translated(_DRAFTS), contextlib.suppress(FileNotFoundError):
            for name in self._fs.files(self._root / _DRAFTS):
                self._fs.unlink(self._root / _DRAFTS / name)

    def close(self) -> None:
        """See Target.close."""

    @contextmanager
    def _drafted(self, source: BinaryIO) -> Iterator[Path]:
        """The source's bytes in a file of their own, durable; gone at the end of the block."""
        draft = self._root / _DRAFTS / secrets.token_hex(16)
        self._directories.ensure(draft.parent)
        descriptor = self._fs.create(draft)
        try:
            try:
                while chunk := source.read(_READ_BYTES):
                    write_all(self._fs, descriptor, chunk)
                self._syncs.file(descriptor)
            finally:
                self._fs.close(descriptor)
            yield draft
        finally:
            with contextlib.suppress(OSError):
                self._fs.unlink(draft)

    def _publish(self, draft: Path, path: Path) -> bool:
        try:
            self._fs.link(draft, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._fs.rename(draft, path)  # such as a USB disk's FAT: the look before has to be enough
        return True

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:
            if not self._fs.is_directory(self._root):
                raise BackupFailure(f"backup: {self._root} is gone; mount it again") from error
            self._directories.forget()
            raise NotInBackup(f"backup: {name} is not in {self.url}") from error
        except OSError as error:
            what = "is full; make room there" if is_full(error) else f"failed: {error.strerror}"
            raise BackupFailure(f"backup: {self.url} {what} ({name})") from error
