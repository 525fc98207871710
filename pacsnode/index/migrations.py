"""From one schema to the next. Each step is one transaction; a file is always of exactly one schema."""

# ruff: noqa: S608 - names come from our own tables

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import apsw
from playhouse.apsw_ext import APSWDatabase

from pacsnode.errors import IndexFailure
from pacsnode.index import changes, groups, matching, schema
from pacsnode.index.connection import connection_of, open_writer, translated


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: it leads to schema ``version`` from the one before."""

    version: int
    title: str
    apply: Callable[[apsw.Connection], None]


_COLUMNS_OF_2: Mapping[str, str] = {
    "patient": "other_patient_names other_patient_names_comparable ethnic_group",
    "study": "name_of_physicians_reading_study name_of_physicians_reading_study_comparable"
    " admitting_diagnoses_description patient_age patient_size patient_weight occupation procedure_code_sequence",
    "series": "laterality institution_name institutional_department_name manufacturer manufacturer_model_name"
    " performing_physician_name performing_physician_name_comparable operators_name operators_name_comparable"
    " performed_procedure_step_start_date performed_procedure_step_start_time"
    " performed_procedure_step_start_time_comparable request_attributes_sequence",
    "instance": "acquisition_number acquisition_date acquisition_time acquisition_time_comparable"
    " acquisition_date_time acquisition_date_time_comparable concept_name_code_sequence",
}


def _add_keys(connection: apsw.Connection) -> None:
    """What was stored before is unknown in the new columns, until the index is built anew from the objects."""
    for table, columns in _COLUMNS_OF_2.items():
        for column in columns.split():
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")


_NAMES: Mapping[str, tuple[str, ...]] = {
    "patient": ("patient_name", "other_patient_names"),
    "study": ("referring_physician_name", "name_of_physicians_reading_study"),
    "series": ("performing_physician_name", "operators_name"),
}


def _index_name_groups(connection: apsw.Connection) -> None:
    """Names as they are compared now, and an index for each of their component groups."""
    connection.create_scalar_function("comparable_name", _comparable_name, 1)
    for table, names in _NAMES.items():
        for name in names:
            connection.execute(f"UPDATE {table} SET {name}_comparable = comparable_name({name})")
    connection.execute("DROP INDEX IF EXISTS patient_name_several")
    for statement in groups.indexes("patient", "patient_name_comparable"):
        connection.execute(statement)


def _comparable_name(*values: apsw.SQLiteValue) -> str:
    return matching.comparable_name(str(values[0]))


def _add_journal(connection: apsw.Connection) -> None:
    for statement in changes.JOURNAL:
        connection.execute(statement)


MIGRATIONS: tuple[Migration, ...] = (
    Migration(2, "Add keys of C-FIND: sequences, ages, devices, people", _add_keys),
    Migration(3, "Find each component group of a name", _index_name_groups),
    Migration(4, "Keep a journal of what is removed and moved, for incremental backups", _add_journal),
)
"""In order, without gaps, the last one leading to ``schema.SCHEMA_VERSION``."""


def upgrade(path: Path, migrations: tuple[Migration, ...] = MIGRATIONS) -> list[str]:
    """Bring an index file to the current schema while no node runs on it; the titles of the steps taken.

    Raises IndexFailure where there is no index, or it is newer than this program; a failed step leaves
    the schema before it.
    """
    if not path.is_file():
        raise IndexFailure(f"index: {path} does not exist")
    with closing(open_writer(path)) as database, translated("upgrade failed"):
        connection, done = connection_of(database), []
        newest = migrations[-1].version if migrations else schema.SCHEMA_VERSION
        version = version_of(connection)
        if version == 0 or version > newest:
            raise _unusable(path, version)
        for migration in migrations:
            if migration.version > version:
                _take(connection, migration)
                done.append(migration.title)
    return done


def require_current(path: Path, connection: apsw.Connection) -> None:
    """Raise IndexFailure unless the file has exactly the schema of this program."""
    with translated("cannot read the schema"):
        version = version_of(connection)
    if version != schema.SCHEMA_VERSION:
        raise _unusable(path, version)


def create_where_empty(database: APSWDatabase) -> None:
    """Give a fresh file the current schema; a file that holds anything is left alone."""
    connection = connection_of(database)
    with translated("cannot create the schema"), connection:
        if connection.execute("SELECT count(*) FROM sqlite_schema").get == 0:
            schema.create(database, connection)


def version_of(connection: apsw.Connection) -> int:
    """The schema the file has; 0 where it is no index of ours."""
    if not connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'schema_version'").get:
        return 0
    return int(connection.execute("SELECT version FROM schema_version").get)


def _take(connection: apsw.Connection, migration: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        migration.apply(connection)
        connection.execute("UPDATE schema_version SET version = ?", (migration.version,))
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _unusable(path: Path, version: int) -> IndexFailure:
    if version == 0:
        return IndexFailure(f"index: {path} is not an index of pacsnode")
    if version < schema.SCHEMA_VERSION:
        return IndexFailure(f"index: {path} has schema {version}, older than this program; run: pacsnode db upgrade")
    return IndexFailure(f"index: {path} has schema {version}, newer than this program; a newer pacsnode wrote it")
