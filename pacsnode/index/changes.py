"""What became of the rows since somebody looked, at a cost of what changed: arrivals by row id, the rest by a journal.

Adding an instance writes no journal. Row ids grow, but SQLite gives that of the newest row again once it is gone: each
entry of the journal tells the newest row that was left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import apsw

from pacsnode.model import Key

KEPT = 1_000_000  # entries of the journal: who is further behind reads all rows, which takes little longer
PAGE = 10_000  # rows, and entries of the journal, read in one transaction

JOURNAL = (
    "CREATE TABLE identity (id INTEGER PRIMARY KEY CHECK (id = 1), value TEXT NOT NULL) STRICT",
    "INSERT INTO identity VALUES (1, lower(hex(randomblob(16))))",
    # AUTOINCREMENT: a number is never given twice, whatever is removed.
    'CREATE TABLE change (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, "row" INTEGER NOT NULL,'
    " newest INTEGER NOT NULL) STRICT",
)
"""The statements that create it: an identity that no other index has, and the journal."""
NOTE = 'INSERT INTO change (key, "row", newest) SELECT ?, ?, coalesce(max(id), 0) FROM instance'
"""To be run after a row was removed, or got another key: bound are the key that it had, and its id."""

_FORGET = "DELETE FROM change WHERE id <= (SELECT min(max(id) - ?, min(id) + ?) FROM change)"
_FORGOTTEN = "SELECT coalesce(min(id) - 1, 0) FROM change"
_HERE = (
    "SELECT value, (SELECT coalesce(max(id), 0) FROM instance), (SELECT coalesce(max(id), 0) FROM change) FROM identity"
)
_ENTRIES = 'SELECT id, key, "row", newest FROM change WHERE id > ? ORDER BY id LIMIT ?'
_ROW = "SELECT key FROM instance WHERE id = ?"
_ROWS = "SELECT id, key FROM instance WHERE id > ? ORDER BY id LIMIT ?"


@dataclass(frozen=True, slots=True)
class Place:
    """How far somebody has followed an index."""

    identity: str  # of the index
    row: int
    change: int


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of what became of the rows: first the keys ``gone`` went, then the keys ``come`` came."""

    gone: tuple[Key, ...]
    come: tuple[Key, ...]
    place: Place  # where the next page begins
    has_more: bool


def here(reader: apsw.Connection) -> Place:
    """Where the index stands now."""
    return Place(*reader.execute(_HERE).get)


def forget(writer: apsw.Connection, kept: int) -> int:
    """Drop the oldest page of the journal, but leave ``kept`` entries, one at least; how many went."""
    writer.execute(_FORGET, (max(kept, 1), PAGE))
    return writer.changes()


def since(reader: apsw.Connection, place: Place) -> Changes | None:
    """The page of changes behind the place; None where it is none of this index, or the journal does not go back to it:
    then all is to be read anew.

    One key may come again in a later page; none is left out.
    """
    with reader:  # one state of the file for all that is read
        now = here(reader)
        if now.identity != place.identity or not reader.execute(_FORGOTTEN).get <= place.change <= now.change:
            return None
        entries: list[Any] = reader.execute(_ENTRIES, (place.change, PAGE)).fetchall()
        last_row = min([place.row, *(newest for *_, newest in entries)])
        is_behind = len(entries) == PAGE  # of rows only when the journal says which ids were given again
        if not is_behind and last_row > now.row:
            return None
        moved = [found for _, _, row, _ in entries if row <= last_row and (found := reader.execute(_ROW, (row,)).get)]
        rows: list[Any] = [] if is_behind else reader.execute(_ROWS, (last_row, PAGE)).fetchall()
    reached = Place(now.identity, rows[-1][0] if rows else last_row, entries[-1][0] if entries else place.change)
    come = tuple(dict.fromkeys(Key(key) for key in (*moved, *(key for _, key in rows))))
    return Changes(tuple(Key(key) for _, key, _, _ in entries), come, reached, is_behind or len(rows) == PAGE)
