"""What adding, moving and removing an instance does to the rows. Runs inside the writer's transaction.

The outcome does not depend on the order of arrival: the largest key of a UID is current, the smallest key below an
entity describes it. Only that makes an index that is rebuilt in order of keys equal to the one that was lost.
"""

# ruff: noqa: S608 - names come from our own tables, values are bound

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import apsw

from pacsnode.dicom import syntax
from pacsnode.errors import DuplicateRefused
from pacsnode.index import changes, entry
from pacsnode.index.matching import VALUE_SEPARATOR, significant
from pacsnode.model import DuplicatePolicy, Instance, InstanceHeader, Key, Level, Outcome, Uid

_MAX_REMEMBERED = 10_000  # rows of each table

K = TypeVar("K")
V = TypeVar("V")


def _insert(table: str, columns: Iterable[str]) -> str:
    names = list(columns)
    quoted = ", ".join(f'"{name}"' for name in names)
    return f"INSERT INTO {table} ({quoted}) VALUES ({', '.join('?' * len(names))})"


def _update(table: str, columns: Iterable[str]) -> str:
    assigned = ", ".join(f'"{name}" = ?' for name in columns)
    return f"UPDATE {table} SET {assigned} WHERE id = ?"


_INSERT_PATIENT = _insert(
    "patient",
    (*entry.columns(Level.PATIENT), "described_by", "studies", "series", "instances", "versions"),
)
_INSERT_STUDY = _insert(
    "study",
    (
        *entry.columns(Level.STUDY),
        *("described_by", "patient", "series", "instances", "bytes", "modalities", "sop_classes"),
    ),
)
_INSERT_SERIES = _insert("series", (*entry.columns(Level.SERIES), "described_by", "study", "instances"))
_INSERT_INSTANCE = _insert("instance", ("series", "patient", *entry.row_columns(), "is_current"))
_RELOCATE_INSTANCE = _update("instance", entry.STORED)
_DESCRIBE_PATIENT = _update("patient", (*entry.columns(Level.PATIENT), "described_by"))
_DESCRIBE_STUDY = _update("study", (*entry.columns(Level.STUDY), "described_by"))
_DESCRIBE_SERIES = _update("series", (*entry.columns(Level.SERIES), "described_by"))

_COUNT_SERIES = "UPDATE series SET instances = instances + ? WHERE id = ? RETURNING instances"
_COUNT_STUDY = (
    "UPDATE study SET series = series + ?, instances = instances + ?, bytes = bytes + ? WHERE id = ?"
    " RETURNING instances"
)
_COUNT_PATIENT = (
    "UPDATE patient SET studies = studies + ?, series = series + ?, instances = instances + ?, versions = versions + ?"
    " WHERE id = ? RETURNING instances"
)
_COUNT_NAMED = "UPDATE patient SET versions = versions + ? WHERE id = ?"
_COUNT_TOTALS = (
    "UPDATE totals SET patients = patients + ?, studies = studies + ?, series = series + ?,"
    " instances = instances + ?, bytes = bytes + ?"
)
_SELECT_VERSION = (
    "SELECT instance.id, key, digest, size, sop_class_uid, is_current, instance.series, instance.patient, series.study"
    " FROM instance CROSS JOIN series ON series.id = instance.series"
)
_SELECT_STUDY = "SELECT id, described_by, patient, modalities, sop_classes FROM study"


@dataclass(slots=True)
class _Patient:
    id: int
    described_by: str


@dataclass(slots=True)
class _Study:
    id: int
    described_by: str
    patient: int
    modalities: str
    sop_classes: str


@dataclass(slots=True)
class _Series:
    id: int
    described_by: str
    modality: str


@dataclass(slots=True)
class _Version:
    id: int
    key: str
    digest: bytes
    size: int
    sop_class_uid: str
    is_current: int
    series: int
    patient: int
    study: int


@dataclass(slots=True)
class _Remembered:
    """Rows as they are, with all that this transaction did so far: of no worth once it is rolled back."""

    patients: dict[tuple[str, str], _Patient] = field(default_factory=dict)
    studies: dict[str, _Study] = field(default_factory=dict)
    series: dict[tuple[int, str], _Series] = field(default_factory=dict)


