"""A file is of exactly one schema, and only ``upgrade`` takes it to the next."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from pacsnode.errors import IndexFailure
from pacsnode.index import migrations, schema
from pacsnode.index.migrations import Migration
from pacsnode.index.sqlite import SqliteIndex
from tests.index.samples import everything_about, instance

NEXT = schema.SCHEMA_VERSION + 1
STEPS = (
    Migration(NEXT, "Add a column", lambda connection: add_column(connection, "first")),
    Migration(NEXT + 1, "Add another", lambda connection: add_column(connection, "second")),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "index.db"
    index = SqliteIndex(path)
    index.add(instance(1))
    index.close()
    return path


def add_column(connection: apsw.Connection, name: str) -> None:
    connection.execute(f"ALTER TABLE totals ADD COLUMN {name} TEXT")


def drop_journal(connection: apsw.Connection) -> None:
    for table in ("identity", "change"):
        connection.execute(f"DROP TABLE {table}")


def set_version(path: Path, version: int) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE schema_version SET version = ?", (version,))
    connection.close()


def test_versions_are_without_gaps() -> None:
    """The migrations of this program lead step by step to its schema."""
    steps = [migration.version for migration in migrations.MIGRATIONS]

    assert list(range(2, schema.SCHEMA_VERSION + 1)) == steps


@pytest.mark.parametrize("read_only", [False, True])
def test_older_schema(path: Path, read_only: bool) -> None:
    """An older schema is not touched, and the error says what to run."""
    set_version(path, schema.SCHEMA_VERSION - 1)

    with pytest.raises(IndexFailure, match=r"not an index|run: pacsnode db upgrade"):
        SqliteIndex(path, read_only=read_only)


def test_older_schema_says_what_to_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator reads the command to run in the error."""
    monkeypatch.setattr(schema, "SCHEMA_VERSION", NEXT)

    with pytest.raises(IndexFailure, match="run: pacsnode db upgrade"):
        SqliteIndex(path)


@pytest.mark.parametrize("read_only", [False, True])
def test_newer_schema(path: Path, read_only: bool) -> None:
    """A newer schema is refused, by upgrade, too."""
    set_version(path, NEXT)

    with pytest.raises(IndexFailure, match="newer"):
        SqliteIndex(path, read_only=read_only)
    with pytest.raises(IndexFailure, match="newer"):
        migrations.upgrade(path)


def test_upgrade_is_as_good_as_new(tmp_path: Path) -> None:
    """A file of the first schema, with the names of then, comes to hold the indexes and names of a fresh one."""
    fresh, old = tmp_path / "fresh.db", tmp_path / "old.db"
    for path in (fresh, old):
        index = SqliteIndex(path)
        index.add(everything_about(1))
        index.close()
    connection = apsw.Connection(str(old))
    for number in ("group_1", "group_2", "group_3", "more"):
        connection.execute(f"DROP INDEX patient_name_comparable_{number}")
    connection.execute("CREATE INDEX patient_name_several ON patient (instr(patient_name_comparable, '='))")
    connection.execute("UPDATE patient SET patient_name_comparable = 'before'")
    connection.execute("UPDATE study SET referring_physician_name_comparable = 'before'")
    drop_journal(connection)
    connection.close()
    set_version(old, 2)

    assert migrations.upgrade(old)

    assert contents(fresh) == contents(old)


def contents(path: Path) -> tuple[list[tuple[object, ...]], list[object]]:
    """All rows, and the definitions of all indexes."""
    index = SqliteIndex(path, read_only=True)
    rows = list(index.dump())
    index.close()
    connection = apsw.Connection(str(path))
    indexes = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index' ORDER BY name").fetchall()
    connection.close()
    return rows, list(indexes)


def test_foreign_database(tmp_path: Path) -> None:
    """A SQLite file of somebody else is not given our tables."""
    path = tmp_path / "other.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()

    with pytest.raises(IndexFailure, match="not an index"):
        SqliteIndex(path)


def columns_of(connection: apsw.Connection) -> set[tuple[str, str, str, bool]]:
    """Table, column, type, and whether it may be NULL."""
    tables = [str(row[0]) for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    rows = {table: connection.execute(f"PRAGMA table_info({table})").fetchall() for table in tables}
    return {(table, str(row[1]), str(row[2]), row[3] == 1) for table in tables for row in rows[table]}


def test_from_the_first_schema(path: Path) -> None:
    """The steps from schema 1 lead to what a fresh file has; the new keys are unknown for what was there."""
    connection = apsw.Connection(str(path))
    expected = columns_of(connection)
    for table, columns in migrations._COLUMNS_OF_2.items():
        for column in columns.split():
            connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    drop_journal(connection)
    connection.execute("UPDATE schema_version SET version = 1")
    connection.close()

    assert [migration.title for migration in migrations.MIGRATIONS] == migrations.upgrade(path)

    connection = apsw.Connection(str(path))
    assert expected == columns_of(connection)
    connection.close()
    index = SqliteIndex(path)
    assert instance(1) == index.current(instance(1).header.sop_instance_uid)
    index.close()


def test_nothing_to_upgrade(path: Path) -> None:
    """A current file needs no step; a missing one is an error, and is not created."""
    assert [] == migrations.upgrade(path)
    with pytest.raises(IndexFailure, match="does not exist"):
        migrations.upgrade(path.with_name("none.db"))
    assert not path.with_name("none.db").exists()


def test_upgrade_takes_the_steps_in_order(path: Path) -> None:
    """Each step is taken once, and its title is told."""
    assert ["Add a column", "Add another"] == migrations.upgrade(path, STEPS)
    assert [] == migrations.upgrade(path, STEPS)

    connection = apsw.Connection(str(path))
    assert NEXT + 1 == migrations.version_of(connection)
    assert 1 == connection.execute("SELECT count(first IS NULL AND second IS NULL) FROM totals").get
    connection.close()


def test_failed_step_leaves_the_schema_before_it(path: Path) -> None:
    """A step that fails changes nothing; those before it stay, and the next try goes on from there."""
    broken = Migration(NEXT + 1, "Fails", lambda connection: add_column(connection, "first"))

    with pytest.raises(IndexFailure, match="duplicate column"):
        migrations.upgrade(path, (STEPS[0], broken))
    assert ["Add another"] == migrations.upgrade(path, STEPS)
