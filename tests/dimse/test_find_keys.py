"""C-FIND over the wire: what is matched how, by key, by negotiation and by peer."""

from __future__ import annotations

import struct

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

from pacsnode.model import Key, Peer
from tests.dicom.dataset_bytes import Branch, Leaf
from tests.dimse import images
from tests.dimse.conftest import Nodes, Running
from tests.dimse.raw_peer import (
    C_FIND,
    PATIENT_FIND,
    STUDY_FIND,
    RawPeer,
    associate_rq,
    identifier,
    item,
    parse_elements,
)
from tests.dimse.test_find import FIND, LEVEL, STUDY_ROOT, STUDY_UID, ask, asked, found, querying
from tests.system import dcmtk

TIMED = {1: (b"20060705", b"0900"), 2: (b"20060705", b"1200"), 3: (b"20060706", b"0300"), 4: (b"20060707", b"1900")}


@pytest.mark.parametrize(
    ("offered", "expected"),
    [(b"", [2]), (b"\1\0", [2]), (b"\0\1", [2, 3]), (b"\1\1\1\1\1", [2, 3])],
)
def test_dates_and_times(node: Running, offered: bytes, expected: list[int]) -> None:
    """Ranges of date and time are one interval where that was agreed on, else so many hours of each day
    (PS3.4 C.2.2.2.5.4)."""
    for number, (date, time) in TIMED.items():
        node.keep(number, study=f"{images.ROOT}.1.{number}", series=f"{images.ROOT}.2.{number}", date=date, time=time)
    raw = struct.pack(">H", len(STUDY_FIND)) + STUDY_FIND.encode() + offered
    keys = {LEVEL: "STUDY", 0x00080020: "20060705-20060707", 0x00080030: "1000-1800", STUDY_UID: ""}
    with RawPeer(node.port) as peer:
        peer.associate(request=associate_rq(FIND, user_items=item(0x56, raw) if offered else b""))
        peer.start_query(1, C_FIND, STUDY_FIND, identifier(keys))
        *pending, _ = peer.responses()

    uids = [parse_elements(response.data_set or b"")[STUDY_UID].decode().strip("\0") for response in pending]
    assert [f"{images.ROOT}.1.{number}" for number in expected] == uids


@pytest.mark.parametrize(("matches", "expected"), [(True, ["P1", "P2"]), (False, ["P1"])])
def test_what_is_unknown(nodes: Nodes, matches: bool, expected: list[str]) -> None:
    """A study without accession number matches any, unless the peer's configuration says otherwise
    (PS3.4 C.2.2.1.2)."""
    node = nodes.start(Peer("w", "WORKSTATION", "127.0.0.1", 1, match_unknown=matches))
    node.keep(1)
    node.keep(2, study="1.2.2", series="1.2.3", patient_id=b"P2", without=(0x00080050,))
    node.keep(3, study="1.3.2", series="1.3.3", patient_id=b"P3", more=(), without=(0x00080020,))

    answers = ask(
        node, STUDY_ROOT, QueryRetrieveLevel="STUDY", AccessionNumber="ACC1", StudyDate="20240102", PatientID=""
    )
    without_date = ["P3"] if matches else []
    assert sorted([*expected, *without_date]) == found(answers, "PatientID")


def test_what_is_unknown_to_others(node: Running) -> None:
    """Peers that are not configured have the rule of the standard; a pattern asks for characters all the same."""
    node.keep(1, without=(0x00080050,))

    assert ["P1"] == found(
        ask(node, STUDY_ROOT, QueryRetrieveLevel="STUDY", AccessionNumber="A", PatientID=""), "PatientID"
    )
    assert [] == found(
        ask(node, STUDY_ROOT, QueryRetrieveLevel="STUDY", AccessionNumber="A*", PatientID=""), "PatientID"
    )


