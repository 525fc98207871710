"""Room kept for the day the disk is full: SQLite needs some even to be opened, or to forget a row."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from pacsnode import log
from pacsnode.storage.calls import FileSystem

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Ballast:
    """A file of no content beside the index, given up for its room. Safe to use from several threads.

    It is a convenience: what fails here is no error.
    """

    def __init__(self, path: Path, size_bytes: int, *, fs: FileSystem | None = None) -> None:
        """A size of 0 is no ballast."""
        self._path = path
        self._size_bytes = size_bytes
        self._fs = fs or FileSystem()

    def give_up(self) -> bool:
        """Remove the file; False where there is none."""
        try:
            self._path.unlink()
        except OSError:
            return False
        log.event("ballast_released", level=logging.WARNING, path=self._path)
        return True

    def relieve(self) -> None:
        """Give it up where there is less room than it takes itself."""
        if self._free_bytes() < self._size_bytes:
            self.give_up()

    def restore(self, spare_bytes: int) -> None:
        """Make it again where so many bytes stay free besides; unmake it where there is to be none."""
        with contextlib.suppress(OSError):
            found = self._path.stat().st_size if self._path.exists() else 0
            if found != self._size_bytes and found:
                self._path.unlink()
            elif found or not self._size_bytes:
                return
            if self._size_bytes and self._free_bytes() >= self._size_bytes + spare_bytes:
                self._allocate()

    def _allocate(self) -> None:
        descriptor = os.open(self._path, _CREATE, 0o640)
        try:
            os.posix_fallocate(descriptor, 0, self._size_bytes)
        except OSError:
            self._path.unlink()
        finally:
            os.close(descriptor)

    def _free_bytes(self) -> int:
        try:
            return self._fs.space(self._path.parent).free_bytes
        except OSError:
            return self._size_bytes  # nothing is known: nothing is done
