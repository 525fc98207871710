"""The state file ``deletion.db``: deletions, their objects until they are gone for good, and legal holds."""

# ruff: noqa: S608 - names come from our own tables, values are bound

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pacsnode.index.statefile import Connection, StateFile, moment_column, moment_of
from pacsnode.model import Key, Uid
from pacsnode.retention.records import Deletion, Hold, Item, State

NAME = "deletion.db"
_STEPS = (
    """
    CREATE TABLE deletion (
        number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, study_uid TEXT NOT NULL,
        reason TEXT NOT NULL, who TEXT NOT NULL, at INTEGER NOT NULL, due INTEGER NOT NULL, state TEXT NOT NULL,
        versions INTEGER NOT NULL, size INTEGER NOT NULL, digest TEXT NOT NULL, ended_at INTEGER
    ) STRICT;
    CREATE INDEX deletion_study ON deletion (study_uid);
    CREATE INDEX deletion_state ON deletion (state, due);
    CREATE TABLE item (
        name TEXT NOT NULL, key TEXT NOT NULL, uid TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
        is_original INTEGER NOT NULL, PRIMARY KEY (name, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE hold (
        study_uid TEXT PRIMARY KEY, reason TEXT NOT NULL, who TEXT NOT NULL, at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE course (number INTEGER PRIMARY KEY CHECK (number = 1), cursor TEXT NOT NULL) STRICT;
    """,
)
_COLUMNS = "name, study_uid, reason, who, at, due, state, versions, size, digest, ended_at"
_UNDER_WAY = (State.DELETING, State.RESTORING, State.PURGING)