def test_sequences(node: Running) -> None:
    """One item has to match all item keys; only such items are told, with what was asked for (PS3.4 C.2.2.2.6)."""
    item_keys = {0x00080100: b"A1", 0x00080102: b"99X ", 0x00080104: b"One "}
    others = {0x00080100: b"B1", 0x00080102: b"99Y "}
    coded = Branch(
        0x00081032, tuple(tuple(Leaf(tag, "SH", raw) for tag, raw in one.items()) for one in (item_keys, others))
    )
    node.keep(1, more=(coded,))
    matches = []
    for text, scheme in (("A*", "99X"), ("A1", "99Y"), ("B1", "")):
        query, code = Dataset(), Dataset()
        query.QueryRetrieveLevel, code.CodeValue, code.CodingSchemeDesignator = "STUDY", text, scheme
        query.ProcedureCodeSequence = [code]
        with querying(node) as association:
            *pending, (final, _) = association.send_c_find(query, STUDY_ROOT)
        assert 0 == final.Status
        matches.append(
            [[(one.CodeValue, one.dir()) for one in (match or Dataset()).ProcedureCodeSequence] for _, match in pending]
        )

    keywords = ["CodeValue", "CodingSchemeDesignator"]
    assert [[[("A1", keywords)]], [], [[("B1", keywords)]]] == matches


RICH = {
    "STUDY": {
        "OtherPatientNames": ("Other^Made", "OTHER*"),
        "EthnicGroup": ("E1", "E1"),
        "NameOfPhysiciansReadingStudy": ("Reader^R", "reader^r"),
        "AdmittingDiagnosesDescription": ("Cough", "C*h"),
        "PatientAge": ("070Y", "070Y"),
        "PatientSize": ("1.80", "1.8"),
        "PatientWeight": ("70.5", "70.50"),
        "Occupation": ("Potter", "P*"),
    },
    "SERIES": {
        "Laterality": ("L", "L"),
        "InstitutionName": ("Hospital", "H*"),
        "InstitutionalDepartmentName": ("Radiology", "Radiology"),
        "Manufacturer": ("ACME", "ACME"),
        "ManufacturerModelName": ("Model 1", "Model ?"),
        "PerformingPhysicianName": ("Who^Dr", "who*"),
        "OperatorsName": ("Op^A\\Op^B", "OP^B"),
        "PerformedProcedureStepStartDate": ("20240229", "20240201-20240301"),
        "PerformedProcedureStepStartTime": ("1015", "10-11"),
    },
    "IMAGE": {
        "AcquisitionNumber": ("3", "03"),
        "AcquisitionDate": ("20240229", "-20240301"),
        "AcquisitionTime": ("101500.5", "1015-1016"),
        "AcquisitionDateTime": ("20240229101500+0100", "2024022909-2024022910"),
    },
}
NO_MATCH = {"PN": "Nobody*", "DA": "19700101", "TM": "2359", "DT": "1970", "DS": "0", "IS": "99", "AS": "001D"}
CASES = [(level, keyword, *values) for level, keys in RICH.items() for keyword, values in keys.items()]


def tag_of(keyword: str) -> int:
    """The tag, by pydicom's dictionary."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return tag


@pytest.fixture
def rich(node: Running) -> Running:
    """One image with a value for each of these keys."""
    stored = [(tag_of(keyword), dictionary_VR(keyword), text) for _, keyword, text, _ in CASES]
    node.keep(1, more=[Leaf(tag, vr, text.encode() + b" " * (len(text) % 2)) for tag, vr, text in stored])
    return node


@pytest.mark.parametrize(("level", "keyword", "stored", "key"), CASES, ids=[case[1] for case in CASES])
def test_optional_keys(rich: Running, level: str, keyword: str, stored: str, key: str) -> None:
    """Each key is matched and told; FF01 is not needed."""
    tag, other = tag_of(keyword), NO_MATCH.get(dictionary_VR(keyword), "NONE")
    (match, final), (alone,) = (asked(rich, identifier({LEVEL: level, tag: text})) for text in (key, other))

    assert (0xFF00, 0x0000, 0x0000) == (match.status, final.status, alone.status)
    assert stored == parse_elements(match.data_set or b"")[tag].decode().strip()


needs_dcmtk = pytest.mark.skipif(bool(dcmtk.missing()), reason="DCMTK is not installed")


def findscu(node: Running, *keys: str) -> str:
    """What DCMTK's client prints of a query."""
    return dcmtk.run("findscu", "-v", "-S", *dcmtk.address(node.port), *dcmtk.keys(keys))


@needs_dcmtk
def test_sequences_with_dcmtk(node: Running) -> None:
    """DCMTK's findscu asks for item keys, and reads the items of the answer."""
    request = (Leaf(0x00400009, "SH", b"S1"), Leaf(0x00401001, "SH", b"R1"))
    node.keep(1, more=(Branch(0x00400275, (request,), has_length=False, items_have_length=False),))
    keys = ("QueryRetrieveLevel=SERIES", "RequestAttributesSequence[0].ScheduledProcedureStepID")
    found_it = findscu(node, *keys, "RequestAttributesSequence[0].RequestedProcedureID=R?")
    found_none = findscu(node, *keys, "RequestAttributesSequence[0].RequestedProcedureID=X")

    assert 1 == found_it.count("Find Response: ")
    assert "[S1]" in found_it
    assert "Find Response: " not in found_none


