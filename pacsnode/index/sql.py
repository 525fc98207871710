"""From a Query to SQL for SQLite. Values are always bound, names are ours.

The joins are CROSS JOINs, which SQLite does in the order written: without statistics its own guesses are poor, and we
know which condition is selective.
"""

# ruff: noqa: S608 - names come from our own tables, values are bound

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from pacsnode.dicom.attributes import BY_NAME, Attribute
from pacsnode.errors import InvalidQuery
from pacsnode.index import groups, matching
from pacsnode.index.entry import COMPARABLE, TABLE_OF
from pacsnode.model import Condition, Items, Level, Moments, OneOf, Query, Range, Wildcard

LEVELS = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)
VISIBLE = {
    Level.PATIENT: "patient.instances > 0",
    Level.STUDY: "study.instances > 0",
    Level.SERIES: "series.instances > 0",
    Level.IMAGE: "instance.is_current = 1",
}

_COUNTED = {
    "number_of_patient_related_studies": "patient.studies",
    "number_of_patient_related_series": "patient.series",
    "number_of_patient_related_instances": "patient.instances",
    "modalities_in_study": "study.modalities",
    "sop_classes_in_study": "study.sop_classes",
    "number_of_study_related_series": "study.series",
    "number_of_study_related_instances": "study.instances",
    "number_of_series_related_instances": "series.instances",
    "available_transfer_syntax_uid": "instance.transfer_syntax_uid",
}
_JOINS = {
    (Level.PATIENT, Level.STUDY): "study.patient = patient.id",
    (Level.STUDY, Level.SERIES): "series.study = study.id",
    (Level.SERIES, Level.IMAGE): "instance.series = series.id",
}
_UNIQUE = frozenset({"study_instance_uid", "series_instance_uid", "sop_instance_uid"})
_RANK_OF_IDENTIFIER = 6  # what is left in between is for prefixes and ranges
_RANK_OF_VALUES = {**dict.fromkeys(_UNIQUE, 7), "patient_name": 5, "study_date": 3}
_TELLING_PREFIX = 3  # characters
_DATE_LENGTH = len("YYYYMMDD")
_INDEXED = _UNIQUE | {"patient_id", "patient_name", "accession_number", "study_date"}


@dataclass(frozen=True, slots=True)
class Clause:
    """A piece of SQL and the values it binds, in order."""

    sql: str
    values: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """FROM and WHERE for the entities of a query; ``through`` says which table the search begins with."""

    tables: str
    where: Clause
    through: Level | None  # None: no condition leads through an index


@cache
def expression(name: str) -> str:
    """What to read for a requested attribute."""
    attribute = BY_NAME[name]
    column = _COUNTED.get(name) or f'{TABLE_OF[attribute.level]}."{name}"'
    return f"CAST({column} AS TEXT)" if name.startswith("number_of_") and attribute.is_counted else column


def object_key(level: Level) -> str:
    """What to read for ``OBJECT_KEY``."""
    return "instance.key" if level is Level.IMAGE else f"{TABLE_OF[level]}.described_by"


def selection(query: Query, *also: Level) -> Selection:
    """The entities that match, joined with the tables of the other levels named.

    Raises InvalidQuery for a condition on an attribute we do not have, or of a level below the query's.
    """
    conditions = _checked(query)
    ranks = [(_rank(query, attribute, condition), LEVELS.index(attribute.level)) for attribute, condition in conditions]
    best = max(ranks, default=(0, 0))
    leading = ranks.index(best) if best[0] else -1
    found = [
        _clause(query, attribute, condition, is_leading=number == leading)
        for number, (attribute, condition) in enumerate(conditions)
    ]
    through = LEVELS[best[1]] if best[0] else None
    first = through or min((attribute.level for attribute, _ in conditions), key=LEVELS.index, default=query.level)
    levels = {query.level, first, *also, *(attribute.level for attribute, _ in conditions)}
    every = [*found, Clause(VISIBLE[query.level])]
    return Selection(tables(first, levels), _all(every), through)


def instance_conditions(query: Query) -> Clause:
    """The conditions on attributes of the instance alone."""
    checked = _checked(query)
    found = [
        _clause(query, attribute, condition, is_leading=False)
        for attribute, condition in checked
        if attribute.level is Level.IMAGE
    ]
    return _all(found or [Clause("1")])


def tables(first: Level, levels: Iterable[Level]) -> str:
    """A FROM clause of all tables between: from the first upward, where each row has one parent, then downward."""
    depths = [LEVELS.index(level) for level in levels]
    return _joined(LEVELS.index(first), min(depths), max(depths))