class Ledger:
    """The file. Durable when a method returns; safe to use from several threads and processes. Raises IndexFailure."""

    def __init__(self, path: Path) -> None:
        """Open it, creating it where there is none."""
        self._file = StateFile(path, NAME, _STEPS)

    def begin(self, deletion: Deletion, items: Iterable[Item]) -> None:
        """Keep a deletion before anything of it is done."""
        values = (deletion.name, deletion.study_uid, deletion.reason, deletion.who)
        times = (moment_column(deletion.at), moment_column(deletion.due), deletion.state.value)
        with self._file.writing() as connection:
            connection.execute(
                f"INSERT INTO deletion ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, '', NULL)", (*values, *times)
            )
            _add(connection, deletion.name, items)

    def add(self, name: str, items: Iterable[Item]) -> None:
        """More objects belong to the deletion."""
        with self._file.writing() as connection:
            _add(connection, name, items)

    def move_on(self, name: str, old: State, new: State, ended_at: datetime | None = None) -> bool:
        """Let a deletion go from a state to the next; False where it is not in that state (any more)."""
        ended = None if ended_at is None else moment_column(ended_at)
        update = "UPDATE deletion SET state = ?, ended_at = ? WHERE name = ? AND state = ? RETURNING 1"
        with self._file.writing() as connection:
            has_moved = connection.execute(update, (new.value, ended, name, old.value)).get is not None
            if has_moved and new in (State.RESTORED, State.PURGED):
                connection.execute("DELETE FROM item WHERE name = ?", (name,))
        return has_moved

    def deletions(self, limit: int = 1000) -> list[Deletion]:
        """The newest, newest first."""
        return self._read("1 ORDER BY number DESC LIMIT ?", limit)

    def deletion(self, name: str) -> Deletion:
        """The deletion of this name, which there has to be."""
        (found,) = self._read("name = ?", name)
        return found

    def under_way(self) -> list[Deletion]:
        """Those that a process was killed over, or that somebody sees to just now; oldest first."""
        marks = ", ".join("?" * len(_UNDER_WAY))
        return self._read(f"state IN ({marks}) ORDER BY number", *(state.value for state in _UNDER_WAY))

    def in_trash(self, study_uid: Uid) -> list[Deletion]:
        """Deletions of the study that can be undone; oldest first."""
        return self._read("study_uid = ? AND state = ? ORDER BY number", study_uid, State.DELETED.value)

    def due(self, now: datetime) -> list[Deletion]:
        """Those whose objects may go for good: their grace is over, and no hold is on the study. Oldest first."""
        where = "state = ? AND due <= ? AND study_uid NOT IN (SELECT study_uid FROM hold) ORDER BY due LIMIT 10000"
        return self._read(where, State.DELETED.value, moment_column(now))

    def trash(self) -> tuple[int, int]:
        """How many deletions can be undone, and the bytes of their objects."""
        select = "SELECT count(*), coalesce(sum(size), 0) FROM deletion WHERE state = ?"
        with self._file.reading() as connection:
            count, size = connection.execute(select, (State.DELETED.value,)).get
        return int(count), int(size)

    def items(self, name: str) -> list[Item]:
        """The objects of a deletion, in order of their keys."""
        select = "SELECT key, uid, digest, size, is_original FROM item WHERE name = ? ORDER BY key"
        with self._file.reading() as connection:
            rows: list[Any] = connection.execute(select, (name,)).fetchall()
        return [Item(Key(key), Uid(uid), digest, size, bool(original)) for key, uid, digest, size, original in rows]

    def hold(self, hold: Hold) -> None:
        """Put a hold on a study, in place of the one that is on it."""
        values = (hold.study_uid, hold.reason, hold.who, moment_column(hold.at))
        with self._file.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO hold VALUES (?, ?, ?, ?)", values)

    def unhold(self, study_uid: Uid) -> bool:
        """Take the hold off; False where there is none."""
        with self._file.writing() as connection:
            delete = "DELETE FROM hold WHERE study_uid = ? RETURNING 1"
            return connection.execute(delete, (study_uid,)).get is not None

    def hold_on(self, study_uid: Uid) -> Hold | None:
        """The hold that is on the study."""
        with self._file.reading() as connection:
            row: Any = connection.execute("SELECT * FROM hold WHERE study_uid = ?", (study_uid,)).fetchone()
        return None if row is None else Hold(Uid(row[0]), row[1], row[2], moment_of(row[3]))

    def cursor(self) -> str:
        """The key behind which the next run of the rules goes on; "" is the beginning."""
        with self._file.reading() as connection:
            row = connection.execute("SELECT cursor FROM course").get
        return "" if row is None else str(row)

    def keep_cursor(self, cursor: str) -> None:
        """See cursor."""
        with self._file.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO course VALUES (1, ?)", (cursor,))

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()

    def _read(self, where: str, *values: str | int) -> list[Deletion]:
        with self._file.reading() as connection:
            rows: list[Any] = connection.execute(f"SELECT {_COLUMNS} FROM deletion WHERE {where}", values).fetchall()
        return [_deletion_of(*row) for row in rows]


def _deletion_of(
    name: str,
    study_uid: str,
    reason: str,
    who: str,
    at: int,
    due: int,
    state: str,
    versions: int,
    size: int,
    digest: str,
    ended_at: int | None,
) -> Deletion:
    ended = None if ended_at is None else moment_of(ended_at)
    times = moment_of(at), moment_of(due)
    return Deletion(name, Uid(study_uid), reason, who, *times, State(state), versions, size, digest, ended)


def _add(connection: Connection, name: str, items: Iterable[Item]) -> None:
    rows = [(name, item.key, item.uid, item.digest, item.size, int(item.is_original)) for item in items]
    connection.executemany("INSERT OR IGNORE INTO item VALUES (?, ?, ?, ?, ?, ?)", rows)
    kept = "SELECT digest, size FROM item WHERE name = ? AND NOT is_original ORDER BY key"
    found: Sequence[Any] = connection.execute(kept, (name,)).fetchall()
    digest = hashlib.sha256("\n".join(digest for digest, _ in found).encode()).hexdigest()
    values = (len(found), sum(size for _, size in found), digest, name)
    connection.execute("UPDATE deletion SET versions = ?, size = ?, digest = ? WHERE name = ?", values)
