"""The tables. Every attribute of the header is a column of its entity's table; a fresh file gets exactly this.

Columns that end in ``_comparable`` hold the form of matching.py, sequences the JSON of dicom/items.py. ``described_by``
is the smallest key among all versions below an entity: that instance describes it, so that the order of arrival does
not matter to the outcome.
"""

from __future__ import annotations

from typing import Any

import apsw
from peewee import AutoField, BlobField, ForeignKeyField, IntegerField, Model, SchemaManager, SqliteDatabase, TextField

from pacsnode.index import changes, groups

SCHEMA_VERSION = 4


class _Table(Model):
    id = AutoField()

    class Meta:
        strict_tables = True


class Patient(_Table):
    """A patient, identified by Patient ID and its issuer."""

    patient_id = TextField()
    issuer_of_patient_id = TextField()
    patient_name = TextField()
    patient_name_comparable = TextField(index=True)
    patient_birth_date = TextField()
    patient_birth_time = TextField()
    patient_birth_time_comparable = TextField()
    patient_sex = TextField()
    other_patient_ids = TextField()
    other_patient_names = TextField()
    other_patient_names_comparable = TextField()
    ethnic_group = TextField()

    described_by = TextField()
    studies = IntegerField()  # this and what follows: current versions below
    series = IntegerField()
    instances = IntegerField()
    versions = IntegerField()  # rows of any version that name this patient, wherever their study belongs

    class Meta:
        """What identifies it."""

        indexes = ((("patient_id", "issuer_of_patient_id"), True),)


class Study(_Table):
    """A study. It belongs to the patient that the instance it is described by names."""

    patient = ForeignKeyField(Patient, column_name="patient", index=True)
    study_instance_uid = TextField(unique=True)
    study_date = TextField()
    study_time = TextField()
    study_time_comparable = TextField()
    accession_number = TextField(index=True)
    study_id = TextField()
    study_description = TextField()
    referring_physician_name = TextField()
    referring_physician_name_comparable = TextField()
    name_of_physicians_reading_study = TextField()
    name_of_physicians_reading_study_comparable = TextField()
    admitting_diagnoses_description = TextField()
    patient_age = TextField()
    patient_size = TextField()
    patient_weight = TextField()
    occupation = TextField()
    procedure_code_sequence = TextField()

    described_by = TextField()
    series = IntegerField()
    instances = IntegerField()
    bytes = IntegerField()
    modalities = TextField()  # sorted and distinct, joined by backslash
    sop_classes = TextField()


class Series(_Table):
    """A series of one study; the same UID in two studies is two series."""

    study = ForeignKeyField(Study, column_name="study", index=False)
    series_instance_uid = TextField(index=True)
    modality = TextField()
    series_number = TextField()
    series_description = TextField()
    series_date = TextField()
    series_time = TextField()
    series_time_comparable = TextField()
    body_part_examined = TextField()
    protocol_name = TextField()
    station_name = TextField()
    laterality = TextField()
    institution_name = TextField()
    institutional_department_name = TextField()
    manufacturer = TextField()
    manufacturer_model_name = TextField()
    performing_physician_name = TextField()
    performing_physician_name_comparable = TextField()
    operators_name = TextField()
    operators_name_comparable = TextField()
    performed_procedure_step_start_date = TextField()
    performed_procedure_step_start_time = TextField()
    performed_procedure_step_start_time_comparable = TextField()
    request_attributes_sequence = TextField()

    described_by = TextField()
    instances = IntegerField()

    class Meta:
        """What identifies it."""

        indexes = ((("study", "series_instance_uid"), True),)


class Instance(_Table):
    """One version of a SOP instance; at most one of a UID is current."""

    series = ForeignKeyField(Series, column_name="series", index=False)
    patient = IntegerField()  # the row of the patient it names itself
    sop_instance_uid = TextField()
    sop_class_uid = TextField()
    instance_number = TextField()
    instance_number_comparable = IntegerField()
    content_date = TextField()
    content_time = TextField()
    content_time_comparable = TextField()
    acquisition_number = TextField()
    acquisition_date = TextField()
    acquisition_time = TextField()
    acquisition_time_comparable = TextField()
    acquisition_date_time = TextField()
    acquisition_date_time_comparable = TextField()
    concept_name_code_sequence = TextField()
    image_type = TextField()
    number_of_frames = TextField()
    rows = TextField()
    columns = TextField()
    bits_allocated = TextField()

    key = TextField(unique=True)
    size = IntegerField()
    digest = BlobField()
    transfer_syntax_uid = TextField()
    offset = IntegerField()
    received_at = IntegerField()  # microseconds since 1970, UTC
    calling_ae = TextField()
    called_ae = TextField()
    is_current = IntegerField()

    class Meta:
        """The order in which a series is read."""

        indexes = ((("series", "instance_number_comparable"), False),)


class Totals(_Table):
    """One row: counts over current versions, kept on write."""

    patients = IntegerField()
    studies = IntegerField()
    series = IntegerField()
    instances = IntegerField()
    bytes = IntegerField()


class SchemaVersion(_Table):
    """One row: which schema this file has."""

    version = IntegerField()

    class Meta:
        """Its name."""

        table_name = "schema_version"


TABLES: tuple[type[Model], ...] = (Patient, Study, Series, Instance, Totals, SchemaVersion)

NO_NUMBER = -(2**63)  # instance_number_comparable where there is no number: sorts first, equals nothing

_MORE_INDEXES = (
    "CREATE INDEX study_date_comparable ON study (replace(study_date, '.', ''))",
    "CREATE UNIQUE INDEX instance_current ON instance (sop_instance_uid) WHERE is_current = 1",
    "CREATE INDEX instance_superseded ON instance (sop_instance_uid) WHERE is_current = 0",
    # Rows with several values in one column are rare: finding them apart keeps the ordinary comparison on its index.
    r"CREATE INDEX patient_id_several ON patient (instr(patient_id, '\')) WHERE instr(patient_id, '\') > 0",
    *groups.indexes("patient", "patient_name_comparable"),
    r"CREATE INDEX accession_number_several ON study (instr(accession_number, '\'))"
    r" WHERE instr(accession_number, '\') > 0",
    r"CREATE INDEX study_date_several ON study (instr(replace(study_date, '.', ''), '\'))"
    r" WHERE instr(replace(study_date, '.', ''), '\') > 0",
)


def create(database: SqliteDatabase, connection: apsw.Connection) -> None:
    """Create all tables and indexes of the current schema, and its journal. The caller holds the transaction."""
    for table in TABLES:
        SchemaManager(table, database).create_all(safe=False)
    for statement in (*_MORE_INDEXES, *changes.JOURNAL):
        connection.execute(statement)
    connection.execute("INSERT INTO totals VALUES (1, 0, 0, 0, 0, 0)")
    connection.execute("INSERT INTO schema_version VALUES (1, ?)", (SCHEMA_VERSION,))


def columns_of(table: type[Model]) -> tuple[str, ...]:
    """Names of all columns but the row id, as created."""
    fields: list[Any] = table._meta.sorted_fields
    return tuple(field.column_name for field in fields if field.column_name != "id")