@needs_dcmtk
def test_optional_keys_with_dcmtk(rich: Running) -> None:
    """DCMTK's findscu finds by device, person and decimal number, and prints what was asked for."""
    keys = (
        "Manufacturer=AC*",
        "OperatorsName=OP^A",
        "PatientWeight=7.05e1",
        "ModalitiesInStudy=CT\\MR",
        "InstitutionName",
    )
    printed = findscu(
        rich, "QueryRetrieveLevel=SERIES", *keys, "InstanceAvailability", "NumberOfSeriesRelatedInstances"
    )

    assert 1 == printed.count("Find Response: ")
    for told in ("[ACME]", "Op^A\\Op^B", "[70.5]", "[CT]", "[Hospital]", "[ONLINE]", "[PACSNODE]"):
        assert told in printed


COMMENTS, ADDRESS, SLICE, PRIVATE = 0x00104000, 0x00101040, 0x00180050, 0x00090010


@pytest.fixture
def reading(nodes: Nodes) -> Running:
    """A node that reads headers; its study has two series, the first image says more than the others."""
    node = nodes.start(read_headers=True)
    more = [Leaf(COMMENTS, "LT", "Größe ".encode("latin-1") + b" "), Leaf(SLICE, "DS", b"1.5 ")]
    node.keep(1, charset=b"ISO_IR 100", more=more)
    node.keep(2, more=[Leaf(SLICE, "DS", b"2.5 ")], series=f"{images.ROOT}.22")
    return node


@pytest.mark.parametrize("level", ["PATIENT", "STUDY"])
def test_keys_from_the_object(reading: Running, level: str) -> None:
    """Keys that the index does not have are told from the first object, in a character set that can say them."""
    keys: dict[int, str | bytes] = {LEVEL: level, COMMENTS: "", SLICE: "", ADDRESS: ""}
    match, final = asked(reading, identifier(keys), context_id=7, sop_class=PATIENT_FIND)
    elements = parse_elements(match.data_set or b"")

    assert (0xFF00, 0x0000) == (match.status, final.status)
    assert b"ISO_IR 192" == elements[0x00080005]
    told = [elements[tag].decode().strip() for tag in (COMMENTS, SLICE, ADDRESS)]
    assert ["Größe", "1.5", ""] == told


def test_keys_from_each_object(reading: Running) -> None:
    """At IMAGE level each instance tells for itself; where a value is asked for, FF01 says that it was not matched."""
    *matches, _ = asked(reading, identifier({LEVEL: "IMAGE", SLICE: "2.5", 0x00080018: ""}))

    assert [0xFF01, 0xFF01] == [match.status for match in matches]
    assert [b"1.5 ", b"2.5 "] == [parse_elements(match.data_set or b"")[SLICE] for match in matches]


def test_keys_that_no_object_is_asked_for(reading: Running) -> None:
    """Private keys, sequences and those of lower levels are not told, which FF01 says."""
    keys: dict[int, str | bytes] = {LEVEL: "STUDY", PRIVATE: "", 0x00081110: b"", 0x00080060: "", COMMENTS: ""}
    match, _ = asked(reading, identifier(keys))

    assert 0xFF01 == match.status
    assert {PRIVATE, 0x00081110, 0x00080060} & set(parse_elements(match.data_set or b"")) == set()


def test_an_object_that_is_gone(reading: Running) -> None:
    """Where the object cannot be read its keys are unknown, and the match is told all the same."""
    reading.archive.store.delete(Key(reading.keys()[0]))
    match, final = asked(reading, identifier({LEVEL: "STUDY", COMMENTS: ""}))

    assert (0xFF00, b"", 0x0000) == (match.status, parse_elements(match.data_set or b"")[COMMENTS], final.status)


def test_headers_are_not_read_unless_wished(rich: Running) -> None:
    """By default what is not in the index is an unsupported key."""
    match, _ = asked(rich, identifier({LEVEL: "IMAGE", COMMENTS: ""}))

    assert 0xFF01 == match.status
    assert COMMENTS not in parse_elements(match.data_set or b"")
