"""A SQLite file for what the objects do not tell: it cannot be rebuilt from them, and reindex leaves it alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw

from pacsnode.errors import IndexFailure
from pacsnode.index.connection import connection_of, open_writer, pragma, translated

Connection = apsw.Connection
"""What ``reading`` and ``writing`` give."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StateFile:
    """What changes it is durable when its block ends. Safe to use from several threads, and beside other processes.

    Every method raises IndexFailure when the database cannot do its part.
    """

    def __init__(self, path: Path, name: str, steps: Sequence[str]) -> None:
        """Open the file, creating it where there is none, and bring it to this version's schema.

        ``name``: what people call it. ``steps``: the statements that lead from each schema to the next, the first
        one from nothing; a step, once released, stays as it is.
        """
        self.name = name
        self._lock = threading.Lock()
        self._has_lost = False
        self._database = open_writer(path, name)
        self._connection = connection_of(self._database)
        self._connection.transaction_mode = "IMMEDIATE"  # what was read within a transaction holds until its end
        try:
            self._prepare(path, steps)
        except IndexFailure:
            self._database.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """The connection, for statements that change nothing."""
        with self._lock, translated("cannot read", self.name):
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """The connection, within a transaction."""
        with self._lock, translated("cannot write", self.name):
            if self._has_lost:
                raise IndexFailure(f"{self.name}: the disk failed; nothing is written until the node is started again")
            try:
                with self._connection:
                    yield self._connection
            except apsw.IOError:
                self._has_lost = True  # a sync that failed is never tried again on the same bytes
                raise

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock:
            self._database.close()

    def _prepare(self, path: Path, steps: Sequence[str]) -> None:
        with translated("cannot create the schema", self.name), self._connection:
            is_new = self._connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
            found = 0 if is_new else pragma(self._connection, "user_version")
            if isinstance(found, int) and (is_new or 0 < found < len(steps)):
                for step in steps[found:]:
                    self._connection.execute(step)
                self._connection.pragma("user_version", len(steps))
            version = pragma(self._connection, "user_version")
        if version != len(steps):
            raise IndexFailure(f"{self.name}: {path} has schema {version}; this program knows {len(steps)}")


def moment_column(moment: datetime) -> int:
    """A moment as it is kept: microseconds of UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment_of(column: int) -> datetime:
    """The moment that is kept so."""
    return _EPOCH + timedelta(microseconds=column)
