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
from pacsnode.index.deadlines import Deadlines

_KEPT_OPEN = 16


class ReaderPool:
    """Lends read-only connections, one borrower at a time each, to any thread."""

    def __init__(self, path: Path, deadlines: Deadlines | None = None) -> None:
        """``deadlines``: for what reads in a hurry; closed with the pool."""
        self._path = path
        self._deadlines = deadlines
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

    @contextmanager
    def hurried_reader(self) -> Iterator[apsw.Connection]:
        """As ``reader``, under the deadline of the pool, if it has one. Raises QueryTooLong beyond."""
        with self.reader() as connection:
            if self._deadlines is None:
                yield connection
            else:
                with self._deadlines.kept(connection):
                    yield connection

    def close(self) -> None:
        """Close what is idle now, and what is lent when it comes back. May be called twice."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        if self._deadlines is not None:
            self._deadlines.close()
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
