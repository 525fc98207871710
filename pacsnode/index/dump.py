"""The whole index as text-book rows: what two indexes must have in common to be equal."""

# ruff: noqa: S608 - names come from our own tables

from __future__ import annotations

from pacsnode.index import schema


def _columns(table: str, names: tuple[str, ...], parents: frozenset[str] = frozenset()) -> str:
    return ", ".join(f'{table}."{name}"' for name in names if name not in parents)


_PATIENT = "patient.patient_id, patient.issuer_of_patient_id"

STATEMENTS: tuple[str, ...] = (
    "SELECT 'schema', version FROM schema_version",
    "SELECT 'totals', patients, studies, series, instances, bytes FROM totals",
    f"SELECT 'patient', {_columns('patient', schema.columns_of(schema.Patient))} FROM patient ORDER BY {_PATIENT}",
    f"SELECT 'study', {_PATIENT}, {_columns('study', schema.columns_of(schema.Study), frozenset({'patient'}))}"
    " FROM study JOIN patient ON patient.id = study.patient ORDER BY study.study_instance_uid",
    "SELECT 'series', study.study_instance_uid,"
    f" {_columns('series', schema.columns_of(schema.Series), frozenset({'study'}))}"
    " FROM series JOIN study ON study.id = series.study"
    " ORDER BY study.study_instance_uid, series.series_instance_uid",
    "SELECT 'instance', study.study_instance_uid, series.series_instance_uid, named.patient_id,"
    " named.issuer_of_patient_id,"
    f" {_columns('instance', schema.columns_of(schema.Instance), frozenset({'series', 'patient'}))}"
    " FROM instance JOIN series ON series.id = instance.series JOIN study ON study.id = series.study"
    " JOIN patient AS named ON named.id = instance.patient ORDER BY instance.key",
)
"""One for each table, in a stable order."""
