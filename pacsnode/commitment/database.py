"""The SQLite file of storage commitments: unlike the index it cannot be rebuilt from the objects."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw

from pacsnode.errors import IndexFailure
from pacsnode.index.connection import connection_of, open_writer, pragma, translated
from pacsnode.model import Reference, Uid

NAME = "commitments"
SCHEMA_VERSION = 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What each version added, from the first. "reasons" of a transaction is NULL before there is a verdict, 0 in it is no
# failure; that of an inquiry has null where nothing was told yet.
_STEPS = (
    """
CREATE TABLE "transaction" (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    transaction_uid TEXT NOT NULL,
    calling_ae TEXT NOT NULL,
    called_ae TEXT NOT NULL,
    requested_at INTEGER NOT NULL,
    referenced TEXT NOT NULL,
    reasons TEXT
) STRICT;
CREATE INDEX transaction_of_peer ON "transaction" (calling_ae, transaction_uid);
""",
    """
CREATE TABLE inquiry (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    transaction_uid TEXT NOT NULL UNIQUE,
    called_ae TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    referenced TEXT NOT NULL,
    reasons TEXT NOT NULL,
    refusal INTEGER,
    reported_at INTEGER
) STRICT;
""",
)


class Database:
    """What changes it is durable when its block ends. Safe to use from several threads, and beside other processes.

    Every method raises IndexFailure when the database cannot do its part.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, creating it where there is none, and bring it to this version's schema."""
        self._lock = threading.Lock()
        self._has_lost = False
        self._database = open_writer(path, NAME)
        self._connection = connection_of(self._database)
        self._connection.transaction_mode = "IMMEDIATE"  # what was read within a transaction holds until its end
        try:
            self._prepare(path)
        except IndexFailure:
            self._database.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """The connection, for statements that change nothing."""
        with self._lock, translated("cannot read", NAME):
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[apsw.Connection]:
        """The connection, within a transaction."""
        with self._lock, translated("cannot write", NAME):
            if self._has_lost:
                raise IndexFailure(f"{NAME}: the disk failed; nothing is written until the node is started again")
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

    def _prepare(self, path: Path) -> None:
        with translated("cannot create the schema", NAME), self._connection:
            is_new = self._connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
            found = 0 if is_new else pragma(self._connection, "user_version")
            if isinstance(found, int) and (is_new or 0 < found < SCHEMA_VERSION):
                for step in _STEPS[found:]:
                    self._connection.execute(step)
                self._connection.pragma("user_version", SCHEMA_VERSION)
            version = pragma(self._connection, "user_version")
        if version != SCHEMA_VERSION:
            raise IndexFailure(f"{NAME}: {path} has schema {version}; this program knows {SCHEMA_VERSION}")


def moment_column(moment: datetime) -> int:
    """A moment as it is kept: microseconds of UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment_of(column: int) -> datetime:
    """The moment that is kept so."""
    return _EPOCH + timedelta(microseconds=column)


def references_column(references: Iterable[Reference]) -> str:
    """References as they are kept, in one order whatever that of the request was."""
    return json.dumps(sorted([one.sop_class_uid, one.sop_instance_uid] for one in references))


def references_of(column: str) -> tuple[Reference, ...]:
    """The references that are kept so."""
    return tuple(Reference(Uid(sop_class), Uid(uid)) for sop_class, uid in json.loads(column))
