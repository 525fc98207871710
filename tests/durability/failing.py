"""A disk that fails at one chosen call, whether the store or SQLite makes it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import apsw

from tests.storage.recorded_calls import RecordedFileSystem

SYNCS = frozenset({"sync", "sync_directory", "xSync -wal"})
"""Calls that make something durable on which Success depends. That of the database file belongs to a checkpoint."""
_BASE = "unix"
_CODES = {"xWrite": apsw.SQLITE_IOERR_WRITE, "xTruncate": apsw.SQLITE_IOERR_TRUNCATE, "xSync": apsw.SQLITE_IOERR_FSYNC}


@dataclass
class Faults:
    """Counts the calls of store and index together from ``arm`` on; the n-th one fails."""

    calls: list[str] = field(default_factory=list)
    _failing: int = 0
    _number: int = errno.EIO

    def arm(self, failing: int, number: int) -> None:
        """Fail at this call, counted from 1 on, with this error."""
        self.calls.clear()
        self._failing, self._number = failing, number

    def disarm(self) -> None:
        """Nothing fails any more."""
        self._failing = 0

    @property
    def forgets(self) -> bool:
        """Does what could not be made durable vanish at once?"""
        return self._number == errno.EIO

    @property
    def hit(self) -> str:
        """The call that failed; "" where there were not so many."""
        return self.calls[self._failing - 1] if 0 < self._failing <= len(self.calls) else ""

    def next(self, name: str) -> int:
        """The error number of this call, 0 when it works."""
        self.calls.append(name)
        return self._number if len(self.calls) == self._failing else 0

    def file_system(self) -> RecordedFileSystem:
        """For the store. To ask for the free space is no call here."""
        return RecordedFileSystem(lambda number, call: 0 if call.name == "space" else self.next(call.name))


class _File(apsw.VFSFile):
    """Where a sync fails with EIO, forgets what was written since the last one, as Linux may; else that survives."""

    def __init__(self, filename: Any, flags: list[int], faults: Faults) -> None:
        super().__init__(_BASE, filename, flags)
        name = filename.filename() if isinstance(filename, apsw.URIFilename) else filename
        self._suffix = " -wal" if name and name.endswith("-wal") else ""
        self._faults = faults
        self._before: list[tuple[int, bytes, int]] = []  # offset, what was there, and the size of the file

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._ask("xWrite")
        size = self.xFileSize()
        old = super().xRead(min(len(data), size - offset), offset) if offset < size else b""
        self._before.append((offset, old, size))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._ask("xTruncate")
        self._before.clear()
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        try:
            self._ask("xSync")
        except apsw.Error:
            if self._faults.forgets:
                for offset, old, size in reversed(self._before):
                    super().xWrite(old, offset)
                    super().xTruncate(size)
            raise
        finally:
            self._before.clear()
        super().xSync(flags)

    def _ask(self, name: str) -> None:
        if number := self._faults.next(name + self._suffix):
            is_full = number == errno.ENOSPC and name == "xWrite"
            raise apsw.exception_for(apsw.SQLITE_FULL if is_full else _CODES[name])


class _Vfs(apsw.VFS):
    def __init__(self, faults: Faults) -> None:
        super().__init__("failing", _BASE, makedefault=True)
        self._faults = faults

    def xOpen(self, name: Any, flags: list[int]) -> _File:  # noqa: N802
        return _File(name, flags, self._faults)


@contextmanager
def failing_sqlite(faults: Faults) -> Iterator[None]:
    """Every database that is opened within the block asks ``faults``."""
    vfs = _Vfs(faults)
    try:
        yield
    finally:
        vfs.unregister()
