"""Instances to put into an index, and a walk over what an index must hold after them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import closing
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw

from pacsnode.index.matching import significant
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Instance, InstanceHeader, Key, StoredObject, Totals, Uid

NOON = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)
CT = Uid("1.2.840.10008.5.1.4.1.1.2")
SR = Uid("1.2.840.10008.5.1.4.1.1.88.11")
CODES = r'[{"00080100":"A \"B\" \\ ","00080104":"Größe"}]'
EXPLICIT_LITTLE = Uid("1.2.840.10008.1.2.1")


def header(uid: str = "1.2.3.1", study: str = "1.2.3", series: str = "1.2.3.0", **values: str) -> InstanceHeader:
    sop_class = Uid(values.pop("sop_class_uid", CT))
    return InstanceHeader(sop_class, Uid(uid), Uid(study), Uid(series), **values)


def key(number: int) -> Key:
    return Key(f"2024/02/29/80/{number:032x}")


def stored(number: int, content: str | None = None, size: int = 1000) -> StoredObject:
    digest = hashlib.sha256((content or str(number)).encode()).hexdigest()
    return StoredObject(key(number), size, digest, EXPLICIT_LITTLE, 400)


def instance(number: int, found: InstanceHeader | None = None, content: str | None = None) -> Instance:
    """The ``number`` decides key, time of arrival and, without ``content``, what is in it."""
    arrived = NOON + timedelta(seconds=number)
    return Instance(found or header(), stored(number, content, 1000 + number), arrived, "CT01", "PACSNODE")


def everything_about(number: int) -> Instance:
    """An instance with a value in every attribute."""
    names = [field.name for field in fields(InstanceHeader) if not field.name.endswith("_uid")]
    values = dict.fromkeys(names, "1")
    values |= {"patient_name": "Müller^Jörg=山田^太郎", "study_time": "101010.5", "study_date": "20240229"}
    values |= {"acquisition_date_time": "20240229101010.5+0100"}
    values |= {name: CODES for name in names if name.endswith("_sequence")}
    return instance(number, header("1.2.3.7", **values))


def totals_of(current: Iterable[Instance]) -> Totals:
    """Counted the slow way. All instances of a study name one patient here."""
    kept = list(current)
    return Totals(
        len({(significant(i.header.patient_id), i.header.issuer_of_patient_id) for i in kept}),
        len({i.header.study_instance_uid for i in kept}),
        len({(i.header.study_instance_uid, i.header.series_instance_uid) for i in kept}),
        len(kept),
        sum(i.stored.size for i in kept),
    )


def fill(path: Path, studies: int) -> None:
    """An index with so many studies and one more, of a series each."""
    with closing(SqliteIndex(path)) as index:
        index.add(instance(1))
    multiply(path, studies)


def multiply(path: Path, studies: int) -> None:
    """Give an index of one study so many more, without instances; around the index, which takes a moment only."""
    connection = apsw.Connection(str(path))
    _copy(connection, "study", studies, {"study_instance_uid": "study_instance_uid || i"})
    _copy(connection, "series", studies, {"study": "i + 1"})
    connection.close()


def _copy(connection: apsw.Connection, table: str, count: int, changes: dict[str, str]) -> None:
    """Write copies of the only row of a table, numbered from 1 as ``i``."""
    names = [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})") if row[1] != "id"]
    values = [changes.get(name, name) for name in names]
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
    connection.execute(f"INSERT INTO {table} ({', '.join(names)}) {numbers} SELECT {', '.join(values)} FROM {table}, n")
