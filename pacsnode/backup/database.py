"""What this node knows of its backup, in ``backup.db``: what the target has, what it is still to get, and where we are.

It can be made anew from the manifests of the target.
"""

# ruff: noqa: S608 - names come from our own tables, values are bound

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import apsw

from pacsnode.backup.manifest import Copied, Gone, Piece, line_of, object_name
from pacsnode.index.changes import Place
from pacsnode.index.statefile import StateFile, moment_column
from pacsnode.model import Key

_STEPS = (
    """
    CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE object (
        key TEXT PRIMARY KEY, digest BLOB NOT NULL, size INTEGER NOT NULL, content BLOB NOT NULL, stored BLOB,
        suffix TEXT NOT NULL, gone_at INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX object_content ON object (content);
    CREATE INDEX object_digest ON object (digest);
    CREATE INDEX object_gone ON object (gone_at) WHERE gone_at IS NOT NULL;
    CREATE TABLE pending (key TEXT PRIMARY KEY, problem TEXT) STRICT, WITHOUT ROWID;
    CREATE TABLE line (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
    """,
    "ALTER TABLE object ADD COLUMN is_read_back INTEGER NOT NULL DEFAULT 0",
)
_PAGE = 10_000
_COLUMNS = "key, digest, size, content, stored, suffix"


class Knowledge:
    """See above. Safe to use from several threads, and beside other processes. Raises IndexFailure."""

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path, "backup.db", _STEPS)

    def fact(self, name: str) -> Any:
        """A value of JSON that was kept under the name; None where there is none."""
        with self._file.reading() as connection:
            found = connection.execute("SELECT value FROM fact WHERE name = ?", (name,)).get
        return None if found is None else json.loads(found)

    def keep(self, **facts: object) -> None:
        """Keep values of JSON by name; None forgets one."""
        with self._file.writing() as connection:
            _keep(connection, facts)

    def place(self) -> Place | None:
        """How far the index was followed."""
        told = self.fact("place")
        return None if told is None else Place(*told)

    def follow(self, gone: Iterable[Key], come: Iterable[Key], place: Place, *, now: datetime) -> None:
        """Take in a page of changes of the index: what went, then what came, then where the next page begins."""
        with self._file.writing() as connection:
            for key in gone:
                _forget(connection, key, moment_column(now))
            for key in come:
                _expect(connection, key)
            _keep(connection, {"place": [place.identity, place.row, place.change]})

    def compare(self, keys: Iterable[Key], place: Place, *, now: datetime) -> None:
        """Take in a whole index, key by key in ascending order: what came and went is found out here."""
        come: list[Key] = []
        gone: list[Key] = []
        known = self._keys()
        mine = next(known, None)
        for key in keys:
            while mine is not None and mine < key:
                gone.append(mine)
                mine = next(known, None)
            if mine == key:
                mine = next(known, None)
            else:
                come.append(key)
        while mine is not None:
            gone.append(mine)
            mine = next(known, None)
        self.follow(gone, come, place, now=now)

    def pending(self, after: str, limit: int) -> list[Key]:
        """The next keys that are to be copied, in ascending order."""
        with self._file.reading() as connection:
            rows = connection.execute("SELECT key FROM pending WHERE key > ? ORDER BY key LIMIT ?", (after, limit))
            return [Key(row[0]) for row in rows]

    def pending_count(self) -> int:
        """How many keys are to be copied."""
        with self._file.reading() as connection:
            return int(connection.execute("SELECT count(*) FROM pending").get)

    def problems(self) -> dict[Key, str]:
        """Why some of the pending ones could not be copied."""
        with self._file.reading() as connection:
            rows = connection.execute("SELECT key, problem FROM pending WHERE problem IS NOT NULL LIMIT 1000")
            return {Key(key): problem for key, problem in rows}

    def settle(self, copied: Sequence[Copied], vanished: Sequence[Key], problems: Sequence[tuple[Key, str]]) -> None:
        """Take in a batch: what was copied, what is no longer there, and what cannot be copied as it is."""
        with self._file.writing() as connection:
            for entry in copied:
                _insert(connection, entry)
                connection.execute("INSERT INTO line (text) VALUES (?)", (line_of(entry),))
            for key in (*(entry.key for entry in copied), *vanished):
                connection.execute("DELETE FROM pending WHERE key = ?", (key,))
            for key, problem in problems:
                connection.execute("UPDATE pending SET problem = ? WHERE key = ?", (problem, key))

    def copy_again(self, digest: str) -> None:
        """What lies in the target under this digest is no good: its objects are to be copied anew."""
        with self._file.writing() as connection:
            keys = connection.execute("SELECT key FROM object WHERE digest = ?", (bytes.fromhex(digest),)).fetchall()
            for (key,) in keys:
                connection.execute("DELETE FROM object WHERE key = ?", (key,))
                connection.execute("INSERT OR IGNORE INTO pending (key) VALUES (?)", (key,))

    def lines(self, limit: int) -> list[tuple[int, str]]:
        """What no manifest tells yet, in order."""
        with self._file.reading() as connection:
            rows: list[Any] = connection.execute("SELECT id, text FROM line ORDER BY id LIMIT ?", (limit,)).fetchall()
        return rows

    def publish(self, through: int, **facts: object) -> None:
        """A manifest tells the lines up to this one: they go, and the facts are kept."""
        with self._file.writing() as connection:
            connection.execute("DELETE FROM line WHERE id <= ?", (through,))
            _keep(connection, facts)

    def objects(self, after: str = "") -> Iterator[Copied]:
        """What is in the backup and not gone, in order of the keys; paged."""
        where = "key > ? AND gone_at IS NULL"
        while page := self._copied(f"{where} ORDER BY key LIMIT {_PAGE}", after):
            yield from page
            after = page[-1].key

    def newest_first(self) -> Iterator[Copied]:
        """The same in the other order."""
        before = "~"  # sorts behind all keys
        while page := self._copied(f"key < ? AND gone_at IS NULL ORDER BY key DESC LIMIT {_PAGE}", before):
            yield from page
            before = page[-1].key

    def holds(self, key: Key) -> bool:
        """Is this object in the backup for sure: read again since it was copied, and told by a manifest?"""
        select = (
            "SELECT EXISTS (SELECT 1 FROM object WHERE key = ? AND gone_at IS NULL AND is_read_back)"
            " AND NOT EXISTS (SELECT 1 FROM line)"
        )
        with self._file.reading() as connection:
            return bool(connection.execute(select, (key,)).get)

    def not_read_back(self, keys: Iterable[Key]) -> list[Copied]:
        """Those of these objects that are in the backup, and were not read again since they were copied."""
        where = "key = ? AND gone_at IS NULL AND NOT is_read_back"
        return [entry for key in keys for entry in self._copied(where, key)]

    def read_back(self, entries: Iterable[Copied]) -> None:
        """These copies were read again, and are what they were."""
        update = "UPDATE object SET is_read_back = 1 WHERE key = ? AND digest = ? AND NOT is_read_back"
        with self._file.writing() as connection:
            connection.executemany(update, [(entry.key, bytes.fromhex(entry.piece.digest)) for entry in entries])

    def of_content(self, content: str) -> list[Copied]:
        """Copies of the data set with this SHA-256, gone or not."""
        return self._copied("content = ?", bytes.fromhex(content))

    def of_digest(self, digest: str) -> list[Copied]:
        """Who refers to the object with this SHA-256."""
        return self._copied("digest = ?", bytes.fromhex(digest))

    def totals(self) -> tuple[int, int]:
        """How many objects are in the backup and not gone, and their bytes. Looks at all of them."""
        with self._file.reading() as connection:
            count, size = connection.execute(
                "SELECT count(*), coalesce(sum(size), 0) FROM object WHERE gone_at IS NULL"
            ).get
        return int(count), int(size)

    def long_gone(self, before: datetime, limit: int) -> list[Copied]:
        """What went before that time, and may leave the backup."""
        return self._copied(f"gone_at < ? ORDER BY gone_at LIMIT {limit}", moment_column(before))

    def drop(self, keys: Iterable[Key]) -> None:
        """These are in the backup no longer."""
        with self._file.writing() as connection:
            for key in keys:
                connection.execute("DELETE FROM object WHERE key = ?", (key,))

    def take_over(self, entries: Iterable[Copied | Gone], now: datetime, **facts: object) -> None:
        """Forget all, and know what the target's lists say instead."""
        with self._file.writing() as connection:
            for table in ("object", "pending", "line", "fact"):
                connection.execute(f"DELETE FROM {table}")
            for entry in entries:
                if isinstance(entry, Copied):
                    _insert(connection, entry)
                else:
                    gone = (moment_column(now), entry.key)
                    connection.execute("UPDATE object SET gone_at = ? WHERE key = ?", gone)
            _keep(connection, facts)

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()

    def _keys(self) -> Iterator[Key]:
        """Keys of what is in the backup, or is to be, and not gone; paged."""
        statement = (
            "SELECT key FROM object WHERE key > ?1 AND gone_at IS NULL UNION SELECT key FROM pending WHERE key > ?1"
            f" ORDER BY key LIMIT {_PAGE}"
        )
        after = ""
        while True:
            with self._file.reading() as connection:
                page = [Key(row[0]) for row in connection.execute(statement, (after,))]
            if not page:
                return
            yield from page
            after = page[-1]

    def _copied(self, where: str, *values: str | bytes | int) -> list[Copied]:
        with self._file.reading() as connection:
            rows: list[Any] = connection.execute(f"SELECT {_COLUMNS} FROM object WHERE {where}", values).fetchall()
        return [_copied_of(*row) for row in rows]


