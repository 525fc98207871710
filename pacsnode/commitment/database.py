"""The state file of storage commitments."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pacsnode.index.statefile import StateFile
from pacsnode.model import Reference, Uid

NAME = "commitments"
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


class Database(StateFile):
    """The file of the transactions, and of the inquiries."""

    def __init__(self, path: Path) -> None:
        """See StateFile."""
        super().__init__(path, NAME, _STEPS)


def references_column(references: Iterable[Reference]) -> str:
    """References as they are kept, in one order whatever that of the request was."""
    return json.dumps(sorted([one.sop_class_uid, one.sop_instance_uid] for one in references))


def references_of(column: str) -> tuple[Reference, ...]:
    """The references that are kept so."""
    return tuple(Reference(Uid(sop_class), Uid(uid)) for sop_class, uid in json.loads(column))
