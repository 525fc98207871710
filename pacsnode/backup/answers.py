"""Queries with their answers, recorded of an index: what is restored has to answer them as it did."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pacsnode.dicom.attributes import ATTRIBUTES
from pacsnode.index.index import Index
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Condition, InstanceHeader, Key, Level, OneOf, Query, Range, Wildcard
from pacsnode.storage import layout

QUERIES = 50
_ORDER = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def recorded(path: Path) -> list[dict[str, Any]]:
    """Fifty queries over instances chosen at random over the years, and what the index in the file answers.

    What is kept of an answer is its digest; the queries hold identifiers of patients.
    """
    with closing(SqliteIndex(path, read_only=True)) as index:
        queries = list(_queries(index))
        return [_told(query) | {"answer": _digest(index, query)} for query in queries]


def differences(index: Index, recorded: Sequence[dict[str, Any]]) -> list[int]:
    """The numbers of the recorded queries that this index answers otherwise."""
    return [number for number, told in enumerate(recorded) if _digest(index, _query(told)) != told["answer"]]


def _queries(index: Index) -> Iterator[Query]:
    keys = list(_sample(index, QUERIES // 5))
    for key in keys:
        found = index.at(key)
        if found is not None:
            yield from _about(found.header)


def _about(header: InstanceHeader) -> Iterator[Query]:
    """Queries that this instance is part of the answer to."""
    study = OneOf((header.study_instance_uid,))
    if header.patient_id:
        yield _asking(Level.PATIENT, {"patient_id": OneOf((header.patient_id,))})
    yield _asking(Level.STUDY, {"study_instance_uid": study})
    date = header.study_date
    yield _asking(Level.STUDY, {"study_date": Range(date, date)} if date.isdigit() else {"study_instance_uid": study})
    yield _asking(Level.SERIES, {"study_instance_uid": study, "modality": Wildcard(f"{header.modality[:1]}*")})
    yield _asking(
        Level.IMAGE, {"study_instance_uid": study, "series_instance_uid": OneOf((header.series_instance_uid,))}
    )


def _asking(level: Level, conditions: dict[str, Condition]) -> Query:
    levels = _ORDER[: _ORDER.index(level) + 1]
    return Query(level, conditions, tuple(a.name for a in ATTRIBUTES if a.level in levels))


def _sample(index: Index, count: int) -> Iterator[Key]:
    """Keys over the whole time of arrival."""
    first, last = next(iter(index.keys()), None), _last(index)
    if first is None or last is None:
        return
    begin, span = _moment(first), (_moment(last) - _moment(first)).total_seconds()
    for _ in range(count):
        chosen = begin + timedelta(seconds=random.uniform(0, span))  # noqa: S311 - a sample, no secret
        yield next(iter(index.keys(layout.new_key(chosen, bytes(layout.RANDOM_BYTES)))), first)


def _last(index: Index) -> Key | None:
    last: Key | None = None
    for last in index.keys():  # noqa: B007, SIM118 - the last one is wanted; no mapping
        pass
    return last


def _moment(key: Key) -> datetime:
    return _EPOCH + timedelta(microseconds=int(key.rpartition("/")[2][:14], 16))


def _digest(index: Index, query: Query) -> str:
    """Of all matches, in an order of their own: row ids are not the same everywhere."""
    matches = sorted(json.dumps(dict(match.values), sort_keys=True) for match in index.find(query))
    return hashlib.sha256("\n".join(matches).encode()).hexdigest()


def _told(query: Query) -> dict[str, Any]:
    conditions: dict[str, list[str | None]] = {}
    for name, condition in query.conditions.items():
        match condition:
            case OneOf(values):
                conditions[name] = ["one_of", *values]
            case Wildcard(pattern):
                conditions[name] = ["wildcard", pattern]
            case Range(low, high):
                conditions[name] = ["range", low, high]
    return {"level": query.level.value, "conditions": conditions, "requested": list(query.requested)}


def _query(told: dict[str, Any]) -> Query:
    conditions: dict[str, Condition] = {}
    for name, (kind, *values) in told["conditions"].items():
        conditions[name] = _KINDS[kind](values)
    return Query(Level(told["level"]), conditions, tuple(told["requested"]))


_KINDS: dict[str, Any] = {
    "one_of": lambda values: OneOf(tuple(values)),
    "wildcard": lambda values: Wildcard(*values),
    "range": lambda values: Range(*values),
}