def _copied_of(key: str, digest: bytes, size: int, content: bytes, stored: bytes | None, suffix: str) -> Copied:
    piece = Piece(object_name(digest.hex(), suffix), digest.hex(), size, (stored or digest).hex())
    return Copied(Key(key), content.hex(), piece)


def _insert(connection: apsw.Connection, entry: Copied) -> None:
    piece = entry.piece
    stored = None if piece.stored == piece.digest else bytes.fromhex(piece.stored)
    suffix = piece.name.removeprefix(object_name(piece.digest, ""))
    values = (entry.key, bytes.fromhex(piece.digest), piece.size, bytes.fromhex(entry.content), stored, suffix)
    connection.execute(f"INSERT OR REPLACE INTO object ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", values)


def _forget(connection: apsw.Connection, key: Key, now: int) -> None:
    connection.execute("DELETE FROM pending WHERE key = ?", (key,))
    connection.execute("UPDATE object SET gone_at = ? WHERE key = ? AND gone_at IS NULL", (now, key))
    if connection.changes():
        connection.execute("INSERT INTO line (text) VALUES (?)", (line_of(Gone(key)),))


def _expect(connection: apsw.Connection, key: Key) -> None:
    """To be copied, unless it is there and never went."""
    if not connection.execute("SELECT 1 FROM object WHERE key = ? AND gone_at IS NULL", (key,)).get:
        connection.execute("INSERT OR IGNORE INTO pending (key) VALUES (?)", (key,))


def _keep(connection: apsw.Connection, facts: Mapping[str, object]) -> None:
    for name, value in facts.items():
        if value is None:
            connection.execute("DELETE FROM fact WHERE name = ?", (name,))
        else:
            connection.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, json.dumps(value)))