@cache
def _joined(start: int, highest: int, lowest: int) -> str:
    up = [(depth - 1, depth, depth - 1) for depth in range(start, highest, -1)]
    down = [(depth, depth + 1, depth + 1) for depth in range(start, lowest)]
    text = TABLE_OF[LEVELS[start]]
    for parent, child, joined in (*up, *down):
        text += f" CROSS JOIN {TABLE_OF[LEVELS[joined]]} ON {_JOINS[LEVELS[parent], LEVELS[child]]}"
    return text


def clause_for(attribute: Attribute, condition: Condition) -> Clause:
    """One condition: any value of the stored attribute, and any component group of a name, may match."""
    if isinstance(condition, Items):
        return _items_clause(expression(attribute.name), attribute, condition)
    if isinstance(condition, Moments):
        return _moments_clause(attribute, condition)
    if attribute.vr == "PN":
        return _name_clause(attribute, condition)
    column = _compared(attribute)
    if attribute.name in _UNIQUE:
        return _test(attribute, condition)(column)
    return _any_value(column, matching.VALUE_SEPARATOR, _test(attribute, condition))


def _clause(query: Query, attribute: Attribute, condition: Condition, *, is_leading: bool) -> Clause:
    """The condition, or that the attribute is unknown, where that matches. A pattern asks for characters."""
    clause = clause_for(attribute, condition)
    if attribute.name not in query.unknown_matches or isinstance(condition, Wildcard):
        return clause
    if isinstance(condition, Moments) and condition.time in query.unknown_matches:
        day = Range(condition.low and condition.low[:_DATE_LENGTH], condition.high and condition.high[:_DATE_LENGTH])
        without_time = [clause_for(attribute, day), Clause(f"{_compared(BY_NAME[condition.time])} = ''")]
        clause = _any([clause, _all(without_time)])
    # Many studies may be without it: a plus keeps SQLite from collecting these where another condition leads.
    return _any([clause, Clause(f"{'' if is_leading else '+'}{_compared(attribute)} = ''")])


def _checked(query: Query) -> list[tuple[Attribute, Condition]]:
    depth, result = LEVELS.index(query.level), []
    for name, condition in query.conditions.items():
        attribute = BY_NAME.get(name)
        if attribute is None or LEVELS.index(attribute.level) > depth:
            raise InvalidQuery(f"{name} cannot be matched at {query.level.value} level")
        if not matching.is_universal(condition):
            result.append((attribute, condition))
    return result


def _rank(query: Query, attribute: Attribute, condition: Condition) -> int:
    """How well an index narrows the search by this condition; 0 where none does.

    A date has thousands of studies in a large archive, a name or three letters of one has hundreds
    (benchmarks/scale.py: by date and name). Without an accession number are perhaps most of them.
    """
    if attribute.name not in _INDEXED:
        return 0
    if attribute.name == "accession_number" and attribute.name in query.unknown_matches:
        return 1
    if isinstance(condition, OneOf):
        return _RANK_OF_VALUES.get(attribute.name, _RANK_OF_IDENTIFIER)
    if isinstance(condition, Range | Moments):
        return 2 if condition.low and condition.high else 1
    if isinstance(condition, Items):
        return 0
    patterns = condition.pattern.split(groups.SEPARATOR) if attribute.vr == "PN" else [condition.pattern]
    length = max(len(_prefix(pattern)) for pattern in patterns)
    return 0 if not length else 4 if length >= _TELLING_PREFIX else 2


def _compared(attribute: Attribute) -> str:
    """The form of the column that conditions are compared with."""
    if attribute.vr == "DA":
        return f"replace({expression(attribute.name)}, '.', '')"
    if attribute.vr in ("TM", "PN", "DT") and attribute.name in COMPARABLE:
        return f"{TABLE_OF[attribute.level]}.{attribute.name}_comparable"
    return expression(attribute.name)


def _test(attribute: Attribute, condition: Condition) -> Callable[[str], Clause]:
    """The condition as a test of one single value."""
    if isinstance(condition, Wildcard):
        return lambda value: _glob(value, matching.significant(condition.pattern))
    if isinstance(condition, Range):
        return lambda value: _between(value, condition)
    if not isinstance(condition, OneOf):
        return lambda value: Clause("0")
    values = [matching.significant(value) for value in condition.values]
    if attribute.vr == "DA":
        values = [matching.comparable_date(value) for value in values]
    if attribute.vr == "TM":
        values = [matching.comparable_time(value) for value in values]
    if attribute.vr == "DT":
        values = [matching.comparable_moment(value) for value in values]
    values = [value for value in values if value and matching.VALUE_SEPARATOR not in value]
    if attribute.vr in ("IS", "US"):
        return lambda value: _number(value, values)
    if attribute.vr == "DS":
        return lambda value: _decimal(value, values)
    return lambda value: _equal(value, values)


