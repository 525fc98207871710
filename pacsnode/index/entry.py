"""From an Instance to rows and back: which value goes into which column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

from pacsnode.dicom.attributes import ATTRIBUTES, BY_NAME
from pacsnode.index.matching import (
    as_integer,
    comparable_moment,
    comparable_name,
    comparable_time,
    significant,
    storable,
)
from pacsnode.index.schema import NO_NUMBER
from pacsnode.model import Arrival, Holding, Instance, InstanceHeader, Key, Level, StoredObject, Uid

TABLE_OF: Mapping[Level, str] = {
    Level.PATIENT: "patient",
    Level.STUDY: "study",
    Level.SERIES: "series",
    Level.IMAGE: "instance",
}
KEPT: Mapping[Level, tuple[str, ...]] = {
    level: tuple(a.name for a in ATTRIBUTES if a.level is level and not a.is_counted) for level in Level
}
"""The attributes of the header that each level's table keeps."""
COMPARABLE: Mapping[str, Callable[[str], str | int]] = {
    **{a.name: comparable_name for a in ATTRIBUTES if a.vr == "PN"},
    **{a.name: comparable_time for a in ATTRIBUTES if a.vr == "TM"},
    **{a.name: comparable_moment for a in ATTRIBUTES if a.vr == "DT"},
    "instance_number": lambda text: NO_NUMBER if (number := as_integer(text)) is None else number,
}
"""The attributes that have a second column, in which they are compared or sorted."""


def _description(names: tuple[str, ...]) -> _Description:
    compared = [(place, COMPARABLE[name]) for place, name in enumerate(names) if name in COMPARABLE]
    return (
        attrgetter(*names),
        tuple(storable if BY_NAME[name].vr == "SQ" else significant for name in names),
        tuple((place, compare, compare("")) for place, compare in compared),
    )


# Worked out once: most values are empty, and three rows are described for each instance (benchmarks/index_commit.py).
_Description = tuple[
    Callable[[InstanceHeader], tuple[str, ...]],
    tuple[Callable[[str], str], ...],
    tuple[tuple[int, Callable[[str], str | int], str | int], ...],
]
_DESCRIPTIONS: Mapping[Level, _Description] = {level: _description(names) for level, names in KEPT.items()}
_FIELDS = tuple(field.name for field in fields(InstanceHeader))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STORED = ("key", "size", "digest", "transfer_syntax_uid", "offset", "received_at", "calling_ae", "called_ae")
"""The columns that tell of the object and how it came here."""

INSTANCE_COLUMNS = ", ".join(
    [f"{TABLE_OF[BY_NAME[name].level]}.{name}" for name in _FIELDS] + [f'instance."{name}"' for name in STORED]
)
"""What ``instance_of`` takes, in this order."""
HOLDING_COLUMNS = ", ".join(f'"{name}"' for name in (*STORED, "sop_class_uid", "sop_instance_uid"))
"""What ``holding_of`` takes, in this order: columns of the instance's own table."""
INSTANCE_TABLES = (
    "instance CROSS JOIN series ON series.id = instance.series"
    " CROSS JOIN study ON study.id = series.study CROSS JOIN patient ON patient.id = study.patient"
)
"""A FROM clause that begins with the instance: the others are looked up by row id."""
VERSIONS = "instance.sop_instance_uid = ? AND (instance.is_current = 1 OR instance.is_current = 0)"
"""All versions of one SOP instance; spelt so that both partial indexes are used."""

Values = tuple[str | int | bytes, ...]


def columns(level: Level) -> tuple[str, ...]:
    """The columns whose values ``describe`` gives."""
    kept = KEPT[level]
    return kept + tuple(f"{name}_comparable" for name in kept if name in COMPARABLE)


def describe(header: InstanceHeader, level: Level) -> Values:
    """The header's values for one level's table."""
    read, clean, comparable = _DESCRIPTIONS[level]
    values = [clean_one(value) if value else value for clean_one, value in zip(clean, read(header), strict=True)]
    return (*values, *[compare(values[place]) if values[place] else empty for place, compare, empty in comparable])


def row_columns() -> tuple[str, ...]:
    """The columns whose values ``row_of`` gives."""
    return (*columns(Level.IMAGE), *STORED)


def row_of(instance: Instance) -> Values:
    """What the instance's own row keeps. Raises ValueError for a digest that is not hexadecimal."""
    return (*describe(instance.header, Level.IMAGE), *stored_values(instance))


def stored_values(instance: Instance) -> Values:
    """The values of STORED. Raises ValueError for a digest that is not hexadecimal."""
    stored = instance.stored
    return (
        stored.key,
        stored.size,
        bytes.fromhex(stored.digest),
        stored.transfer_syntax_uid,
        stored.offset,
        (instance.received_at - _EPOCH) // timedelta(microseconds=1),
        instance.calling_ae,
        instance.called_ae,
    )


def instance_of(row: tuple[Any, ...]) -> Instance:
    """An Instance from the columns of INSTANCE_COLUMNS."""
    header = InstanceHeader(*row[: len(_FIELDS)])
    key, size, digest, syntax, offset, received, calling, called = row[len(_FIELDS) :]
    stored = StoredObject(Key(key), size, digest.hex(), Uid(syntax), offset)
    return Instance(header, stored, _EPOCH + timedelta(microseconds=received), calling, called)


def holding_of(row: tuple[Any, ...]) -> Holding:
    """A Holding from the columns of HOLDING_COLUMNS."""
    key, size, digest, syntax, offset, received, calling, called, sop_class, sop_instance = row
    received_at = _EPOCH + timedelta(microseconds=received)
    arrival = Arrival(sop_class, sop_instance, syntax, calling, called, received_at)
    return Holding(StoredObject(key, size, digest.hex(), syntax, offset), arrival)
