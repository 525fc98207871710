"""Which condition a key sets: the matching kinds of PS3.4 C.2.2.2, by VR."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacsnode.dicom import condition
from pacsnode.dicom.attributes import ATTRIBUTES, BY_NAME
from pacsnode.dicom.coding import tag_name
from pacsnode.errors import InvalidQuery
from pacsnode.model import Condition, Moments, OneOf, Range, Wildcard


@pytest.mark.parametrize("value", ["", " ", "\0", "*", "**", " * ", "\\", "CT\\*"])
@pytest.mark.parametrize("name", ["modality", "study_instance_uid", "study_date", "study_time", "patient_name", "rows"])
def test_universal_matching(name: str, value: str) -> None:
    """An empty key, or nothing but stars, sets no condition, whatever the VR."""
    assert condition.parse(BY_NAME[name], value) is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("accession_number", " A1 ", OneOf(("A1",))),
        ("patient_id", "a%_[1]", OneOf(("a%_[1]",))),
        ("patient_name", "Müller^Jörg", OneOf(("Müller^Jörg",))),
        ("modalities_in_study", "CT\\MR \\CT\\", OneOf(("CT", "MR"))),
        ("study_instance_uid", "1.2.3\0", OneOf(("1.2.3",))),
        ("study_instance_uid", "1.2.3\\1.2.04", OneOf(("1.2.3", "1.2.04"))),
        ("series_number", " 12 \\-3", OneOf(("12", "-3"))),
        ("rows", "512\\256", OneOf(("512", "256"))),
        ("patient_name", "DOE*", Wildcard("DOE*")),
        ("patient_name", "*^*", Wildcard("*^*")),
        ("patient_name", "D?E***^J ", Wildcard("D?E*^J")),
        ("accession_number", "?", Wildcard("?")),
        ("study_date", "20040119", OneOf(("20040119",))),
        ("study_date", "2004.01.19", OneOf(("20040119",))),
        ("study_date", "20040119\\20040120", OneOf(("20040119", "20040120"))),
        ("study_date", "20040119-20040231", Range("20040119", "20040231")),
        ("study_date", " 2004.01.19 - 2004.01.20 ", Range("20040119", "20040120")),
        ("study_date", "-20040119", Range(None, "20040119")),
        ("study_date", "20040119-", Range("20040119", None)),
        ("study_time", "2230", OneOf(("223000.000000",))),
        ("study_time", "22:30:15", OneOf(("223015.000000",))),
        ("study_time", "223015.5", OneOf(("223015.500000",))),
        ("study_time", "10-10", Range("100000.000000", "105959.999999")),
        ("study_time", "1030-1030", Range("103000.000000", "103059.999999")),
        ("study_time", "103015-103015", Range("103015.000000", "103015.999999")),
        ("study_time", "103015.5-103015.5", Range("103015.500000", "103015.599999")),
        ("study_time", "-18", Range(None, "185959.999999")),
        ("study_time", "08-", Range("080000.000000", None)),
        ("acquisition_date_time", "2006", OneOf(("20060101000000.000000",))),
        ("acquisition_date_time", "2006-0500", OneOf(("20060101050000.000000",))),
        ("acquisition_date_time", "2005-2006", Range("20050101000000.000000", "20061231235959.999999")),
        ("acquisition_date_time", "-2006", Range(None, "20061231235959.999999")),
        ("acquisition_date_time", "2006-", Range("20060101000000.000000", None)),
        ("acquisition_date_time", "2006-0500-", Range("20060101050000.000000", None)),
        ("acquisition_date_time", "20060101-0500-2006-0500", Range("20060101050000.000000", "20070101045959.999999")),
        ("patient_weight", "70.50 ", OneOf(("70.50",))),
        ("patient_age", "070Y", OneOf(("070Y",))),
    ],
)
def test_matching_kinds(name: str, value: str, expected: Condition) -> None:
    """Single value, list, wildcard and range, each where its VR allows it, in the index's form."""
    assert expected == condition.parse(BY_NAME[name], value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("study_instance_uid", "1.2.*"),
        ("study_instance_uid", "1.2.?"),
        ("study_instance_uid", "1.2.3\\x"),
        ("study_instance_uid", "1" * 65),
        ("study_date", "2004*"),
        ("study_date", "2004"),
        ("study_date", "20041301"),
        ("study_date", "20040132"),
        ("study_date", "2004.0119"),
        ("study_date", "2004-01-19"),
        ("study_date", "-"),
        ("study_date", "20040119-20040120\\20040122"),
        ("study_date", "٢٠٠٤٠١١٩"),
        ("study_time", "24"),
        ("study_time", "1060"),
        ("study_time", "103"),
        ("study_time", "10.5"),
        ("study_time", "10-11-12"),
        ("series_number", "1*"),
        ("series_number", "one"),
        ("modality", "C*\\MR"),
        ("acquisition_date_time", "noon"),
        ("acquisition_date_time", "-"),
        ("acquisition_date_time", "2005-2006-2007"),
        ("patient_weight", "7*"),
        ("patient_weight", "nan"),
        ("patient_weight", "1" * 17),
        ("patient_age", "70"),
    ],
)
def test_invalid_values_name_the_tag(name: str, value: str) -> None:
    """What the VR cannot be matched with is refused, with the tag and without the value."""
    attribute = BY_NAME[name]

    with pytest.raises(InvalidQuery) as caught:
        condition.parse(attribute, value)

    text = str(caught.value)
    assert text.startswith(tag_name(attribute.tag))
    assert len(text) <= 64
    assert text.isascii()


