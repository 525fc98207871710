"""The index in a SQLite file: one connection writes, a few read. Keeps what index.py promises."""

# ruff: noqa: S608 - names come from our own tables, values are bound

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pacsnode.errors import IndexFailure, IndexFull
from pacsnode.index import changes, check, dump, entry, migrations, sql, statements
from pacsnode.index.bookkeeping import Bookkeeping
from pacsnode.index.changes import Changes, Place
from pacsnode.index.deadlines import Deadlines
from pacsnode.index.matching import significant
from pacsnode.index.readers import ReaderPool
from pacsnode.index.statefile import moment_of
from pacsnode.index.writer import Writer
from pacsnode.model import (
    DuplicatePolicy,
    Holding,
    Instance,
    Key,
    Level,
    Match,
    Outcome,
    Query,
    StoredObject,
    Totals,
    Uid,
)

T = TypeVar("T")


class SqliteIndex:
    """An Index (see index.py) in one SQLite file. Only one process may hold it without ``read_only``."""

    def __init__(
        self,
        path: Path,
        *,
        duplicates: DuplicatePolicy = DuplicatePolicy.VERSION,
        query_seconds: float | None = None,
        read_only: bool = False,
        make_room: Callable[[], bool] = lambda: False,
    ) -> None:
        """Open the index, creating it where there is none.

        ``query_seconds``: how long one read for a query may take; QueryTooLong is raised beyond.
        ``make_room`` is called where a removal finds the disk full; True: it may be tried again.
        With ``read_only`` it must exist, may belong to a running node, and is never written to. Raises IndexFailure
        where it has another schema, lies on a network file system, or cannot be opened.
        """
        self._make_room = make_room
        self._readers = ReaderPool(path, Deadlines(query_seconds) if query_seconds else None)
        self._writer = None if read_only else Writer(path)
        if self._writer is not None:
            self._books = Bookkeeping(self._writer.connection, duplicates)
            self._writer.on_rollback = self._books.forget
        else:
            with self._readers.reader() as reader:
                migrations.require_current(path, reader)

    @property
    def degraded(self) -> str:
        """Why nothing is written any more, for people; "" while all is well."""
        return "" if self._writer is None else self._writer.refusal

    def add(self, instance: Instance) -> Outcome:
        """Record an instance; durable when it returns. See Index.add."""
        row = entry.row_of(instance)
        return self._writing().run(partial(self._books.add, instance, row))

    def add_beside(self, instance: Instance, compared: Collection[Key]) -> Outcome:
        """Record an instance that differs from these versions; durable when it returns. See Index.add_beside."""
        row = entry.row_of(instance)
        return self._writing().run(partial(self._books.add, instance, row, compared))

    def add_many(self, instances: Sequence[Instance]) -> list[Outcome]:
        """As ``add`` for each, in order, in one transaction: all or none where one of them fails."""
        if not instances:
            return []
        rows = [(instance, entry.row_of(instance)) for instance in instances]
        return self._writing().run(lambda: [self._books.add(instance, row) for instance, row in rows])

    def relocate(self, old: StoredObject, new: Instance) -> bool:
        """See Index.relocate. Durable when it returns.

        The version keeps its place among the others until the index is rebuilt: the new key should sort as the old.
        """
        return self.relocate_all([(old, new)])[0]

    def relocate_all(self, moves: Sequence[tuple[StoredObject, Instance]]) -> list[bool]:
        """See Index.relocate_all."""
        relocate = self._books.relocate
        return self._writing().run(lambda: [relocate(old.key, new) for old, new in moves])

    def remove(self, uid: Uid) -> Instance | None:
        """Forget the current version; the newest older one, if any, becomes current. Durable when it returns."""
        return self._remove(lambda: self._books.remove(uid))

    def strike(self, key: Key) -> Instance | None:
        """Forget the version stored under the key. Durable when it returns. See Index.strike."""
        return self._remove(lambda: self._books.strike(key))

    def put_back(self, instances: Sequence[Instance]) -> list[Outcome]:
        """Record versions that were struck before, all or none. See Index.put_back."""
        if not instances:
            return []
        rows = [(instance, entry.row_of(instance)) for instance in instances]
        return self._writing().run(lambda: [self._books.put_back(instance, row) for instance, row in rows])

    def strike_many(self, keys: Sequence[Key]) -> list[Instance]:
        """Forget the versions stored under the keys, all or none. See Index.strike_many."""
        return self._remove(lambda: [struck for key in keys if (struck := self._books.strike(key)) is not None])

    def current(self, uid: Uid) -> Instance | None:
        """The current version of a SOP instance."""
        found = self._instances("instance.sop_instance_uid = ? AND instance.is_current = 1", uid)
        return found[0] if found else None

    def knows(self, uid: Uid, digest: str) -> bool:
        """Is there a version of the SOP instance with this digest?"""
        statement = f"SELECT 1 FROM instance WHERE {entry.VERSIONS} AND digest = ?"
        return bool(self._rows(statement, uid, bytes.fromhex(digest)))

    def versions(self, uid: Uid) -> list[Instance]:
        """All versions of a SOP instance, the current one first, then from newest to oldest."""
        return self._instances(f"{entry.VERSIONS} ORDER BY instance.is_current DESC, instance.key DESC", uid)

    def of_study(self, uid: Uid) -> list[Instance]:
        """All versions of all instances of the study, in order of their keys. See Index.of_study."""
        statement = (
            f"SELECT {entry.INSTANCE_COLUMNS} FROM study CROSS JOIN series ON series.study = study.id"
            " CROSS JOIN instance ON instance.series = series.id CROSS JOIN patient ON patient.id = study.patient"
            " WHERE study.study_instance_uid = ? ORDER BY instance.key"
        )
        return [entry.instance_of(row) for row in self._rows(statement, significant(uid))]

    def find(self, query: Query) -> Generator[Match, None, None]:
        """Matches in order of their first arrival. See Index.find.

        Raises InvalidQuery, at once, for a condition that the level does not have.
        """
        names = tuple(dict.fromkeys(query.requested))
        return self._matches(query, names, sql.selection(query, *statements.levels(query.level, names)))

    def instances(self, query: Query) -> Generator[Instance, None, None]:
        """Current versions below the entities that match, by study, series and instance number.

        Raises InvalidQuery as ``find`` does.
        """
        return self._below(query, sql.selection(query, Level.STUDY, Level.SERIES))

    def count_instances(self, query: Query) -> int:
        """How many instances ``instances`` would yield."""
        found = sql.selection(query)
        count = "count(*)" if query.level is Level.IMAGE else f"sum({entry.TABLE_OF[query.level]}.instances)"
        statement = f"SELECT coalesce({count}, 0) FROM {found.tables} WHERE {found.where.sql}"
        return int(self._asked_rows(statement, *found.where.values)[0][0])

    def kinds(self, query: Query) -> list[tuple[Uid, Uid]]:
        """The (SOP class, transfer syntax) pairs of what ``instances`` would yield. Holds no more than those."""
        within = sql.instance_conditions(query)
        statement = statements.kinds(within)
        found: set[tuple[Uid, Uid]] = set()
        for series in self._series_of(sql.selection(query, Level.STUDY, Level.SERIES)):
            found.update((row[0], row[1]) for row in self._asked_rows(statement, series, *within.values))
        return sorted(found)

    def everything(self, since: str = "") -> Iterator[Instance]:
        """All versions of all instances in order of their keys; paged. See Index.everything."""
        where = f"instance.key %s ? ORDER BY instance.key LIMIT {statements.PAGE_ROWS}"
        page = self._instances(where % ">=", since)
        while page:
            yield from page
            page = self._instances(where % ">", page[-1].stored.key)

    def holdings(self, since: str = "") -> Iterator[Holding]:
        """See Index.holdings. Paged."""
        statement = (
            f"SELECT {entry.HOLDING_COLUMNS} FROM instance WHERE key %s ? ORDER BY key LIMIT {statements.PAGE_ROWS}"
        )
        rows = self._rows(statement % ">=", since)
        while rows:
            yield from map(entry.holding_of, rows)
            rows = self._rows(statement % ">", rows[-1][0])

    def at(self, key: Key) -> Instance | None:
        """The version stored under the key."""
        found = self._instances("instance.key = ?", key)
        return found[0] if found else None

    def keys(self, since: str = "") -> Iterator[Key]:
        """The keys of all versions that are not below ``since``, in ascending order. See Index.keys."""
        statement = f"SELECT key FROM instance WHERE key %s ? ORDER BY key LIMIT {statements.PAGE_IDS}"
        rows = self._rows(statement % ">=", since)
        while rows:
            yield from (Key(row[0]) for row in rows)
            rows = self._rows(statement % ">", rows[-1][0])

    def forget_changes(self) -> int:
        """See Index.forget_changes."""
        return self._writing().run(lambda: changes.forget(self._writing().connection, changes.KEPT))

    def pulse(self) -> None:
        """An empty transaction, in its turn. Raises IndexFailure."""
        self._writing().run(lambda: None)

    def observe(self, told: Callable[[int, float], None]) -> None:
        """See Index.observe."""
        self._writing().on_commit = told

    def senders(self, since: str) -> set[str]:
        """The calling AE titles of all versions whose keys are not below ``since``."""
        return {row[0] for row in self._rows("SELECT DISTINCT calling_ae FROM instance WHERE key >= ?", since)}

    def arrivals(self, since: str, most: int) -> tuple[int, int, datetime | None]:
        """See Index.arrivals."""
        statement = (
            "SELECT count(*), coalesce(sum(size), 0), min(received_at) FROM"
            " (SELECT size, received_at FROM instance WHERE key >= ? ORDER BY key DESC LIMIT ?)"
        )
        count, size, oldest = self._rows(statement, since, most)[0]
        return count, size, None if oldest is None else moment_of(oldest)

    def problems(self, seconds: float) -> list[str]:
        """What SQLite finds wrong with the file; empty also when it could not look through all of it in that time."""
        with self._readers.reader() as reader:
            return check.quick(reader, seconds)

    def holds(self, key: Key) -> bool:
        """Is there a row, of any version, for this object?"""
        return bool(self._rows("SELECT 1 FROM instance WHERE key = ?", key))

    def totals(self) -> Totals:
        """Counts over current versions; kept on write, so that this reads one row."""
        return Totals(*self._rows("SELECT patients, studies, series, instances, bytes FROM totals")[0])

    def here(self) -> Place:
        """See Index.here."""
        with self._readers.reader() as reader:
            return changes.here(reader)

    def changes(self, place: Place) -> Changes | None:
        """See Index.changes."""
        with self._readers.reader() as reader:
            return changes.since(reader, place)

    def dump(self) -> Iterator[tuple[object, ...]]:
        """Every row of every table without row ids, parents named by their identity, in a stable order.

        Two indexes are equal when their dumps are. One read transaction for each table: not for a busy node.
        """
        for statement in dump.STATEMENTS:
            with self._readers.reader() as reader, closing(reader.execute(statement)) as rows:
                yield from rows

    def close(self) -> None:
        """Close every connection, the writer's last, after it brought the log into the file. May be called twice."""
        self._readers.close()
        if self._writer is not None:
            self._writer.close()

    def _remove(self, work: Callable[[], T]) -> T:
        """What makes room must not fail for want of it."""
        try:
            return self._writing().run(work)
        except IndexFull:
            if not self._make_room():
                raise
            return self._writing().run(work)

    def _writing(self) -> Writer:
        if self._writer is None:
            raise IndexFailure("index: opened for reading only")
        return self._writer

    def _rows(self, statement: str, *values: str | int | bytes) -> list[tuple[Any, ...]]:
        with self._readers.reader() as reader:
            return reader.execute(statement, values).fetchall()

    def _asked_rows(self, statement: str, *values: str | int | bytes) -> list[tuple[Any, ...]]:
        """As ``_rows``, for what peers ask: they decide how much there is to read."""
        with self._readers.hurried_reader() as reader:
            return reader.execute(statement, values).fetchall()

    def _instances(self, where: str, *values: str | int) -> list[Instance]:
        statement = f"SELECT {entry.INSTANCE_COLUMNS} FROM {entry.INSTANCE_TABLES} WHERE {where}"
        return [entry.instance_of(row) for row in self._rows(statement, *values)]

    def _matches(self, query: Query, names: tuple[str, ...], found: sql.Selection) -> Generator[Match, None, None]:
        first = self._asked_rows(statements.first(query, names, found), *found.where.values)
        for row in first:
            yield Match(dict(zip(names, row[1:], strict=False)))  # without names there is still a row
        if len(first) < statements.FIRST_ROWS:
            return
        statement = statements.page(query, names)
        for ids in self._entities(query, sql.selection(query), first[-1][0]):
            for start in range(0, len(ids), statements.PAGE_ROWS):
                page = json.dumps(ids[start : start + statements.PAGE_ROWS])
                for row in self._asked_rows(statement, page):
                    yield Match(dict(zip(names, row, strict=False)))

    def _entities(self, query: Query, found: sql.Selection, after: int) -> Iterator[list[int]]:
        """Row ids of what matches, ascending, from behind this one."""
        statement = statements.entities(query, found)
        while rows := self._asked_rows(statement, *found.where.values, after):
            yield [row[0] for row in rows]
            after = rows[-1][0]
            if len(rows) < statements.PAGE_IDS:
                return

    def _below(self, query: Query, found: sql.Selection) -> Generator[Instance, None, None]:
        within = sql.instance_conditions(query)
        for series in self._series_of(found):
            order, row_id = -(2**63), 0
            while rows := self._asked_rows(statements.instances(within), series, *within.values, order, row_id):
                for row in rows:
                    yield entry.instance_of(row[2:])
                order, row_id = rows[-1][:2]
                if len(rows) < statements.PAGE_ROWS:
                    break

    def _series_of(self, found: sql.Selection) -> Iterator[int]:
        """Row ids of the series with anything that matches, by study."""
        statement = statements.series(found)
        after = (0, 0)
        while rows := self._asked_rows(statement, *found.where.values, *after):
            for row in rows:
                yield row[1]
            after = rows[-1][0], rows[-1][1]
            if len(rows) < statements.PAGE_IDS:
                return
