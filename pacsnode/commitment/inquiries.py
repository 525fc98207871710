"""What we asked peers to commit to, and what they said of each instance. It is kept; no row ever goes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pacsnode.commitment.database import Database, references_column, references_of
from pacsnode.errors import NotAllowed
from pacsnode.index.statefile import moment_column, moment_of
from pacsnode.model import CommitmentReport, Inquiry, Reference, Uid

_COLUMNS = "transaction_uid, called_ae, asked_at, referenced, reasons, refusal, reported_at"


class Inquiries:
    """Keeps inquiries; what changes one is durable when it returns. Safe to use from several threads.

    Every method raises IndexFailure when the database cannot do its part.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def enter(self, transaction_uid: Uid, called_ae: str, references: Iterable[Reference], at: datetime) -> Inquiry:
        """Keep what is to be asked next, each reference once: the report may come before anything else is heard."""
        distinct = set(references)
        values = (
            transaction_uid,
            called_ae,
            moment_column(at),
            references_column(distinct),
            json.dumps([None] * len(distinct)),
        )
        with self._database.writing() as connection:
            connection.execute("INSERT INTO inquiry VALUES (NULL, ?, ?, ?, ?, ?, NULL, NULL)", values)
        return _inquiry_of((*values, None, None))

    def refuse(self, transaction_uid: Uid, status: int) -> None:
        """Keep that the peer did not take the request over."""
        with self._database.writing() as connection:
            connection.execute("UPDATE inquiry SET refusal = ? WHERE transaction_uid = ?", (status, transaction_uid))

    def take(self, report: CommitmentReport, reporter_ae: str, at: datetime) -> Inquiry | None:
        """Keep what a peer reports: the inquiry as it is then, None where there is none under this Transaction UID.

        A report may come twice. Of an instance that was ever told to have failed, this stays. Raises NotAllowed where
        another peer was asked.
        """
        with self._database.writing() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM inquiry WHERE transaction_uid = ?",  # noqa: S608 - our own names
                (report.transaction_uid,),
            ).fetchone()
            if row is None:
                return None
            before = _inquiry_of(row)
            if before.called_ae != reporter_ae:
                raise NotAllowed("another AE title was asked under this Transaction UID")
            pairs = zip(before.references, before.reasons, strict=True)
            reasons = json.dumps([_merged(report, reference, reason) for reference, reason in pairs])
            connection.execute(
                "UPDATE inquiry SET reasons = ?, reported_at = ? WHERE transaction_uid = ?",
                (reasons, moment_column(at), report.transaction_uid),
            )
        return _inquiry_of((*row[:4], reasons, row[5], moment_column(at)))

    def find(self, transaction_uid: Uid) -> Inquiry | None:
        """The inquiry under this Transaction UID."""
        with self._database.reading() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS} FROM inquiry WHERE transaction_uid = ?",  # noqa: S608 - our own names
                (transaction_uid,),
            ).fetchone()
        return None if row is None else _inquiry_of(row)


def _merged(report: CommitmentReport, reference: Reference, before: int | None) -> int | None:
    """What is known of a reference with this report; a failure, old or new, goes before all."""
    if before or reference.sop_instance_uid in report.failed:
        return report.failed.get(reference.sop_instance_uid) or before
    return 0 if reference in report.committed else before


def _inquiry_of(row: Any) -> Inquiry:
    transaction_uid, called_ae, asked_at, referenced, reasons, refusal, reported_at = row
    return Inquiry(
        transaction_uid=Uid(transaction_uid),
        called_ae=called_ae,
        references=references_of(referenced),
        asked_at=moment_of(asked_at),
        reasons=tuple(json.loads(reasons)),
        refusal=refusal,
        reported_at=None if reported_at is None else moment_of(reported_at),
    )
