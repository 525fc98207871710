"""SQL and a matcher written from PS3.4 C.2.2.2 agree on any query."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pacsnode.dicom.attributes import ATTRIBUTES, BY_NAME, Attribute
from pacsnode.dicom.charset import fold
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Condition, Instance, Level, OneOf, Query, Range, Wildcard
from tests.index.samples import header, instance

STORED = {
    "patient_name": [
        *("Doe^John", "DOE^JÖRG^^", "Doe", "Yamada^Tarou=山田^太郎", "=山田", "d[o]e^x", ""),
        *("Yamada^Hanako=山田^花子=やまだ^はなこ", "Doe^J==ﾔﾏﾀﾞ^ﾊﾅｺ", "A=B=C=Doe^x"),
    ],
    "patient_id": ["1", "01", "A[b]", "A*", "a", "A\\B", ""],
    "other_patient_ids": ["A\\B\\\\C", "A", "AB\\XC", ""],
    "patient_birth_date": ["19700101", "1970.01.01", ""],
    "study_date": ["20240229", "2024.02.28", "20240227\\20240301", ""],
    "study_time": ["10", "1030", "10:30:15", "103015.5", "235959.999999", "noon", ""],
    "accession_number": ["A1", "a1", "A1 x", "A1\\A2", "\U0010ffff1", ""],
    "study_description": ["Thorax ünten", "THORAX", "*", "?", ""],
    "referring_physician_name": ["Who^Dr", "WHO^DR=誰", ""],
    "modality": ["CT", "MR", "CT\\SR", ""],
    "series_number": ["1", "01", "+1", "-1", "+", "1a", "99999999999999999999", "2\\3", ""],
    "instance_number": ["1", "001", "2", "x", ""],
    "content_time": ["0000", "2359", ""],
    "image_type": ["ORIGINAL\\PRIMARY", "DERIVED\\SECONDARY\\OTHER", ""],
    "patient_weight": ["70", "70.50", "+7.05e1", "heavy", ""],
    "patient_age": ["070Y", "011M", ""],
    "acquisition_date_time": ["2024", "20240229103015.5", "20240229113015.5+0100", "20240301-0500", "noon", ""],
    "rows": ["512", "0512", ""],
}
PATTERNS = [
    "*",
    "**",
    "?",
    "A*",
    "*1",
    "A?",
    "*[b]*",
    "d[*",
    "DOE*",
    "doe^j*",
    "*山*",
    "*=山*",
    "Yam*=山田^*",
    "*==ヤマ*",
    "ﾔﾏﾀﾞ*",
    "*===doe*",
    "O*\\P*",
    "T*",
    "a",
]
PATTERNS += ["\U0010ffff*", "*A*", "W*", "??"]
TIMES = ["000000.000000", "100000.000000", "103000.000000", "103015.000000", "103015.500000", "235959.999999"]
MOMENTS = ["20240101000000.000000", "20240229103015.500000", "20240301050000.000000", "20241231235959.999999"]
DATES = ["19700101", "20240227", "20240228", "20240229", "20240301"]


def matches(attribute: Attribute, stored: str, condition: Condition) -> bool:
    if isinstance(condition, Wildcard) and not condition.pattern.strip("*"):
        return True
    if attribute.vr == "PN":
        return name_matches(stored, condition)
    values = [comparable(attribute.vr, value) for value in stored.split("\\")]
    return any(one_matches(attribute.vr, value, condition) for value in values if value)


def comparable(vr: str, value: str) -> str:
    if vr == "DA":
        return value.replace(".", "")
    digits, _, fraction = value.replace(":", "").partition(".")
    if vr == "DT":
        return moment(value)
    if vr == "TM" and digits.isdecimal():
        return f"{digits.ljust(6, '0')}.{fraction.ljust(6, '0')}"
    return value


def moment(value: str) -> str:
    """As MOMENTS has them, by hand for those that are stored here."""
    written = {"2024": 0, "20240229103015.5": 1, "20240229113015.5+0100": 1, "20240301-0500": 2}
    return MOMENTS[written[value]] if value in written else ""


def one_matches(vr: str, value: str, condition: Condition) -> bool:
    if isinstance(condition, Wildcard):
        return glob(value, condition.pattern)
    if isinstance(condition, Range):
        return (condition.low is None or condition.low <= value) and (condition.high is None or value <= condition.high)
    assert isinstance(condition, OneOf)
    if vr == "DS":
        return any(decimal(value) == decimal(wanted) for wanted in condition.values)
    if vr in ("IS", "US"):
        return any(number(value) == number(wanted) for wanted in condition.values)
    return value in condition.values


def number(text: str) -> int | str:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,17}", text) else text


def decimal(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def glob(value: str, pattern: str) -> bool:
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, value, re.DOTALL) is not None


def name_matches(stored: str, condition: Condition) -> bool:
    groups = [group.rstrip("^") for group in fold(stored).split("=")]
    if isinstance(condition, Range):
        return any(group and one_matches("PN", group, condition) for group in groups)
    if isinstance(condition, OneOf):
        wanted = ["=".join(group.rstrip("^") for group in fold(value).split("=")) for value in condition.values]
        return any(groups_match(groups, value) for value in wanted)
    assert isinstance(condition, Wildcard)
    return groups_match(groups, fold(condition.pattern))


def groups_match(groups: list[str], pattern: str) -> bool:
    if "=" not in pattern:
        return any(group and glob(group, pattern) for group in groups)
    pairs = list(zip_longest(groups, pattern.split("="), fillvalue=""))
    return any(groups) and all(not wanted.strip("*") or (group and glob(group, wanted)) for group, wanted in pairs)


@st.composite
def conditions(draw: st.DrawFn, attribute: Attribute) -> Condition:
    if attribute.vr in ("DA", "TM", "DT"):
        known = {"DA": DATES, "TM": TIMES, "DT": MOMENTS}[attribute.vr]
        if draw(st.booleans()):
            return OneOf(tuple(draw(st.lists(st.sampled_from(known), min_size=1, max_size=2))))
        ends = st.none() | st.sampled_from(known)
        return Range(draw(ends), draw(ends))
    if attribute.vr not in ("IS", "US", "DS") and draw(st.booleans()):
        return Wildcard(draw(st.sampled_from(PATTERNS)))
    values = [value for stored in STORED[attribute.name] for value in (stored, *stored.split("\\"), stored.upper())]
    wanted = draw(st.lists(st.sampled_from([value for value in values if value and "\\" not in value]), max_size=3))
    if attribute.vr == "DS":  # a key is a number, whatever was stored
        wanted = [value for value in wanted if isinstance(decimal(value), float)]
    return OneOf(tuple(wanted))


@st.composite
def queries(draw: st.DrawFn) -> Query:
    level = draw(st.sampled_from(list(Level)))
    depth = list(Level).index(level)
    names = [name for name in STORED if list(Level).index(BY_NAME[name].level) <= depth]
    chosen = draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
    unique = {Level.PATIENT: "patient_id", Level.STUDY: "study_instance_uid", Level.SERIES: "series_instance_uid"}
    requested = (unique.get(level, "sop_instance_uid"), "patient_name")
    return Query(level, {name: draw(conditions(BY_NAME[name])) for name in chosen}, requested)


def archive() -> list[Instance]:
    """One instance per entity, each attribute going round its values at its own pace."""
    result = []
    for place in range(60):
        values = {name: stored[place * (pace + 1) % len(stored)] for pace, (name, stored) in enumerate(STORED.items())}
        values["patient_id"] += f"#{place}" if "\\" not in values["patient_id"] and place >= 20 else ""
        values["issuer_of_patient_id"] = str(place)
        result.append(instance(place, header(f"1.{place}", f"2.{place}", f"3.{place}", **values)))
    return result


ARCHIVE = tuple(archive())


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteIndex]:
    path: Path = tmp_path_factory.mktemp("index") / "index.db"
    index = SqliteIndex(path)
    index.add_many(ARCHIVE)
    yield index
    index.close()


@settings(max_examples=700, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=queries())
def test_find_agrees_with_the_standard(index: SqliteIndex, query: Query) -> None:
    """SQL finds exactly what the plain matcher finds, by ``find``, ``instances`` and ``count_instances``."""
    expected = [
        found
        for found in ARCHIVE
        if all(matches(BY_NAME[name], getattr(found.header, name), c) for name, c in query.conditions.items())
    ]

    names = query.requested
    assert [[getattr(found.header, name) for name in names] for found in expected] == [
        list(match.values.values()) for match in index.find(query)
    ]
    assert expected == list(index.instances(query))
    assert len(expected) == index.count_instances(query)


def test_every_vr_is_tried() -> None:
    """The archive of this test has attributes of every VR that is matched by its own rules."""
    apart = {"UI", "SQ"}
    assert {a.vr for a in ATTRIBUTES if not a.is_counted and a.vr not in apart} == {BY_NAME[name].vr for name in STORED}