def _items_clause(source: str, attribute: Attribute, condition: Items, depth: int = 0) -> Clause:
    """One item that meets all conditions (PS3.4 C.2.2.2.6). ``source``: the JSON of the sequence."""
    item, by_name = f"item{depth}", {one.name: one for one in attribute.items}
    tests = []
    for name, wanted in condition.conditions.items():
        if name not in by_name:
            raise InvalidQuery(f"{name} cannot be matched in {attribute.name}")
        value = f"coalesce({item}.value ->> '$.\"{by_name[name].tag:08X}\"', '')"
        if isinstance(wanted, Items):
            tests.append(_items_clause(value, by_name[name], wanted, depth + 1))
        else:
            tests.append(_any_value(value, matching.VALUE_SEPARATOR, _test(by_name[name], wanted)))
    tested = _all(tests or [Clause("1")])
    items = f"json_each(iif({source} = '', '[]', {source}))"
    return Clause(f"EXISTS (SELECT 1 FROM {items} AS {item} WHERE {tested.sql})", tested.values)


def _moments_clause(attribute: Attribute, condition: Moments) -> Clause:
    """A date within its ends, which an index finds, and within these together with its time."""
    date, time = _compared(attribute), _compared(BY_NAME[condition.time])
    day = Range(condition.low and condition.low[:_DATE_LENGTH], condition.high and condition.high[:_DATE_LENGTH])
    moment = _between(f"({date} || {time})", Range(condition.low, condition.high))
    return _all([_between(date, day), Clause(f"{time} <> ''"), moment])


def _name_clause(attribute: Attribute, condition: Condition) -> Clause:
    column = _compared(attribute)
    if isinstance(condition, Range):
        return _any_group(column, lambda value: _between(value, condition))
    if isinstance(condition, Wildcard):
        return _name_alternative(column, matching.name_pattern(condition.pattern))
    if not isinstance(condition, OneOf):
        return Clause("0")
    names = [name for name in map(matching.comparable_name, condition.values) if name]
    simple = [name for name in names if matching.GROUP_SEPARATOR not in name]
    alternatives = [_name_alternative(column, name) for name in names if matching.GROUP_SEPARATOR in name]
    if simple:
        alternatives.append(_any_group(column, lambda value: _equal(value, simple)))
    return _any(alternatives)


def _name_alternative(column: str, pattern: str) -> Clause:
    """One pattern. Without ``=`` any component group may match it, with it each group must match its own."""
    parts = pattern.split(matching.GROUP_SEPARATOR)
    if len(parts) == 1:
        return _any_group(column, lambda value: _glob(value, pattern))
    tests = [_begins(column, _prefix(parts[0])), Clause(f"{column} <> ''")]
    for number, part in enumerate(parts, 1):
        if part.strip("*"):
            tests.append(_group_matches(column, number, part))
    return _all(tests)


def _group_matches(column: str, number: int, pattern: str) -> Clause:
    if number > groups.KEPT:
        return _exists_value(column, groups.SEPARATOR, lambda value: _glob(value, pattern), number)
    test = _glob(groups.group(column, number), pattern)
    return test if number == 1 else _all([Clause(groups.has_several(column)), test])


def _any_group(column: str, test: Callable[[str], Clause]) -> Clause:
    """Apart for names of one group, for each of several, and for what is behind them: each part has its index."""
    several = Clause(groups.has_several(column))
    parts = [_all([test(column), Clause(f"NOT {several.sql}")])]
    parts += [_all([several, test(groups.group(column, number))]) for number in range(1, groups.KEPT + 1)]
    parts.append(_all([Clause(groups.has_more(column)), _exists_value(column, groups.SEPARATOR, test)]))
    return _any(parts)


def _any_value(column: str, separator: str, test: Callable[[str], Clause]) -> Clause:
    """Apart for single values, which the index finds, and for several (an index of its own lists those rows)."""
    several = f"instr({column}, '{separator}')"
    single = _all([test(column), Clause(f"{several} = 0")])
    split = _exists_value(column, separator, test)
    return _any([single, _all([Clause(f"{several} > 0"), split])])