class Bookkeeping:
    """Keeps rows and counts right. Used by the thread that holds the write transaction."""

    def __init__(self, connection: apsw.Connection, duplicates: DuplicatePolicy) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._duplicates = duplicates
        self._remembered = _Remembered()

    def forget(self) -> None:
        """Trust nothing but the tables from here on."""
        self._remembered = _Remembered()

    def add(self, instance: Instance, row: entry.Values, compared: Collection[Key] = ()) -> Outcome:
        """See Index.add and add_beside; ``row`` is what entry.row_of made of it."""
        current = self._current(significant(instance.header.sop_instance_uid))
        if current is not None:
            known = self._judge(instance, compared)
            if known is not None:
                return known
        return self._enter(instance, row, current)

    def put_back(self, instance: Instance, row: entry.Values) -> Outcome:
        """See Index.put_back; ``row`` is what entry.row_of made of it."""
        if self._version("key = ?", instance.stored.key) is not None:
            return Outcome.ALREADY_THERE
        return self._enter(instance, row, self._current(significant(instance.header.sop_instance_uid)))

    def _enter(self, instance: Instance, row: entry.Values, current: _Version | None) -> Outcome:
        header, key = instance.header, instance.stored.key
        is_current = current is None or current.key < key
        if current is not None and is_current:
            self._supersede(current)
        patient = self._patient(header, key)
        study = self._study(header, key, patient)
        series = self._series(header, key, study)
        self._execute(_INSERT_INSTANCE, (series.id, patient.id, *row, int(is_current)))
        counts_at_once = is_current and study.patient == patient.id  # nearly always: one statement less
        if not counts_at_once:
            self._execute(_COUNT_NAMED, (1, patient.id))
        if is_current:
            size, sop_class = instance.stored.size, significant(header.sop_class_uid)
            self._count(study, series, size, sop_class, 1, versions=int(counts_at_once))
        return Outcome.STORED if current is None else Outcome.NEW_VERSION

    def relocate(self, old: Key, instance: Instance) -> bool:
        """See Index.relocate. What the old key described, the new one describes."""
        uid, new = significant(instance.header.sop_instance_uid), instance.stored
        version = self._version("key = ? AND sop_instance_uid = ?", old, uid)
        if version is None:
            return False
        self.forget()
        self._execute(_RELOCATE_INSTANCE, (*entry.stored_values(instance), version.id))
        self._execute(changes.NOTE, (old, version.id))
        places = (("patient", version.patient), ("study", version.study), ("series", version.series))
        for table, row in places:
            statement = f"UPDATE {table} SET described_by = ? WHERE id = ? AND described_by = ?"
            self._execute(statement, (new.key, row, old))
        if version.is_current:
            more = new.size - version.size
            self._execute("UPDATE study SET bytes = bytes + ? WHERE id = ?", (more, version.study))
            self._execute(_COUNT_TOTALS, (0, 0, 0, 0, more))
        return True

    def remove(self, uid: Uid) -> Instance | None:
        """See Index.remove. Entities without any version are gone; the others keep their description."""
        version = self._current(uid)
        return None if version is None else self._removed(version)

    def strike(self, key: Key) -> Instance | None:
        """See Index.strike."""
        version = self._version("key = ?", key)
        return None if version is None else self._removed(version)

    def _removed(self, version: _Version) -> Instance:
        self.forget()
        statement = f"SELECT {entry.INSTANCE_COLUMNS} FROM {entry.INSTANCE_TABLES} WHERE instance.id = ?"
        removed = entry.instance_of(self._execute(statement, (version.id,)).get)
        self._execute("DELETE FROM instance WHERE id = ?", (version.id,))
        self._execute(changes.NOTE, (version.key, version.id))
        self._execute(_COUNT_NAMED, (-1, version.patient))
        study = self._study_of(version)
        if version.is_current:
            self._count_version(version, -1)
            uid = significant(removed.header.sop_instance_uid)
            older = self._version("sop_instance_uid = ? AND is_current = 0 ORDER BY key DESC LIMIT 1", uid)
            if older is not None:
                self._execute("UPDATE instance SET is_current = 1 WHERE id = ?", (older.id,))
                self._count_version(older, 1)
        self._drop_empty(version, study)
        return removed

    def _current(self, uid: str) -> _Version | None:
        return self._version("sop_instance_uid = ? AND is_current = 1", uid)

    def _version(self, where: str, *parameters: str) -> _Version | None:
        row = self._execute(f"{_SELECT_VERSION} WHERE {where}", parameters).get
        return None if row is None else _Version(*row)

    def _judge(self, instance: Instance, compared: Collection[Key]) -> Outcome | None:
        """What becomes of an instance whose UID is known; None where it is to be kept as another version."""
        uid = significant(instance.header.sop_instance_uid)
        key, digest = instance.stored.key, bytes.fromhex(instance.stored.digest)
        select = f"SELECT key, digest, transfer_syntax_uid FROM instance WHERE {entry.VERSIONS}"
        versions: list[tuple[Any, ...]] = self._execute(select, (uid,)).fetchall()
        if any(version == key or content == digest for version, content, _ in versions):
            return Outcome.ALREADY_THERE
        encoding = instance.stored.transfer_syntax_uid
        if any(version not in compared and _may_hold_the_same(encoding, other) for version, _, other in versions):
            return Outcome.UNDECIDED
        if self._duplicates is DuplicatePolicy.FIRST:
            return Outcome.KEPT_FIRST
        if self._duplicates is DuplicatePolicy.REJECT:
            raise DuplicateRefused("the SOP instance is already here with other content")
        return None

    def _supersede(self, version: _Version) -> None:
        self.forget()
        self._execute("UPDATE instance SET is_current = 0 WHERE id = ?", (version.id,))
        self._count_version(version, -1)

    def _patient(self, header: InstanceHeader, key: Key) -> _Patient:
        identity = (significant(header.patient_id), significant(header.issuer_of_patient_id))
        patient = self._remembered.patients.get(identity)
        if patient is None:
            select = "SELECT id, described_by FROM patient WHERE patient_id = ? AND issuer_of_patient_id = ?"
            row = self._execute(select, identity).get
            if row is None:
                values = entry.describe(header, Level.PATIENT)
                row = self._inserted(_INSERT_PATIENT, (*values, key, 0, 0, 0, 0)), key
            patient = _remember(self._remembered.patients, identity, _Patient(*row))
        if key < patient.described_by:
            self._execute(_DESCRIBE_PATIENT, (*entry.describe(header, Level.PATIENT), key, patient.id))
            patient.described_by = key
        return patient

    def _study(self, header: InstanceHeader, key: Key, patient: _Patient) -> _Study:
        uid = significant(header.study_instance_uid)
        study = self._remembered.studies.get(uid)
        if study is None:
            row = self._execute(f"{_SELECT_STUDY} WHERE study_instance_uid = ?", (uid,)).get
            if row is None:
                values = entry.describe(header, Level.STUDY)
                row = self._inserted(_INSERT_STUDY, (*values, key, patient.id, 0, 0, 0, "", ""))
                row = (row, key, patient.id, "", "")
            study = _remember(self._remembered.studies, uid, _Study(*row))
        if key < study.described_by:
            self._execute(_DESCRIBE_STUDY, (*entry.describe(header, Level.STUDY), key, study.id))
            study.described_by = key
            if study.patient != patient.id:
                self._move(study, patient.id)
        return study

    def _series(self, header: InstanceHeader, key: Key, study: _Study) -> _Series:
        identity = (study.id, significant(header.series_instance_uid))
        series = self._remembered.series.get(identity)
        if series is None:
            select = "SELECT id, described_by, modality FROM series WHERE study = ? AND series_instance_uid = ?"
            row = self._execute(select, identity).get
            if row is None:
                values = entry.describe(header, Level.SERIES)
                row = self._inserted(_INSERT_SERIES, (*values, key, study.id, 0)), key, significant(header.modality)
            series = _remember(self._remembered.series, identity, _Series(*row))
        if key < series.described_by:
            self._execute(_DESCRIBE_SERIES, (*entry.describe(header, Level.SERIES), key, series.id))
            series.described_by, series.modality = key, significant(header.modality)
            self._collect_modalities(study)
        return series

    def _inserted(self, statement: str, values: tuple[apsw.SQLiteValue, ...]) -> int:
        self._execute(statement, values)
        return self._connection.last_insert_rowid()

    def _move(self, study: _Study, patient: int) -> None:
        """The study turned out to belong to another patient."""
        series, instances = self._execute("SELECT series, instances FROM study WHERE id = ?", (study.id,)).get
        studies = int(instances > 0)
        self._execute("UPDATE study SET patient = ? WHERE id = ?", (patient, study.id))
        left = self._execute(_COUNT_PATIENT, (-studies, -series, -instances, 0, study.patient)).get
        now = self._execute(_COUNT_PATIENT, (studies, series, instances, 0, patient)).get
        change = (int(now == instances) - int(left == 0)) if studies else 0
        self._execute(_COUNT_TOTALS, (change, 0, 0, 0, 0))
        self._drop_patient(study.patient)
        study.patient = patient

    def _study_of(self, version: _Version) -> _Study:
        return _Study(*self._execute(f"{_SELECT_STUDY} WHERE id = ?", (version.study,)).get)

    def _count_version(self, version: _Version, sign: int) -> None:
        """Count a row that is there already."""
        row = self._execute("SELECT id, described_by, modality FROM series WHERE id = ?", (version.series,)).get
        self._count(self._study_of(version), _Series(*row), version.size, version.sop_class_uid, sign)

    def _count(
        self, study: _Study, series: _Series, size: int, sop_class: str, sign: int, *, versions: int = 0
    ) -> None:
        """Take a current instance into the counts of all that is above it (sign 1), or out of them (sign -1).

        ``versions``: how many more name the study's patient.
        """
        edge = 1 if sign > 0 else 0  # how many are there when the entity has just appeared, or just vanished
        left = self._execute(_COUNT_SERIES, (sign, series.id)).get
        of_series = sign if left == edge else 0
        left = self._execute(_COUNT_STUDY, (of_series, sign, sign * size, study.id)).get
        of_studies = sign if left == edge else 0
        left = self._execute(_COUNT_PATIENT, (of_studies, of_series, sign, versions, study.patient)).get
        of_patients = sign if left == edge else 0
        self._execute(_COUNT_TOTALS, (of_patients, of_studies, of_series, sign, sign * size))
        if of_series:
            self._collect_modalities(study)
        if sign > 0:
            self._set_sop_classes(study, _joined((study.sop_classes, sop_class)))
        else:
            self._collect_sop_classes(study, sop_class)

    def _collect_modalities(self, study: _Study) -> None:
        rows = self._execute("SELECT modality FROM series WHERE study = ? AND instances > 0", (study.id,))
        modalities = _joined(row[0] for row in rows)
        if modalities != study.modalities:
            self._execute("UPDATE study SET modalities = ? WHERE id = ?", (modalities, study.id))
            study.modalities = modalities

    def _collect_sop_classes(self, study: _Study, removed: str) -> None:
        below = "FROM series CROSS JOIN instance ON instance.series = series.id WHERE study = ? AND is_current = 1"
        another = f"SELECT EXISTS (SELECT 1 {below} AND sop_class_uid = ?)"
        if not self._execute(another, (study.id, removed)).get:
            rows = self._execute(f"SELECT DISTINCT sop_class_uid {below}", (study.id,))
            self._set_sop_classes(study, _joined(row[0] for row in rows))

    def _set_sop_classes(self, study: _Study, sop_classes: str) -> None:
        if sop_classes != study.sop_classes:
            self._execute("UPDATE study SET sop_classes = ? WHERE id = ?", (sop_classes, study.id))
            study.sop_classes = sop_classes

    def _drop_empty(self, version: _Version, study: _Study) -> None:
        series = "DELETE FROM series WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM instance WHERE series = ?1)"
        self._execute(series, (version.series,))
        self._execute(
            "DELETE FROM study WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM series WHERE study = ?1)", (study.id,)
        )
        self._drop_patient(study.patient)
        self._drop_patient(version.patient)

    def _drop_patient(self, patient: int) -> None:
        self._execute(
            "DELETE FROM patient WHERE id = ?1 AND versions = 0"
            " AND NOT EXISTS (SELECT 1 FROM study WHERE patient = ?1)",
            (patient,),
        )


def _remember(rows: dict[K, V], key: K, row: V) -> V:
    if len(rows) >= _MAX_REMEMBERED:
        rows.clear()
    rows[key] = row
    return row


def _joined(lists: Iterable[str]) -> str:
    """The distinct values of backslash-joined lists, sorted and joined again."""
    return VALUE_SEPARATOR.join(sorted({value for values in lists for value in values.split(VALUE_SEPARATOR) if value}))


def _may_hold_the_same(encoding: Uid, other: Uid) -> bool:
    """May one of the two data sets, with different digests, be the other one encoded anew?"""
    return syntax.is_encapsulated(encoding) or syntax.is_encapsulated(other)