DATES, TIMES = Range("20060705", "20060707"), Range("100000.000000", "180059.999999")


@pytest.mark.parametrize(
    ("dates", "times", "expected"),
    [
        (DATES, TIMES, Moments("study_time", "20060705100000.000000", "20060707180059.999999")),
        (Range("20060705", None), TIMES, Moments("study_time", "20060705100000.000000", None)),
        (Range(None, "20060707"), TIMES, Moments("study_time", None, "20060707180059.999999")),
        (
            DATES,
            Range("100000.000000", None),
            Moments("study_time", "20060705100000.000000", "20060707235959.999999"),
        ),
        (
            DATES,
            Range(None, "180059.999999"),
            Moments("study_time", "20060705000000.000000", "20060707180059.999999"),
        ),
    ],
)
def test_dates_and_times_combined(dates: Range, times: Range, expected: Moments) -> None:
    """A range of dates and one of times become one interval (PS3.4 C.2.2.2.5.4); other conditions stay."""
    conditions = {"study_date": dates, "study_time": times, "series_time": times}

    assert {"study_date": expected, "series_time": times} == condition.combined(conditions)


@pytest.mark.parametrize("other", [OneOf(("20060705",)), None])
def test_what_is_not_combined(other: Condition | None) -> None:
    """Only two ranges become an interval."""
    conditions: dict[str, Condition] = {"study_time": TIMES} | ({"study_date": other} if other else {})

    assert conditions == condition.combined(conditions)


def test_endless_lists_are_refused() -> None:
    """A list longer than the index can ask for in one go is the peer's fault, not an index failure."""
    uids = "\\".join(f"1.{number}" for number in range(condition.MAX_VALUES + 1))

    with pytest.raises(InvalidQuery):
        condition.parse(BY_NAME["sop_instance_uid"], uids)


@given(st.sampled_from(ATTRIBUTES).map(lambda attribute: attribute.name), st.text(max_size=30))
def test_any_text_is_a_condition_or_refused(name: str, value: str) -> None:
    """No value of a key can raise anything but InvalidQuery."""
    try:
        found = condition.parse(BY_NAME[name], value)
    except InvalidQuery:
        return

    assert found is None or isinstance(found, OneOf | Wildcard | Range)
