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

from pacsnode.dicom.attributes import BY_NAME
from pacsnode.errors import IndexFailure, IndexFull
from pacsnode.index import changes, check, dump, entry, migrations, sql
from pacsnode.index.bookkeeping import Bookkeeping
from pacsnode.index.changes import Changes, Place
from pacsnode.index.deadlines import Deadlines
from pacsnode.index.matching import significant
from pacsnode.index.readers import ReaderPool
from pacsnode.index.statefile import moment_of
from pacsnode.index.writer import Writer
from pacsnode.model import (
    OBJECT_KEY,
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

FIRST_ROWS = 4_000  # found and read in one search: most queries have no more
_PAGE_ROWS = 500  # rows held in memory at a time
_PAGE_IDS = 100_000  # matching entities found in one search; fewer searches, still under a MiB

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
        return self._matches(query, sql.selection(query))

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
        statement = kinds_statement(within)
        found: set[tuple[Uid, Uid]] = set()
        for series in self._series_of(sql.selection(query, Level.STUDY, Level.SERIES)):
            found.update((row[0], row[1]) for row in self._asked_rows(statement, series, *within.values))
        return sorted(found)

    def everything(self, since: str = "") -> Iterator[Instance]:
        """All versions of all instances in order of their keys; paged. See Index.everything."""
        where = f"instance.key %s ? ORDER BY instance.key LIMIT {_PAGE_ROWS}"
        page = self._instances(where % ">=", since)
        while page:
            yield from page
            page = self._instances(where % ">", page[-1].stored.key)

    def holdings(self, since: str = "") -> Iterator[Holding]:
        """See Index.holdings. Paged."""
        statement = f"SELECT {entry.HOLDING_COLUMNS} FROM instance WHERE key %s ? ORDER BY key LIMIT {_PAGE_ROWS}"
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
        statement = f"SELECT key FROM instance WHERE key %s ? ORDER BY key LIMIT {_PAGE_IDS}"
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

    def _matches(self, query: Query, found: sql.Selection) -> Generator[Match, None, None]:
        names = tuple(dict.fromkeys(query.requested))
        first = self._asked_rows(first_statement(query, names), *found.where.values)
        for row in first:
            yield Match(dict(zip(names, row[1:], strict=False)))  # without names there is still a row
        if len(first) < FIRST_ROWS:
            return
        statement = page_statement(query, names)
        for ids in self._entities(query, found, first[-1][0]):
            for start in range(0, len(ids), _PAGE_ROWS):
                page = json.dumps(ids[start : start + _PAGE_ROWS])
                for row in self._asked_rows(statement, page):
                    yield Match(dict(zip(names, row, strict=False)))

    def _entities(self, query: Query, found: sql.Selection, after: int) -> Iterator[list[int]]:
        """Row ids of what matches, ascending, from behind this one."""
        statement = entity_statement(query, found)
        while rows := self._asked_rows(statement, *found.where.values, after):
            yield [row[0] for row in rows]
            after = rows[-1][0]
            if len(rows) < _PAGE_IDS:
                return

    def _below(self, query: Query, found: sql.Selection) -> Generator[Instance, None, None]:
        within = sql.instance_conditions(query)
        for series in self._series_of(found):
            order, row_id = -(2**63), 0
            while rows := self._asked_rows(instances_statement(within), series, *within.values, order, row_id):
                for row in rows:
                    yield entry.instance_of(row[2:])
                order, row_id = rows[-1][:2]
                if len(rows) < _PAGE_ROWS:
                    break

    def _series_of(self, found: sql.Selection) -> Iterator[int]:
        """Row ids of the series with anything that matches, by study."""
        statement = series_statement(found)
        after = (0, 0)
        while rows := self._asked_rows(statement, *found.where.values, *after):
            for row in rows:
                yield row[1]
            after = rows[-1][0], rows[-1][1]
            if len(rows) < _PAGE_IDS:
                return


def first_statement(query: Query, names: Sequence[str]) -> str:
    """Row ids and requested values of the first entities that match; it binds what the query's selection does."""
    wanted, levels = _wanted(query, names)
    found = sql.selection(query, *levels)
    ordered = _order(query, found)
    columns = ", ".join([f"{entry.TABLE_OF[query.level]}.id", *wanted])
    return f"SELECT {columns} FROM {found.tables} WHERE {found.where.sql} ORDER BY {ordered} LIMIT {FIRST_ROWS}"


def entity_statement(query: Query, found: sql.Selection) -> str:
    """Row ids of what matches, after the one bound last."""
    row_id = f"{entry.TABLE_OF[query.level]}.id"
    ordered = _order(query, found)
    return (
        f"SELECT {row_id} FROM {found.tables} WHERE ({found.where.sql}) AND {ordered} > ?"
        f" ORDER BY {ordered} LIMIT {_PAGE_IDS}"
    )


def series_statement(found: sql.Selection) -> str:
    """Row ids of the studies and series with anything that matches, after the two bound last."""
    return (
        f"SELECT DISTINCT study.id, series.id FROM {found.tables} WHERE ({found.where.sql})"
        f" AND (study.id, series.id) > (?, ?) ORDER BY study.id, series.id LIMIT {_PAGE_IDS}"
    )


def page_statement(query: Query, names: Sequence[str]) -> str:
    """The requested values of the entities whose row ids are bound as a JSON list."""
    wanted, levels = _wanted(query, names)
    tables = sql.tables(query.level, [query.level, *levels])
    row_id = f"{entry.TABLE_OF[query.level]}.id"
    return (
        f"SELECT {', '.join(wanted) or '1'} FROM {tables} WHERE {row_id} IN (SELECT value FROM json_each(?))"
        f" AND {sql.VISIBLE[query.level]} ORDER BY {row_id}"
    )


def instances_statement(within: sql.Clause) -> str:
    """A page of one series: bound are its row id, the values of the clause, and number and row id to go on after."""
    return (
        f"SELECT instance.instance_number_comparable, instance.id, {entry.INSTANCE_COLUMNS}"
        f" FROM {entry.INSTANCE_TABLES} WHERE instance.series = ? AND instance.is_current = 1 AND ({within.sql})"
        " AND (instance.instance_number_comparable, instance.id) > (?, ?)"
        f" ORDER BY instance.instance_number_comparable, instance.id LIMIT {_PAGE_ROWS}"
    )


def kinds_statement(within: sql.Clause) -> str:
    """The pairs of class and syntax in one series: bound are its row id and the values of the clause."""
    return (
        "SELECT DISTINCT instance.sop_class_uid, instance.transfer_syntax_uid FROM instance"
        f" WHERE instance.series = ? AND instance.is_current = 1 AND ({within.sql})"
    )


def _order(query: Query, found: sql.Selection) -> str:
    row_id = f"{entry.TABLE_OF[query.level]}.id"
    # A plus keeps SQLite from walking the table in order of row ids where a condition has an index.
    return f"+{row_id}" if found.through is query.level else row_id


def _wanted(query: Query, names: Sequence[str]) -> tuple[list[str], list[Level]]:
    """What to read for each name, and the levels it is of."""
    depth = sql.LEVELS.index(query.level)
    known = [name in BY_NAME and sql.LEVELS.index(BY_NAME[name].level) <= depth for name in names]
    wanted = [sql.expression(name) if is_known else "''" for name, is_known in zip(names, known, strict=True)]
    if OBJECT_KEY in names:
        wanted[names.index(OBJECT_KEY)] = sql.object_key(query.level)
    return wanted, [BY_NAME[name].level for name, is_known in zip(names, known, strict=True) if is_known]
