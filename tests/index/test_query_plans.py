"""The queries of every day find their rows through an index, never by walking a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pacsnode.dicom.attributes import ATTRIBUTES, Requirement
from pacsnode.index import entry, sql, statements
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Condition, Level, Moments, OneOf, Query, Range, Wildcard


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SqliteIndex]:
    index = SqliteIndex(tmp_path / "index.db")
    yield index
    index.close()


def walked(index: SqliteIndex, statement: str, values: tuple[str | int, ...]) -> list[str]:
    """The steps of the plan that read a whole table of ours."""
    assert index._writer is not None
    plan = [str(row[3]) for row in index._writer.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert plan
    return [
        step
        for step in plan
        if step.startswith("SCAN") and step.split()[1] in ("patient", "study", "series", "instance")
    ]


def first_statement(query: Query) -> str:
    """The first search of a query that asks for ``NAMES``."""
    return statements.first(query, NAMES, sql.selection(query, *statements.levels(query.level, NAMES)))


REQUIRED = {"patient_id"} | {one.name for one in ATTRIBUTES if one.requirement is Requirement.REQUIRED}
SELECTIVE: dict[str, dict[str, Condition]] = {
    "study UID": {"study_instance_uid": OneOf(("1.2.3",))},
    "several study UIDs": {"study_instance_uid": OneOf(("1.2.3", "1.2.4"))},
    "patient ID": {"patient_id": OneOf(("P",))},
    "patient ID by wildcard": {"patient_id": Wildcard("P*1")},
    "date": {"study_date": OneOf(("20240229",))},
    "dates": {"study_date": Range("20240228", "20240229")},
    "dates from": {"study_date": Range("20240228", None)},
    "accession number": {"accession_number": OneOf(("A",))},
    "name": {"patient_name": OneOf(("Doe^John",))},
    "name by wildcard": {"patient_name": Wildcard("Doe^J*n")},
    "name by two groups": {"patient_name": Wildcard("Doe*=山*")},
    "name by its ideographic group": {"patient_name": Wildcard("*=山*")},
    "name by its phonetic group": {"patient_name": OneOf(("==やま^だ",))},
    "several names": {"patient_name": OneOf(("Doe^John", "山^田", "Doe=山"))},
    "name and date": {"patient_name": Wildcard("D*"), "study_date": OneOf(("20240229",))},
    "dates with times": {"study_date": Moments("study_time", "20240228100000.000000", "20240229120000.000000")},
    "dates with times from": {"study_date": Moments("study_time", "20240228100000.000000", None)},
    "name in the middle, and date": {"patient_name": Wildcard("*D*"), "study_date": OneOf(("20240229",))},
}


NAMES = ("patient_id", "patient_name", "study_instance_uid", "study_date")
UID, NUMBER, DATE = OneOf(("1.2.3",)), OneOf(("A",)), OneOf(("20240229",))
DATES, OPEN = Range("20240101", "20240229"), Range("20240101", None)
NAME, PREFIX, LETTER = OneOf(("Doe^John",)), Wildcard("Doe*"), Wildcard("D*")
FIRST: dict[str, tuple[dict[str, Condition], Level]] = {
    "study UID, name": ({"study_instance_uid": UID, "patient_name": NAME}, Level.STUDY),
    "study UID, patient ID": ({"patient_id": NUMBER, "study_instance_uid": UID}, Level.STUDY),
    "patient ID, date": ({"study_date": DATE, "patient_id": NUMBER}, Level.PATIENT),
    "accession number, name": ({"patient_name": NAME, "accession_number": NUMBER}, Level.STUDY),
    "name, date": ({"study_date": DATE, "patient_name": NAME}, Level.PATIENT),
    "three letters, date": ({"study_date": DATE, "patient_name": PREFIX}, Level.PATIENT),
    "three letters, dates": ({"study_date": DATES, "patient_name": PREFIX}, Level.PATIENT),
    "date, one letter": ({"patient_name": LETTER, "study_date": DATE}, Level.STUDY),
    "dates, one letter": ({"patient_name": LETTER, "study_date": DATES}, Level.STUDY),
    "one letter, dates from": ({"patient_name": LETTER, "study_date": OPEN}, Level.PATIENT),
    "dates from, name in the middle": ({"patient_name": Wildcard("*D*"), "study_date": OPEN}, Level.STUDY),
}


@pytest.mark.parametrize(("conditions", "first"), FIRST.values(), ids=FIRST)
def test_where_a_search_begins(index: SqliteIndex, conditions: dict[str, Condition], first: Level) -> None:
    """The condition that narrows most leads, whatever order they come in: SQLite searches its table first."""
    for ordered in (conditions, dict(reversed(conditions.items()))):
        query = Query(Level.STUDY, ordered)
        found = sql.selection(query)

        assert index._writer is not None
        statement = f"EXPLAIN QUERY PLAN {first_statement(query)}"
        plan = [str(row[3]) for row in index._writer.connection.execute(statement, found.where.values)]
        searched = [step.split()[1] for step in plan if step.startswith(("SEARCH patient ", "SEARCH study "))]

        assert entry.TABLE_OF[first] == searched[0]


UNKNOWN_FIRST: dict[str, tuple[dict[str, Condition], str]] = {
    "accession number": ({"accession_number": NUMBER}, "study_accession_number"),
    "accession number, date": ({"accession_number": NUMBER, "study_date": DATE}, "study_date_comparable"),
    "accession number, dates": ({"accession_number": NUMBER, "study_date": DATES}, "study_date_comparable"),
    "accession number, name": ({"accession_number": NUMBER, "patient_name": NAME}, "patient_patient_name_comparable"),
    "accession number, patient ID": ({"accession_number": NUMBER, "patient_id": NUMBER}, "patient_patient_id"),
    "accession number, study UID": ({"accession_number": NUMBER, "study_instance_uid": UID}, "study_study_instance"),
    "date, name": ({"study_date": DATE, "patient_name": NAME}, "patient_patient_name_comparable"),
}


@pytest.mark.parametrize(("conditions", "leading"), UNKNOWN_FIRST.values(), ids=UNKNOWN_FIRST)
def test_what_many_studies_are_without_does_not_lead(
    index: SqliteIndex, conditions: dict[str, Condition], leading: str
) -> None:
    """Where what is unknown matches, an accession number leads only if nothing else does; one index is used alone."""
    query = Query(Level.STUDY, conditions, unknown_matches=frozenset(REQUIRED))
    found = sql.selection(query)
    assert index._writer is not None
    statement = f"EXPLAIN QUERY PLAN {first_statement(query)}"
    plan = [str(row[3]) for row in index._writer.connection.execute(statement, found.where.values)]
    beside = ("_several", "study_patient", "INDEX patient_name_comparable_")  # the last: of a name's groups
    used = {
        step.split("INDEX ")[1].split()[0]
        for step in plan
        if "USING" in step and "INDEX " in step and not any(name in step for name in beside)
    }

    assert [True] == [name.startswith(leading) for name in used]


@pytest.mark.parametrize("unknown", [frozenset(), frozenset(REQUIRED)], ids=["known", "unknown"])
@pytest.mark.parametrize("conditions", SELECTIVE.values(), ids=SELECTIVE)
@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.IMAGE])
def test_selective_queries(
    index: SqliteIndex, level: Level, conditions: dict[str, Condition], unknown: frozenset[str]
) -> None:
    """A UID, an identifier, a date or the beginning of a name leads to the rows, also where what is unknown matches."""
    query = Query(level, conditions, unknown_matches=unknown)
    found = sql.selection(query)
    below = sql.selection(query, Level.STUDY, Level.SERIES)

    assert [] == walked(index, first_statement(query), found.where.values)
    assert [] == walked(index, statements.entities(query, found), (*found.where.values, 0))
    assert [] == walked(index, statements.series(below), (*below.where.values, 0, 0))


@pytest.mark.parametrize("name", ["series_instance_uid", "sop_instance_uid"])
def test_unique_keys_alone(index: SqliteIndex, name: str) -> None:
    """A series or an instance is found by its UID even without those above it."""
    query = Query(Level.IMAGE, {name: OneOf(("1.2.3",))})
    found = sql.selection(query)

    assert [] == walked(index, statements.entities(query, found), (*found.where.values, 0))


def test_rows_of_a_page(index: SqliteIndex) -> None:
    """What was found is read by row id, with all that is above it."""
    query = Query(Level.IMAGE, {}, ("patient_name", "study_date", "modality", "instance_number"))

    assert [] == walked(index, statements.page(query, query.requested), ("[1]",))


def test_versions_of_an_instance(index: SqliteIndex) -> None:
    """Whether an instance is here already, in whatever version, is found by its UID."""
    statement = f"SELECT 1 FROM instance WHERE {entry.VERSIONS} AND digest = ?"

    assert [] == walked(index, statement, ("1.2.3", "digest"))


def test_kinds_of_a_series(index: SqliteIndex) -> None:
    """Classes and syntaxes of a series are read from the rows of that series."""
    query = Query(Level.IMAGE, {"sop_instance_uid": OneOf(("1.2.3",))})
    within = sql.instance_conditions(query)

    assert [] == walked(index, statements.kinds(within), (1, *within.values))
