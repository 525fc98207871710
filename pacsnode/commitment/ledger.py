"""The open transactions, in a SQLite file of their own: unlike the index they cannot be rebuilt from the objects.

A row goes when its report has arrived, or was given up; there is no history.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw

from pacsnode.errors import IndexFailure
from pacsnode.index.connection import connection_of, open_writer, pragma, translated
from pacsnode.model import Commitment, CommitmentRequest, FailureReason, Reference, Transaction, Uid

SCHEMA_VERSION = 1
_NAME = "commitments"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS = "number, transaction_uid, calling_ae, called_ae, requested_at"
# "reasons" is NULL before there is a verdict; 0 in it is no failure.
_SCHEMA = """
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
"""


class Ledger:
    """Keeps transactions; what changes it is durable when it returns. Safe to use from several threads.

    Every method raises IndexFailure when the database cannot do its part.
    """

    def __init__(self, path: Path, *, capacity: int) -> None:
        """Open the ledger, creating it where there is none. ``capacity``: transactions at a time."""
        self._capacity = capacity
        self._lock = threading.Lock()
        self._has_lost = False
        self._database = open_writer(path, _NAME)
        self._connection = connection_of(self._database)
        try:
            self._prepare(path)
        except IndexFailure:
            self._database.close()
            raise

    def enter(self, request: CommitmentRequest) -> Transaction:
        """Keep a request. The same one again, not reported yet, is the transaction that is there, in whatever order
        it names its references.

        Other references under the Transaction UID of an open one of the same peer are a transaction of their own, all
        of whose references have failed. Raises IndexFailure also where the ledger is full.
        """
        references = sorted([one.sop_class_uid, one.sop_instance_uid] for one in request.references)
        referenced = json.dumps(references)
        with self._transaction() as connection:
            open_ones = connection.execute(
                f'SELECT {_COLUMNS}, referenced FROM "transaction"'  # noqa: S608 - our own names
                " WHERE calling_ae = ? AND transaction_uid = ? ORDER BY number",
                (request.calling_ae, request.transaction_uid),
            ).fetchall()
            for *row, theirs in open_ones:
                if theirs == referenced:
                    return _transaction_of(row)
            if connection.execute('SELECT count(*) FROM "transaction"').get >= self._capacity:
                raise IndexFailure(f"{_NAME}: {self._capacity} transactions wait for their report")
            reasons = [FailureReason.DUPLICATE_TRANSACTION_UID] * len(request.references) if open_ones else None
            values = (
                request.transaction_uid,
                request.calling_ae,
                request.called_ae,
                (request.requested_at - _EPOCH) // timedelta(microseconds=1),
                referenced,
                None if reasons is None else json.dumps(reasons),
            )
            connection.execute('INSERT INTO "transaction" VALUES (NULL, ?, ?, ?, ?, ?, ?)', values)
            return _transaction_of((connection.last_insert_rowid(), *values[:4]))

    def open_transactions(self) -> list[Transaction]:
        """Everything that is not reported yet, the oldest first."""
        with self._reading() as connection:
            statement = f'SELECT {_COLUMNS} FROM "transaction" ORDER BY number'  # noqa: S608 - our own names
            return [_transaction_of(row) for row in connection.execute(statement)]

    def read(self, transaction: Transaction) -> Commitment:
        """What it is about, and the verdict where there is one."""
        with self._reading() as connection:
            row = connection.execute(
                'SELECT referenced, reasons FROM "transaction" WHERE number = ?', (transaction.number,)
            ).fetchone()
        if row is None:
            raise IndexFailure(f"{_NAME}: transaction {transaction.number} is not there any more")
        references = tuple(Reference(Uid(sop_class), Uid(uid)) for sop_class, uid in json.loads(row[0]))
        reasons = None if row[1] is None else json.loads(row[1])
        verdict = None if reasons is None else tuple(FailureReason(code) if code else None for code in reasons)
        return Commitment(transaction, references, verdict)

    def decide(self, commitment: Commitment) -> None:
        """Keep the verdict, which must be there."""
        reasons = json.dumps([reason or 0 for reason in commitment.verdict or ()])
        with self._transaction() as connection:
            connection.execute(
                'UPDATE "transaction" SET reasons = ? WHERE number = ?', (reasons, commitment.transaction.number)
            )

    def remove(self, transaction: Transaction) -> None:
        """Forget a transaction: it is reported, or given up."""
        with self._transaction() as connection:
            connection.execute('DELETE FROM "transaction" WHERE number = ?', (transaction.number,))

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock:
            self._database.close()

    def _prepare(self, path: Path) -> None:
        with translated("cannot create the schema", _NAME), self._connection:
            if self._connection.execute("SELECT count(*) FROM sqlite_schema").get == 0:
                self._connection.execute(_SCHEMA)
                self._connection.pragma("user_version", SCHEMA_VERSION)
            version = pragma(self._connection, "user_version")
        if version != SCHEMA_VERSION:
            raise IndexFailure(f"{_NAME}: {path} has schema {version}; this program knows {SCHEMA_VERSION}")

    @contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        with self._lock, translated("cannot read", _NAME):
            yield self._connection

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        with self._lock, translated("cannot write", _NAME):
            if self._has_lost:
                raise IndexFailure(f"{_NAME}: the disk failed; nothing is written until the node is started again")
            try:
                with self._connection:
                    yield self._connection
            except apsw.IOError:
                self._has_lost = True  # a sync that failed is never tried again on the same bytes
                raise


def _transaction_of(row: Any) -> Transaction:
    number, uid, calling_ae, called_ae, requested_at = row
    return Transaction(number, Uid(uid), calling_ae, called_ae, _EPOCH + timedelta(microseconds=requested_at))
