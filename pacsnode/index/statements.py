"""The SELECTs of queries and retrieves for SQLite: what is read of entities that were found, and how many at once."""

# ruff: noqa: S608 - names come from our own tables, values are bound

from __future__ import annotations

from collections.abc import Sequence

from pacsnode.dicom.attributes import BY_NAME
from pacsnode.index import entry, sql
from pacsnode.model import OBJECT_KEY, Level, Query

FIRST_ROWS = 4_000  # found and read in one search: most queries have no more
PAGE_ROWS = 500  # rows held in memory at a time
PAGE_IDS = 100_000  # matching entities found in one search; fewer searches, still under a MiB


def levels(level: Level, names: Sequence[str]) -> set[Level]:
    """Which levels these names are of, as far as a query of this level has them."""
    return {BY_NAME[name].level for name in names if _is_known(level, name)}


def first(query: Query, names: Sequence[str], found: sql.Selection) -> str:
    """Row ids and requested values of the first entities that match; ``found`` reaches to the names' ``levels``."""
    ordered = _order(query, found)
    columns = ", ".join([f"{entry.TABLE_OF[query.level]}.id", *_wanted(query.level, names)])
    return f"SELECT {columns} FROM {found.tables} WHERE {found.where.sql} ORDER BY {ordered} LIMIT {FIRST_ROWS}"


def entities(query: Query, found: sql.Selection) -> str:
    """Row ids of what matches, after the one bound last."""
    row_id = f"{entry.TABLE_OF[query.level]}.id"
    ordered = _order(query, found)
    return (
        f"SELECT {row_id} FROM {found.tables} WHERE ({found.where.sql}) AND {ordered} > ?"
        f" ORDER BY {ordered} LIMIT {PAGE_IDS}"
    )


def series(found: sql.Selection) -> str:
    """Row ids of the studies and series with anything that matches, after the two bound last."""
    return (
        f"SELECT DISTINCT study.id, series.id FROM {found.tables} WHERE ({found.where.sql})"
        f" AND (study.id, series.id) > (?, ?) ORDER BY study.id, series.id LIMIT {PAGE_IDS}"
    )


def page(query: Query, names: Sequence[str]) -> str:
    """The requested values of the entities whose row ids are bound as a JSON list."""
    wanted = _wanted(query.level, names)
    tables = sql.tables(query.level, {query.level} | levels(query.level, names))
    row_id = f"{entry.TABLE_OF[query.level]}.id"
    return (
        f"SELECT {', '.join(wanted) or '1'} FROM {tables} WHERE {row_id} IN (SELECT value FROM json_each(?))"
        f" AND {sql.VISIBLE[query.level]} ORDER BY {row_id}"
    )


def instances(within: sql.Clause) -> str:
    """A page of one series: bound are its row id, the values of the clause, and number and row id to go on after."""
    return (
        f"SELECT instance.instance_number_comparable, instance.id, {entry.INSTANCE_COLUMNS}"
        f" FROM {entry.INSTANCE_TABLES} WHERE instance.series = ? AND instance.is_current = 1 AND ({within.sql})"
        " AND (instance.instance_number_comparable, instance.id) > (?, ?)"
        f" ORDER BY instance.instance_number_comparable, instance.id LIMIT {PAGE_ROWS}"
    )


def kinds(within: sql.Clause) -> str:
    """The pairs of class and syntax in one series: bound are its row id and the values of the clause."""
    return (
        "SELECT DISTINCT instance.sop_class_uid, instance.transfer_syntax_uid FROM instance"
        f" WHERE instance.series = ? AND instance.is_current = 1 AND ({within.sql})"
    )


def _order(query: Query, found: sql.Selection) -> str:
    row_id = f"{entry.TABLE_OF[query.level]}.id"
    # A plus keeps SQLite from walking the table in order of row ids where a condition has an index.
    return f"+{row_id}" if found.through is query.level else row_id


def _wanted(level: Level, names: Sequence[str]) -> list[str]:
    return [sql.object_key(level) if name == OBJECT_KEY else _read(level, name) for name in names]


def _read(level: Level, name: str) -> str:
    return sql.expression(name) if _is_known(level, name) else "''"


def _is_known(level: Level, name: str) -> bool:
    return name in BY_NAME and sql.LEVELS.index(BY_NAME[name].level) <= sql.LEVELS.index(level)
