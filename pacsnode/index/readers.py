"""Reading connections: a few are kept open, the one used last goes out first, since its cache is warm."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
from playhouse.apsw_ext import APSWDatabase

from pacsnode.errors import IndexFailure
from pacsnode.index.connection import connection_of, open_reader, translated

_KEPT_OPEN = 16


class ReaderPool:
    """Lends read-only connections, one borrower at a time each, to any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[APSWDatabase] = []
        self._closed = False

    @contextmanager
    def reader(self) -> Iterator[apsw.Connection]:
        """A connection for the length of the block. Fetch everything inside: it bounds the read transaction."""
        database = self._take()
        try:
            with translated("cannot read"):
                yield connection_of(database)
        finally:
            self._give_back(database)

    def close(self) -> None:
        """Close what is idle now, and what is lent when it comes back. May be called twice."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for database in idle:
            database.close()

    def _take(self) -> APSWDatabase:
        with self._lock:
            if self._closed:
                raise IndexFailure("index: closed")
            if self._idle:
                return self._idle.pop()
        return open_reader(self._path)

    def _give_back(self, database: APSWDatabase) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < _KEPT_OPEN:
                self._idle.append(database)
                return
        database.close()
