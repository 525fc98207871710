"""What compression remembers, in ``compression.db``: how far it is, what it replaced, what it leaves alone and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pacsnode.index.statefile import StateFile, moment_column, moment_of
from pacsnode.model import Key, Uid

STATE_FILE = "compression.db"
_STEPS = (
    """
    CREATE TABLE progress (
        id INTEGER PRIMARY KEY CHECK (id = 1), cursor TEXT NOT NULL, plan TEXT NOT NULL, began INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE refusal (
        digest TEXT NOT NULL, codec TEXT NOT NULL, version TEXT NOT NULL, modality TEXT NOT NULL, reason TEXT NOT NULL,
        key TEXT NOT NULL, PRIMARY KEY (digest, codec)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE replacement (
        new TEXT PRIMARY KEY, old TEXT NOT NULL UNIQUE, uid TEXT NOT NULL, digest TEXT NOT NULL, codec TEXT NOT NULL,
        modality TEXT NOT NULL, bytes_before INTEGER NOT NULL, bytes_after INTEGER NOT NULL,
        is_in_place INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE total (
        codec TEXT NOT NULL, modality TEXT NOT NULL, instances INTEGER NOT NULL, bytes_before INTEGER NOT NULL,
        bytes_after INTEGER NOT NULL, PRIMARY KEY (codec, modality)
    ) STRICT, WITHOUT ROWID;
    """,
)
_PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the pass over all keys is. ``plan``: by which codecs and rules; another one begins anew."""

    cursor: str
    plan: str
    began: datetime


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a codec, in one version, does not compress a data set."""

    digest: str
    codec: str
    version: str
    modality: str
    reason: str
    key: Key


@dataclass(frozen=True, slots=True)
class Replacement:
    """An object and the one that takes its place; sizes are those of the data sets."""

    new: Key
    old: Key
    uid: Uid
    digest: str  # of the data set that came
    codec: str
    modality: str
    bytes_before: int
    bytes_after: int
    is_in_place: bool = False  # and counted


@dataclass(frozen=True, slots=True)
class Total:
    """What was compressed so far of one modality by one codec."""

    codec: str
    modality: str
    instances: int
    bytes_before: int
    bytes_after: int


class CompressionState:
    """The file. Durable when a method returns; safe to use from several threads. Every method raises IndexFailure."""

    def __init__(self, path: Path) -> None:
        """Open it, creating it where there is none."""
        self._file = StateFile(path, "compression state", _STEPS)

    def progress(self) -> Progress | None:
        """What was kept last; None before the first pass."""
        with self._file.reading() as connection:
            row = connection.execute("SELECT cursor, plan, began FROM progress").get
        return None if row is None else Progress(row[0], row[1], moment_of(row[2]))

    def keep(self, progress: Progress, refusals: Sequence[Refusal]) -> None:
        """Go on from here another time; and why these are left alone."""
        values = (progress.cursor, progress.plan, moment_column(progress.began))
        rows = [(r.digest, r.codec, r.version, r.modality, r.reason, r.key) for r in refusals]
        with self._file.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO progress VALUES (1, ?, ?, ?)", values)
            connection.executemany("INSERT OR REPLACE INTO refusal VALUES (?, ?, ?, ?, ?, ?)", rows)

    def refusal(self, digest: str, codec: str) -> Refusal | None:
        """Why this codec did not compress the data set."""
        select = "SELECT digest, codec, version, modality, reason, key FROM refusal WHERE digest = ? AND codec = ?"
        with self._file.reading() as connection:
            row = connection.execute(select, (digest, codec)).get
        return None if row is None else Refusal(*row)

    def refused(self) -> dict[str, int]:
        """How many data sets are left alone for each reason."""
        with self._file.reading() as connection:
            select = "SELECT reason, count(*) FROM refusal GROUP BY reason ORDER BY 2 DESC, 1"
            rows: list[tuple[Any, ...]] = connection.execute(select).fetchall()
        return dict(rows)

    def intend(self, replacements: Sequence[Replacement]) -> None:
        """Note what is about to be put in place: whatever happens then, nothing of it is forgotten."""
        rows = [
            (r.new, r.old, r.uid, r.digest, r.codec, r.modality, r.bytes_before, r.bytes_after) for r in replacements
        ]
        with self._file.writing() as connection:
            connection.executemany("INSERT INTO replacement VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)", rows)

    def count(self, replacements: Sequence[Replacement]) -> None:
        """These are in place, if they were not counted before; and no reason for leaving them alone holds any more."""
        with self._file.writing() as connection:
            for one in replacements:
                update = "UPDATE replacement SET is_in_place = 1 WHERE new = ? AND is_in_place = 0 RETURNING 1"
                if connection.execute(update, (one.new,)).get is None:
                    continue
                connection.execute(
                    "INSERT INTO total VALUES (?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET instances = instances + 1,"
                    " bytes_before = bytes_before + excluded.bytes_before,"
                    " bytes_after = bytes_after + excluded.bytes_after",
                    (one.codec, one.modality, one.bytes_before, one.bytes_after),
                )
                connection.execute("DELETE FROM refusal WHERE digest = ?", (one.digest,))

    def forget(self, replacements: Sequence[Replacement]) -> None:
        """There is nothing left to do about these."""
        with self._file.writing() as connection:
            connection.executemany("DELETE FROM replacement WHERE new = ?", [(one.new,) for one in replacements])

    def replacements(self) -> Iterator[Replacement]:
        """All that there is something left to do about, in order of their new keys; paged."""
        select = (
            "SELECT new, old, uid, digest, codec, modality, bytes_before, bytes_after, is_in_place FROM replacement"
            " WHERE new > ? ORDER BY new LIMIT ?"
        )
        after = ""
        while True:
            with self._file.reading() as connection:
                rows: list[tuple[Any, ...]] = connection.execute(select, (after, _PAGE_ROWS)).fetchall()
            for row in rows:
                yield Replacement(*row)
            if len(rows) < _PAGE_ROWS:
                return
            after = rows[-1][0]

    def original_of(self, new: Key) -> Key | None:
        """The object that is kept beside the one that took its place."""
        with self._file.reading() as connection:
            row = connection.execute("SELECT old FROM replacement WHERE new = ? AND is_in_place", (new,)).fetchone()
        return None if row is None else Key(row[0])

    def kept(self) -> tuple[int, int]:
        """How many originals are kept beside what took their place, and their bytes."""
        with self._file.reading() as connection:
            select = "SELECT count(*), coalesce(sum(bytes_before), 0) FROM replacement WHERE is_in_place"
            count, size = connection.execute(select).get
        return int(count), int(size)

    def totals(self) -> list[Total]:
        """What was compressed so far."""
        with self._file.reading() as connection:
            rows: list[tuple[Any, ...]] = connection.execute("SELECT * FROM total ORDER BY codec, modality").fetchall()
        return [Total(*row) for row in rows]

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()
