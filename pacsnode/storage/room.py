"""Is there room for another object?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pacsnode.errors import StoreFull
from pacsnode.storage.calls import FileSystem, store_error

_SPACE_SECONDS = 0.2  # how long an answer is good for


class Room:
    """The free space of a file system, asked a few times a second at most. Safe to use from several threads."""

    def __init__(self, path: Path, fs: FileSystem, *, min_free_bytes: int, monotonic: Callable[[], float]) -> None:
        self._path = path
        self._fs = fs
        self._min_free_bytes = max(min_free_bytes, 1)
        self._monotonic = monotonic
        self._good_until = float("-inf")

    def check(self) -> None:
        """Raises StoreFull below the mark, or without an inode for another file."""
        now = self._monotonic()
        if now < self._good_until:
            return
        try:
            space = self._fs.space(self._path)
        except OSError as error:
            raise store_error(error, "cannot tell the free space") from error
        if space.free_bytes < self._min_free_bytes:
            raise StoreFull(f"{space.free_bytes} bytes are free, {self._min_free_bytes} must stay so")
        if space.free_inodes == 0:
            raise StoreFull("the file system has no inode left for another file")
        self._good_until = now + _SPACE_SECONDS
