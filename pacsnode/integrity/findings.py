"""What the scrub found, and what became of it. Closed findings stay: they are the history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from pacsnode.index.statefile import moment_column, moment_of
from pacsnode.integrity.database import Database
from pacsnode.model import Key, Uid

_COLUMNS = "number, kind, uid, key, digest, problem, found_at, attempts, tried_at, outcome, note, closed_at"


class Kind(Enum):
    """What is wrong."""

    DAMAGED = "damaged"  # the object is not what was stored; it was set aside
    MISSING = "missing"  # there is a row without an object
    UNREADABLE = "unreadable"  # the disk does not give the object back; perhaps it will another time
    STRAY = "stray"  # there is an object without a row


class Closing(Enum):
    """How a finding came to its end."""

    REPAIRED = "repaired"  # a copy took the place of the object
    SOUND = "sound"  # it turned out to be as it was stored, or was put back so
    ADOPTED = "adopted"  # the stray has a row now
    SET_ASIDE = "set_aside"  # the stray is in quarantine, or was a second copy and is gone
    GONE = "gone"  # nobody knows the instance any more


@dataclass(frozen=True, slots=True)
class Record:
    """A finding as it is kept."""

    number: int
    kind: Kind
    uid: str
    key: Key
    digest: str  # of the data set that should be there; "" where that is not known
    problem: str
    found_at: datetime
    attempts: int  # to bring it to an end
    tried_at: datetime  # the last of them
    closing: Closing | None = None  # None while it is open
    note: str = ""
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts for status and metrics. ``open`` and ``closed`` are by what was found and how it ended."""

    open: Mapping[str, int]
    closed: Mapping[str, int]

    def complaints(self) -> list[str]:
        """What is wrong now, a line for each kind of it, for people."""
        lost = sum(self.open.get(kind.value, 0) for kind in (Kind.DAMAGED, Kind.MISSING))
        unreadable = self.open.get(Kind.UNREADABLE.value, 0)
        found = []
        if lost:
            found.append(f"{_are(lost)} damaged or missing and not repaired; see: pacsnode quarantine list")
        if unreadable:
            found.append(f"{_are(unreadable)} unreadable; look at the disk, and at event=integrity_finding in the log")
        return found


class Findings:
    """Keeps findings; what changes it is durable when it returns. Safe to use from several threads and processes.

    Every method raises IndexFailure when the database cannot do its part.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def enter(
        self, kind: Kind, key: Key, problem: str, now: datetime, *, uid: Uid | str = "", digest: str = ""
    ) -> Record:
        """Keep a finding, or say of the open one of this key what is wrong now."""
        moment = moment_column(now)
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO finding VALUES (NULL, ?, ?, ?, ?, ?, ?, 0, ?, '', '', NULL)"
                " ON CONFLICT (key) WHERE closed_at IS NULL DO UPDATE SET kind = excluded.kind,"
                " problem = excluded.problem, uid = excluded.uid, digest = excluded.digest",
                (kind.value, uid, key, digest, problem, moment, moment),
            )
            statement = f"SELECT {_COLUMNS} FROM finding WHERE key = ? AND closed_at IS NULL"  # noqa: S608 - our own
            return _record_of(connection.execute(statement, (key,)).fetchone())

    def tried(self, record: Record, now: datetime) -> None:
        """It could not be brought to an end this time."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE finding SET attempts = attempts + 1, tried_at = ? WHERE number = ?",
                (moment_column(now), record.number),
            )

    def close(self, record: Record, closing: Closing, now: datetime, note: str = "") -> None:
        """It came to its end; ``note``: for people, such as where the copy came from."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE finding SET outcome = ?, note = ?, closed_at = ? WHERE number = ? AND closed_at IS NULL",
                (closing.value, note, moment_column(now), record.number),
            )

    def open_ones(self) -> list[Record]:
        """All that are open, the oldest first."""
        return list(self._select("WHERE closed_at IS NULL ORDER BY number"))

    def of_key(self, key: Key) -> list[Record]:
        """Every finding about the object of this key, the oldest first."""
        return list(self._select("WHERE key = ? ORDER BY number", key))

    def figures(self) -> Figures:
        """How many there are."""
        with self._database.reading() as connection:
            counted = "SELECT {0}, count(*) FROM finding WHERE closed_at IS {1} NULL GROUP BY {0}"
            open_ones = connection.execute(counted.format("kind", "")).fetchall()
            closed = connection.execute(counted.format("outcome", "NOT")).fetchall()
        return Figures(_counts(open_ones), _counts(closed))

    def _select(self, where: str, *values: str) -> Iterator[Record]:
        with self._database.reading() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM finding {where}", values).fetchall()  # noqa: S608 - our own
        return map(_record_of, rows)


def _are(count: int) -> str:
    return f"{count} instance is" if count == 1 else f"{count} instances are"


def _counts(rows: Iterable[Any]) -> dict[str, int]:
    return {name: count for name, count in rows}  # noqa: C416 - a row has no type of its own


def _record_of(row: Any) -> Record:
    number, kind, uid, key, digest, problem, found, attempts, tried, outcome, note, closed = row
    return Record(
        number,
        Kind(kind),
        uid,
        Key(key),
        digest,
        problem,
        moment_of(found),
        attempts,
        moment_of(tried),
        Closing(outcome) if outcome else None,
        note,
        None if closed is None else moment_of(closed),
    )
