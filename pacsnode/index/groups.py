"""Component groups of person names (PS3.5 6.2.1) in SQL: the same expressions in the indexes and in the queries.

Names without ``=``, nearly all where one script suffices, are found by their whole column; the others by each group.
"""

from __future__ import annotations

SEPARATOR = "="
KEPT = 3
"""Alphabetic, ideographic, phonetic; what stands behind more separators is no group of the standard."""


def has_several(column: str) -> str:
    """Is there more than one group?"""
    return f"instr({column}, '{SEPARATOR}') > 0"


def group(column: str, number: int) -> str:
    """The group, from 1 on; "" where there is none."""
    rest = _rest(column, number - 1)
    return f"substr({rest}, 1, instr({rest} || '{SEPARATOR}', '{SEPARATOR}') - 1)"


def has_more(column: str) -> str:
    """Is there anything behind the third group? Several names in one attribute, or nonsense."""
    return f"{_rest(column, KEPT)} > ''"


def indexes(table: str, column: str) -> tuple[str, ...]:
    """What a name column needs besides its plain index."""
    parts = {f"group_{number}": (group(column, number), has_several(column)) for number in range(1, KEPT + 1)}
    parts["more"] = _rest(column, KEPT), has_more(column)
    return tuple(
        f"CREATE INDEX IF NOT EXISTS {column}_{name} ON {table} ({indexed}) WHERE {where}"
        for name, (indexed, where) in parts.items()
    )


def _rest(column: str, groups: int) -> str:
    for _ in range(groups):
        column = f"substr({column}, instr({column} || '{SEPARATOR}', '{SEPARATOR}') + 1)"
    return column