def _exists_value(column: str, separator: str, test: Callable[[str], Clause], number: int = 0) -> Clause:
    tested = test("part.value")
    position = f"part.number = {number}" if number else "part.number > 0"
    sql = (
        f"EXISTS (WITH RECURSIVE part (number, value, rest) AS (SELECT 0, '', {column} || '{separator}' UNION ALL"
        f" SELECT number + 1, substr(rest, 1, instr(rest, '{separator}') - 1),"
        f" substr(rest, instr(rest, '{separator}') + 1) FROM part"
        # Not until nothing is left: SQLite cuts a text at a NUL in it, and with it goes the separator at the end.
        f" WHERE instr(rest, '{separator}') > 0)"
        f" SELECT 1 FROM part WHERE {position} AND {tested.sql})"
    )
    return Clause(sql, tested.values)


def _equal(value: str, wanted: Sequence[str]) -> Clause:
    if not wanted:
        return Clause("0")
    if len(wanted) == 1:
        return Clause(f"{value} = ?", (wanted[0],))
    return Clause(f"{value} IN (SELECT value FROM json_each(?))", (json.dumps(list(wanted)),))


def _number(value: str, wanted: Sequence[str]) -> Clause:
    """By meaning where both are integers, otherwise as text: ``1`` is ``01`` and ``+1``."""
    texts = [text for text in wanted if matching.as_integer(text) is None]
    numbers = [number for text in wanted if (number := matching.as_integer(text)) is not None]
    is_integer = (
        f"{value} GLOB '[-+0-9]*' AND substr({value}, 2) NOT GLOB '*[^0-9]*' AND {value} GLOB '*[0-9]'"
        f" AND length({value}) <= 18"
    )
    same = Clause(f"CAST({value} AS INTEGER) IN (SELECT value FROM json_each(?))", (json.dumps(numbers),))
    alternatives = [_equal(value, texts)] if texts else []
    if numbers:
        alternatives.append(_all([Clause(is_integer), same]))
    return _any(alternatives)


def _decimal(value: str, wanted: Sequence[str]) -> Clause:
    """By meaning: ``1.50`` is ``1.5``."""
    same = Clause(f"CAST({value} AS REAL) IN (SELECT value FROM json_each(?))", (json.dumps(list(map(float, wanted))),))
    return _all([Clause(f"{value} GLOB '[-+.0-9]*'"), same])


def _between(value: str, condition: Range) -> Clause:
    parts = [Clause(f"{value} <> ''")]
    if condition.low is not None:
        parts.append(Clause(f"{value} >= ?", (condition.low,)))
    if condition.high is not None:
        parts.append(Clause(f"{value} <= ?", (condition.high,)))
    return _all(parts)


def _glob(value: str, pattern: str) -> Clause:
    if not pattern.strip("*"):
        return Clause(f"{value} <> ''")
    if not set(pattern) & set("*?"):
        return _equal(value, [pattern])
    return _all([_begins(value, _prefix(pattern)), Clause(f"{value} GLOB ?", (pattern.replace("[", "[[]"),))])


def _begins(value: str, prefix: str) -> Clause:
    """As a range, which an index can answer."""
    if not prefix:
        return Clause("1")
    beyond = _successor(prefix)
    if not beyond:
        return Clause(f"{value} >= ?", (prefix,))
    return Clause(f"{value} >= ? AND {value} < ?", (prefix, beyond))


def _prefix(pattern: str) -> str:
    for place, character in enumerate(pattern):
        if character in "*?":
            return pattern[:place]
    return pattern


def _successor(prefix: str) -> str:
    """The smallest text after all texts with this prefix, in order of code points; "" where there is none."""
    while prefix:
        code = ord(prefix[-1]) + 1
        if code <= sys.maxunicode:
            return prefix[:-1] + chr(0xE000 if code == 0xD800 else code)  # surrogates are no text
        prefix = prefix[:-1]
    return ""


def _all(clauses: Sequence[Clause]) -> Clause:
    return _combined(" AND ", clauses)


def _any(clauses: Sequence[Clause]) -> Clause:
    return _combined(" OR ", clauses) if clauses else Clause("0")


def _combined(operator: str, clauses: Sequence[Clause]) -> Clause:
    if len(clauses) == 1:
        return clauses[0]
    sql = operator.join(f"({clause.sql})" for clause in clauses)
    return Clause(sql, tuple(value for clause in clauses for value in clause.values))
