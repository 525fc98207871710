"""The open transactions. A row goes when its report has arrived, or was given up; there is no history."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pacsnode.commitment.database import NAME, Database, references_column, references_of
from pacsnode.commitment.inquiries import Inquiries
from pacsnode.errors import IndexFailure
from pacsnode.index.statefile import moment_column, moment_of
from pacsnode.model import Commitment, CommitmentRequest, FailureReason, Transaction, Uid

_COLUMNS = "number, transaction_uid, calling_ae, called_ae, requested_at"


class Ledger:
    """Keeps transactions; what changes it is durable when it returns. Safe to use from several threads.

    Every method raises IndexFailure when the database cannot do its part.
    """

    def __init__(self, path: Path, *, capacity: int) -> None:
        """Open the ledger, creating it where there is none. ``capacity``: transactions at a time."""
        self._capacity = capacity
        self._database = Database(path)
        self.inquiries = Inquiries(self._database)
        """What we asked of others, in the same file."""

    def enter(self, request: CommitmentRequest) -> Transaction:
        """Keep a request. The same one again, not reported yet, is the transaction that is there, in whatever order
        it names its references.

        Other references under the Transaction UID of an open one of the same peer are a transaction of their own, all
        of whose references have failed. Raises IndexFailure also where the ledger is full.
        """
        referenced = references_column(request.references)
        with self._database.writing() as connection:
            open_ones = connection.execute(
                f'SELECT {_COLUMNS}, referenced FROM "transaction"'  # noqa: S608 - our own names
                " WHERE calling_ae = ? AND transaction_uid = ? ORDER BY number",
                (request.calling_ae, request.transaction_uid),
            ).fetchall()
            for *row, theirs in open_ones:
                if theirs == referenced:
                    return _transaction_of(row)
            if connection.execute('SELECT count(*) FROM "transaction"').get >= self._capacity:
                raise IndexFailure(f"{NAME}: {self._capacity} transactions wait for their report")
            reasons = [FailureReason.DUPLICATE_TRANSACTION_UID] * len(request.references) if open_ones else None
            values = (
                request.transaction_uid,
                request.calling_ae,
                request.called_ae,
                moment_column(request.requested_at),
                referenced,
                None if reasons is None else json.dumps(reasons),
            )
            connection.execute('INSERT INTO "transaction" VALUES (NULL, ?, ?, ?, ?, ?, ?)', values)
            return _transaction_of((connection.last_insert_rowid(), *values[:4]))

    def open_transactions(self) -> list[Transaction]:
        """Everything that is not reported yet, the oldest first."""
        with self._database.reading() as connection:
            statement = f'SELECT {_COLUMNS} FROM "transaction" ORDER BY number'  # noqa: S608 - our own names
            return [_transaction_of(row) for row in connection.execute(statement)]

    def read(self, transaction: Transaction) -> Commitment:
        """What it is about, and the verdict where there is one."""
        with self._database.reading() as connection:
            row = connection.execute(
                'SELECT referenced, reasons FROM "transaction" WHERE number = ?', (transaction.number,)
            ).fetchone()
        if row is None:
            raise IndexFailure(f"{NAME}: transaction {transaction.number} is not there any more")
        references = references_of(row[0])
        reasons = None if row[1] is None else json.loads(row[1])
        verdict = None if reasons is None else tuple(FailureReason(code) if code else None for code in reasons)
        return Commitment(transaction, references, verdict)

    def decide(self, commitment: Commitment) -> None:
        """Keep the verdict, which must be there."""
        reasons = json.dumps([reason or 0 for reason in commitment.verdict or ()])
        with self._database.writing() as connection:
            connection.execute(
                'UPDATE "transaction" SET reasons = ? WHERE number = ?', (reasons, commitment.transaction.number)
            )

    def remove(self, transaction: Transaction) -> None:
        """Forget a transaction: it is reported, or given up."""
        with self._database.writing() as connection:
            connection.execute('DELETE FROM "transaction" WHERE number = ?', (transaction.number,))

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._database.close()


def _transaction_of(row: Any) -> Transaction:
    number, uid, calling_ae, called_ae, requested_at = row
    return Transaction(number, Uid(uid), calling_ae, called_ae, moment_of(requested_at))
