import struct
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pacsnode.dicom.attributes import BY_NAME, HEADER_TAGS
from pacsnode.dicom.header import check_against, read_header
from pacsnode.dicom.syntax import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from pacsnode.errors import BadDataset, MalformedUid, UidMismatch
from pacsnode.model import Arrival, InstanceHeader, Uid
from tests.dicom.dataset_bytes import Leaf, encode, walk

UIDS = {
    "sop_class_uid": b"1.2.840.10008.5.1.4.1.1.2\0",
    "sop_instance_uid": b"1.2.3.4",
    "study_instance_uid": b"1.2.3\0\0\0",
    "series_instance_uid": b" 1.2.03 ",
}
ARRIVAL = Arrival(
    Uid("1.2.840.10008.5.1.4.1.1.2"),
    Uid("1.2.3.4\0"),
    EXPLICIT_VR_LITTLE_ENDIAN,
    "CT01",
    "PACSNODE",
    datetime(2026, 11, 24, 5, tzinfo=UTC),
)


def read(values: dict[str, bytes], uid: Uid = EXPLICIT_VR_LITTLE_ENDIAN, charset: bytes = b"") -> InstanceHeader:
    leaves = [Leaf(0x00080005, "CS", charset)]
    leaves += [Leaf(BY_NAME[name].tag, BY_NAME[name].vr, value) for name, value in values.items()]
    return read_header(walk(encode(leaves, uid), uid, HEADER_TAGS))


def test_uids_are_stripped_of_any_padding() -> None:
    """UIDs come padded with a NUL, with several, or with spaces; without it they compare."""
    header = read(UIDS)

    assert Uid("1.2.840.10008.5.1.4.1.1.2") == header.sop_class_uid
    assert Uid("1.2.3.4") == header.sop_instance_uid
    assert Uid("1.2.3") == header.study_instance_uid
    assert Uid("1.2.03") == header.series_instance_uid


def test_text_is_decoded_and_stripped() -> None:
    """Text follows Specific Character Set; padding goes from each single value, inner spaces stay."""
    values = {"patient_name": "Müller^Jörg ".encode("latin-1"), "image_type": b"ORIGINAL \\PRIMARY\\ AXIAL\0"}
    header = read(UIDS | values | {"study_description": b"Thorax  low dose"}, charset=b"ISO_IR 100")

    assert header.patient_name == "Müller^Jörg"
    assert header.image_type == "ORIGINAL\\PRIMARY\\AXIAL"
    assert header.study_description == "Thorax  low dose"


def test_absent_and_empty_values() -> None:
    """What is absent, empty or nothing but padding is the empty string."""
    header = read(UIDS | {"patient_id": b"  ", "accession_number": b"", "rows": b""})

    assert [header.patient_id, header.accession_number, header.rows, header.modality] == ["", "", "", ""]


def test_text_that_is_too_long() -> None:
    """What exceeds the length of its VR is kept, since it can be found by nothing else."""
    assert read(UIDS | {"accession_number": b"7" * 500}).accession_number == "7" * 500


@pytest.mark.parametrize(
    ("uid", "layout"),
    [(EXPLICIT_VR_LITTLE_ENDIAN, "<H"), (IMPLICIT_VR_LITTLE_ENDIAN, "<H"), (EXPLICIT_VR_BIG_ENDIAN, ">H")],
)
def test_binary_numbers(uid: Uid, layout: str) -> None:
    """Rows and columns are numbers in the byte order of the data set; half a number is none."""
    header = read(
        UIDS | {"rows": struct.pack(layout, 512), "columns": struct.pack(layout, 7) * 2, "bits_allocated": b"1"}, uid
    )

    assert (header.rows, header.columns, header.bits_allocated) == ("512", "7\\7", "")


@pytest.mark.parametrize(("declared", "expected"), [(b"", "Люк"), (b"ISO_IR 6", "Люк"), (b"ISO_IR 100", "»îÚ")])
def test_text_without_character_set(declared: bytes, expected: str) -> None:
    """What is assumed holds where nothing is declared, and only there."""
    leaves = [Leaf(0x00080005, "CS", declared)]
    values = UIDS | {"patient_name": "Люк".encode("iso8859-5")}
    leaves += [Leaf(BY_NAME[name].tag, BY_NAME[name].vr, value) for name, value in values.items()]
    elements = walk(encode(leaves, EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN, HEADER_TAGS)

    assert expected == read_header(elements, "ISO_IR 144").patient_name


def test_rows_of_another_vr() -> None:
    """The VR that was sent says how to read a number."""
    leaves = [Leaf(BY_NAME[name].tag, "UI", value) for name, value in UIDS.items()]
    leaves += [Leaf(BY_NAME["rows"].tag, "UL", struct.pack("<I", 70_000)), Leaf(BY_NAME["columns"].tag, "IS", b"33 ")]
    header = read_header(walk(encode(leaves, EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN, HEADER_TAGS))

    assert (header.rows, header.columns) == ("70000", "33")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("sop_class_uid", "SOP Class UID (0008,0016) is missing or empty"),
        ("sop_instance_uid", "SOP Instance UID (0008,0018) is missing or empty"),
        ("study_instance_uid", "Study Instance UID (0020,000D) is missing or empty"),
        ("series_instance_uid", "Series Instance UID (0020,000E) is missing or empty"),
    ],
)
def test_missing_uid(name: str, complaint: str) -> None:
    """Without one of the four UIDs an instance has no place; the error says which."""
    for values in (UIDS | {name: b"\0 "}, {other: value for other, value in UIDS.items() if other != name}):
        with pytest.raises(BadDataset) as caught:
            read(values)

        assert complaint == str(caught.value)


def test_header_of_the_command() -> None:
    """Padding makes no difference between data set and command, and leading zeros are accepted."""
    header = read(UIDS)
    check_against(header, ARRIVAL)

    assert (header.sop_class_uid, header.sop_instance_uid) == (
        ARRIVAL.sop_class_uid.strip("\0 "),
        ARRIVAL.sop_instance_uid.strip("\0 "),
    )


@pytest.mark.parametrize(("name", "tag"), [("sop_class_uid", 0x00080016), ("sop_instance_uid", 0x00080018)])
def test_header_of_another_command(name: str, tag: int) -> None:
    """A data set of another class or instance than the command's is refused, and the tag told."""
    with pytest.raises(UidMismatch) as caught:
        check_against(read(UIDS | {name: b"1.2.9"}), ARRIVAL)

    assert tag == caught.value.tag
    assert len(str(caught.value)) <= 64


@pytest.mark.parametrize("malformed", ["1.2.3a", "Doe^John", "1" * 65, "1.2\\1.3", "1.2.\N{FULLWIDTH DIGIT THREE}"])
def test_malformed_uids(malformed: str) -> None:
    """Other characters than digits and dots, or more than 64, are refused; the text does not repeat them."""
    good = read(UIDS)
    with pytest.raises(MalformedUid) as caught:
        check_against(replace(good, sop_instance_uid=Uid(malformed)), replace(ARRIVAL, sop_instance_uid=Uid(malformed)))
    assert malformed not in str(caught.value)

    for name in ("study_instance_uid", "series_instance_uid"):
        with pytest.raises(BadDataset) as refused:
            check_against(replace(good, **{name: Uid(malformed)}), ARRIVAL)
        assert malformed not in str(refused.value)
        assert len(str(refused.value)) <= 64
