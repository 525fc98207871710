"""Identifiers: what peers ask is understood in every transfer syntax, and what we answer can be read."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from pacsnode.dicom import identifier
from pacsnode.dicom.attributes import ATTRIBUTES, BY_NAME
from pacsnode.dicom.identifier import FindRequest, RetrieveRequest, Root, Rules
from pacsnode.dicom.response import MatchEncoder
from pacsnode.errors import InvalidQuery
from pacsnode.model import Level, Match, Moments, OneOf, Range, Uid, Wildcard

IMPLICIT = Uid("1.2.840.10008.1.2")
EXPLICIT = Uid("1.2.840.10008.1.2.1")
BIG = Uid("1.2.840.10008.1.2.2")
SYNTAXES = pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
KANJI = "Yamada^Tarou=山田^太郎=やまだ^たろう"


def dataset(level: str = "STUDY", **keys: object) -> Dataset:
    made = Dataset()
    made.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(made, keyword, value)
    return made


def encoded(made: Dataset, syntax: Uid = EXPLICIT) -> bytes:
    file = DicomBytesIO()
    file.is_implicit_VR = syntax == IMPLICIT
    file.is_little_endian = syntax != BIG
    write_dataset(file, made)
    return file.getvalue()


def decoded(data: bytes, syntax: Uid = EXPLICIT) -> Dataset:
    made = Dataset()
    made.ensure_file_meta()
    made.file_meta.TransferSyntaxUID = UID(syntax)
    head = BytesIO()
    made.save_as(head, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG, enforce_file_format=False)
    return dcmread(BytesIO(head.getvalue() + data), force=True)


def find(made: Dataset, root: Root = Root.STUDY, syntax: Uid = EXPLICIT) -> FindRequest:
    return identifier.parse_find(encoded(made, syntax), syntax, root)


def retrieve(made: Dataset, root: Root = Root.STUDY, syntax: Uid = EXPLICIT) -> RetrieveRequest:
    return identifier.parse_retrieve(encoded(made, syntax), syntax, root)


def answer(request: FindRequest, syntax: Uid = EXPLICIT, **values: str) -> Dataset:
    match = Match({**dict.fromkeys(request.query.requested, ""), **values})
    return decoded(MatchEncoder(request, syntax, retrieve_ae_title="PACS").encode(match), syntax)


@SYNTAXES
def test_query_in_every_syntax(syntax: Uid) -> None:
    """The same question is understood alike in implicit VR, explicit VR and big endian."""
    made = dataset("IMAGE", SpecificCharacterSet="ISO_IR 192", PatientName="Müller^*", StudyDate="20040119-")
    made.StudyInstanceUID, made.SOPInstanceUID, made.Rows, made.InstanceNumber = "1.2.3", ["1.4", "1.5"], 512, None

    request = find(made, syntax=syntax)

    assert Level.IMAGE is request.level
    assert "ISO_IR 192" == request.specific_character_set
    assert {
        "patient_name": Wildcard("Müller^*"),
        "study_date": Range("20040119", None),
        "study_instance_uid": OneOf(("1.2.3",)),
        "sop_instance_uid": OneOf(("1.4", "1.5")),
        "rows": OneOf(("512",)),
    } == request.query.conditions
    assert frozenset() == request.unsupported


def test_requested_names_and_tags() -> None:
    """The index is asked for every supported key and the unique keys; tags stay as they were sent."""
    request = find(dataset("SERIES", Modality="", SeriesNumber=None), Root.PATIENT)

    assert ("modality", "series_number", "patient_id", "study_instance_uid", "series_instance_uid") == (
        request.query.requested
    )
    assert (0x00080052, 0x00080060, 0x00200011) == request.requested


def test_study_root_has_no_patient_level() -> None:
    """In the Study Root Patient ID is an ordinary key of the study, told only when asked for."""
    assert ("study_instance_uid",) == find(dataset()).query.requested
    assert {"patient_id": OneOf(("P1",))} == find(dataset(PatientID="P1")).query.conditions


def test_group_lengths_are_ignored() -> None:
    """Group length elements of old workstations neither match nor make the answer FF01."""
    data = encoded(dataset()) + b"\x10\x00\x00\x00UL\x04\x00\x0a\x00\x00\x00\x10\x00\x20\x00LO\x02\x00P1"

    request = identifier.parse_find(data, EXPLICIT, Root.STUDY)

    assert (0x00080052, 0x00100020) == request.requested
    assert frozenset() == request.unsupported


def test_unsupported_keys() -> None:
    """Unknown, private and sequence keys and those of lower levels are told apart, and not told by us."""
    made = dataset(StudyDate="", PatientComments="", Modality="CT", ReferencedStudySequence=Sequence([Dataset()]))
    made.private_block(0x0011, "SOMEBODY", create=True).add_new(0x01, "LO", "")

    request = find(made)

    assert {0x00104000, 0x00080060, 0x00081110, 0x00110010, 0x00111001} == request.unsupported
    assert {} == request.query.conditions
    assert [0x00080020, 0x00080052, 0x00080054] == sorted(answer(request).keys())


def test_counts_are_matched_and_told() -> None:
    """Numbers of related instances are keys like others."""
    request = find(dataset(NumberOfStudyRelatedInstances="7", NumberOfStudyRelatedSeries=None))

    assert {"number_of_study_related_instances": OneOf(("7",))} == request.query.conditions
    assert frozenset() == request.unsupported
    assert 7 == answer(request, number_of_study_related_instances="7").NumberOfStudyRelatedInstances


def test_keys_handled_apart() -> None:
    """Retrieve AE Title, availability, character set and timezone are neither matched nor unsupported."""
    made = dataset(RetrieveAETitle="OTHER", InstanceAvailability="OFFLINE", TimezoneOffsetFromUTC="+0100")

    request = find(made)
    told = answer(request)

    assert ({}, frozenset()) == (request.query.conditions, request.unsupported)
    assert {0x00080054, 0x00080056} == request.unmatched
    assert not request.is_supported
    assert ("PACS", "ONLINE", "STUDY") == (told.RetrieveAETitle, told.InstanceAvailability, told.QueryRetrieveLevel)
    assert "TimezoneOffsetFromUTC" not in told


@pytest.mark.parametrize(
    ("root", "level"),
    [(Root.STUDY, "PATIENT"), (Root.PATIENT_STUDY_ONLY, "SERIES"), (Root.PATIENT, "INSTANCE"), (Root.PATIENT, "")],
)
def test_level_must_be_in_the_model(root: Root, level: str) -> None:
    """A level that the information model lacks is refused, naming its tag."""
    with pytest.raises(InvalidQuery, match=r"\(0008,0052\)"):
        find(dataset(level), root)
    with pytest.raises(InvalidQuery, match=r"\(0008,0052\)"):
        retrieve(dataset(level, PatientID="P1"), root)


@pytest.mark.parametrize(
    ("root", "rules", "expected"),
    [
        (Root.STUDY, Rules(matches_unknown=True), {"patient_id", "accession_number", "modality"}),
        (Root.PATIENT, Rules(matches_unknown=True), {"accession_number", "modality"}),
        (Root.PATIENT_STUDY_ONLY, Rules(matches_unknown=True), {"accession_number", "modality"}),
        (Root.STUDY, Rules(), set()),
    ],
)
def test_what_matches_when_it_is_unknown(root: Root, rules: Rules, expected: set[str]) -> None:
    """Required keys of the model, never optional or unique ones; Patient ID is required in the Study Root only."""
    request = identifier.parse_find(encoded(dataset()), EXPLICIT, root, rules)
    tried = {"patient_id", "accession_number", "modality", "study_instance_uid", "study_description", "patient_sex"}

    assert expected == request.query.unknown_matches & tried


def test_ranges_of_date_and_time() -> None:
    """They are one condition where that was agreed on, two otherwise; both are told in any case."""
    data = encoded(dataset(StudyDate="20060705-20060707", StudyTime="1000-1800"))
    apart = identifier.parse_find(data, EXPLICIT, Root.STUDY)
    combined = identifier.parse_find(data, EXPLICIT, Root.STUDY, Rules(combines_date_and_time=True))

    assert {"study_date", "study_time"} == set(apart.query.conditions)
    assert {"study_date": Moments("study_time", "20060705100000.000000", "20060707180059.999999")} == (
        combined.query.conditions
    )
    assert apart.answered == combined.answered


def test_level_must_be_there() -> None:
    """Without Query/Retrieve Level there is no question."""
    made = Dataset()
    made.PatientID = "P1"

    with pytest.raises(InvalidQuery, match=r"\(0008,0052\)"):
        find(made)


@pytest.mark.parametrize("level", ["SERIES", "IMAGE"])
def test_parents_may_be_missing_or_vague(level: str) -> None:
    """Workstations that leave out the parents' unique keys, or give patterns and lists of them, are served."""
    assert {} == find(dataset(level), Root.PATIENT).query.conditions

    vague = find(dataset(level, PatientID="P*", StudyInstanceUID=["1.2", "1.3"]), Root.PATIENT)

    assert {"patient_id": Wildcard("P*"), "study_instance_uid": OneOf(("1.2", "1.3"))} == vague.query.conditions


@SYNTAXES
def test_truncated_identifiers_are_refused(syntax: Uid) -> None:
    """A request cut short within an element asks something else, and is not answered."""
    data = encoded(dataset(StudyInstanceUID="1.2.3.4"), syntax)

    for cut in (1, 5, 9):
        with pytest.raises(InvalidQuery):
            identifier.parse_find(data[:-cut], syntax, Root.STUDY)


@SYNTAXES
@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
def test_answers_read_back(syntax: Uid, level: str) -> None:
    """Every attribute of every level comes back with its value, in ascending order and even length."""
    made = dataset(level)
    for attribute in ATTRIBUTES:
        made.add_new(attribute.tag, attribute.vr, None)
    request = find(made, Root.PATIENT, syntax)
    samples = {"UI": "1.2.3", "DA": "20040119", "TM": "101112.5", "IS": "12", "US": "512", "PN": "DOE^J", "AS": "012Y",
               "DS": "1.5", "DT": "2004", "SQ": ""}  # fmt: skip
    values = {name: samples.get(BY_NAME[name].vr, "ABC") for name in request.query.requested}

    data = MatchEncoder(request, syntax, retrieve_ae_title="PACS").encode(Match(values))
    told = decoded(data, syntax)

    assert 0 == len(data) % 2
    assert sorted(told.keys()) == list(told.keys()) == list(request.answered)
    assert values == {name: str(told[BY_NAME[name].tag].value or "") for name in values}


@SYNTAXES
def test_unknown_values_are_empty(syntax: Uid) -> None:
    """What was asked for and is not known is there, with zero length."""
    request = find(dataset("IMAGE", PatientName="", StudyDate="", Rows=None, SOPInstanceUID=""), syntax=syntax)
    told = answer(request, syntax, rows="many", sop_instance_uid="1.2")

    assert {"PatientName", "StudyDate", "Rows", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"} <= set(
        told.dir()
    )
    assert all(told[keyword].is_empty for keyword in ("PatientName", "StudyDate", "Rows"))


def test_multiple_values_are_all_told() -> None:
    """A multi-valued attribute is answered with all its values."""
    request = find(dataset(ModalitiesInStudy="CT"))

    assert ["CT", "PT"] == list(answer(request, modalities_in_study="CT\\PT").ModalitiesInStudy)


@pytest.mark.parametrize(
    ("asked", "name", "used"),
    [
        ("ISO_IR 100", "DOE^JOHN", None),
        ("ISO_IR 100", "Buc^Jérôme", "ISO_IR 100"),
        ("ISO-IR 100", "Buc^Jérôme", "ISO_IR 100"),
        ("", "Buc^Jérôme", "ISO_IR 192"),
        ("ISO_IR 100", KANJI, "ISO_IR 192"),
        ("\\ISO 2022 IR 87", KANJI, ["", "ISO 2022 IR 87"]),
        ("GB18030", KANJI, "GB18030"),
    ],
)
@SYNTAXES
def test_character_set_of_answers(asked: str, name: str, used: object, syntax: Uid) -> None:
    """The request's set where it can say everything, else UTF-8; none where all is ASCII."""
    plain = encoded(dataset(PatientName="", StudyDescription=""))
    character_set = asked.encode() + b" " * (len(asked) % 2)
    data = b"\x08\x00\x05\x00CS" + len(character_set).to_bytes(2, "little") + character_set + plain
    request = identifier.parse_find(data, EXPLICIT, Root.STUDY)

    told = answer(request, syntax, patient_name=name, study_description="Thorax")

    assert (used, name, "Thorax") == (
        told.get("SpecificCharacterSet"),
        str(told.PatientName),
        told.StudyDescription,
    )


def test_one_character_set_for_all_values() -> None:
    """Where one value does not fit the request's set, all of them are UTF-8."""
    made = dataset(SpecificCharacterSet="ISO_IR 100", PatientName="", StudyDescription="")
    told = answer(find(made), patient_name="Buc^Jérôme", study_description="Люк")

    assert ("Buc^Jérôme", "Люк") == (str(told.PatientName), told.StudyDescription)


def test_names_are_read_in_the_character_set_of_the_request() -> None:
    """A Japanese name pattern arrives as it was typed."""
    made = dataset(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="*=山田*")

    assert {"patient_name": Wildcard("*=山田*")} == find(made).query.conditions


def test_values_too_long_for_explicit_vr_are_left_unknown() -> None:
    """A value that 16 bits of length cannot hold does not break the answer."""
    request = find(dataset(StudyDescription=""))

    assert answer(request, study_description="x" * 70_000)["StudyDescription"].is_empty


@SYNTAXES
def test_retrieve_by_unique_keys(syntax: Uid) -> None:
    """Unique keys of the level and above choose what is sent; a list is allowed at the level."""
    made = dataset("SERIES", PatientID="P1 ", StudyInstanceUID="1.2", SeriesInstanceUID=["1.3", "1.4"])

    request = retrieve(made, Root.PATIENT, syntax)

    assert Level.SERIES is request.level
    assert {
        "patient_id": OneOf(("P1",)),
        "study_instance_uid": OneOf(("1.2",)),
        "series_instance_uid": OneOf(("1.3", "1.4")),
    } == request.query.conditions


def test_retrieve_tolerates_empty_keys_and_missing_parents() -> None:
    """Empty keys beside the unique ones, and a missing study, do not keep images from a workstation."""
    made = dataset("IMAGE", SOPInstanceUID="1.5", StudyInstanceUID="", PatientName="", RetrieveAETitle="PACS")

    assert {"sop_instance_uid": OneOf(("1.5",))} == retrieve(made, Root.PATIENT).query.conditions


@pytest.mark.parametrize(
    ("tag", "made"),
    [
        ("0020,000D", dataset()),
        ("0020,000D", dataset(StudyInstanceUID="")),
        ("0008,0018", dataset("IMAGE", StudyInstanceUID="1.2")),
        ("0010,0020", dataset("PATIENT", StudyInstanceUID="")),
        ("0010,0020", dataset("PATIENT", PatientID="P*")),
        ("0010,0020", dataset("PATIENT", PatientID="P?")),
        ("0010,0020", dataset("PATIENT", PatientID=["P1", "P2"])),
        ("0020,000D", dataset("PATIENT", PatientID="P1", StudyInstanceUID="1.2")),
        ("0008,0020", dataset(StudyInstanceUID="1.2", StudyDate="20040119")),
        ("0010,0010", dataset(StudyInstanceUID="1.2", PatientName="DOE^J")),
        ("0020,000E", dataset(StudyInstanceUID="1.2", SeriesInstanceUID="1.3")),
        ("0010,4000", dataset(StudyInstanceUID="1.2", PatientComments="x")),
    ],
)
def test_retrieve_refuses_what_is_not_a_unique_key(tag: str, made: Dataset) -> None:
    """A missing or vague unique key, or any other key with a value, is refused by its tag (A900)."""
    with pytest.raises(InvalidQuery, match=tag) as caught:
        retrieve(made, Root.PATIENT)

    assert len(str(caught.value)) <= 64


def test_retrieve_refuses_wildcards_in_uids() -> None:
    """No pattern chooses what is sent."""
    data = encoded(dataset()) + b"\x20\x00\x0d\x00UI\x04\x001.2*"

    with pytest.raises(InvalidQuery, match="0020,000D"):
        identifier.parse_retrieve(data, EXPLICIT, Root.STUDY)


@SYNTAXES
def test_failed_uids(syntax: Uid) -> None:
    """Failed instances are listed as the peer can read them, and as many as fit."""
    longest = [Uid("1." + str(number).rjust(62, "1")) for number in range(1200)]

    few = decoded(identifier.encode_failed_uids([Uid("1.2.3"), Uid("1.2.4")], syntax), syntax)
    many = decoded(identifier.encode_failed_uids(longest, syntax), syntax)

    assert ["1.2.3", "1.2.4"] == list(few.FailedSOPInstanceUIDList)
    assert longest[: identifier.MAX_FAILED_UIDS] == list(many.FailedSOPInstanceUIDList)


@given(st.binary(max_size=80), st.sampled_from([IMPLICIT, EXPLICIT, BIG]), st.sampled_from(Root))
@example(b"", IMPLICIT, Root.STUDY)
def test_random_bytes_raise_invalid_query_only(noise: bytes, syntax: Uid, root: Root) -> None:
    """Whatever a peer sends as an identifier, it is refused or understood, and never anything else."""
    for data in (noise, encoded(dataset(), syntax) + noise):
        for parse in (identifier.parse_find, identifier.parse_retrieve):
            refusal = ""
            try:
                parse(data, syntax, root)
            except InvalidQuery as error:
                refusal = str(error)

            assert len(refusal) <= 64


@given(
    st.dictionaries(st.sampled_from([attribute.tag for attribute in ATTRIBUTES]), st.binary(max_size=24), max_size=8),
    st.sampled_from(["", "ISO_IR 100", "\\ISO 2022 IR 87", "?"]),
)
def test_random_values_raise_invalid_query_only(values: dict[int, bytes], terms: str) -> None:
    """Garbage in known keys is refused or matched as text; the answer can always be encoded."""
    elements = values | {0x00080052: b"IMAGE ", 0x00080005: terms.encode().ljust(16)}
    data = b"".join(
        (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + len(raw).to_bytes(4, "little") + raw
        for tag, raw in sorted(elements.items())
    )
    try:
        request = identifier.parse_find(data, IMPLICIT, Root.PATIENT)
    except InvalidQuery:
        return

    assert "IMAGE" == answer(request, IMPLICIT, patient_name="山").QueryRetrieveLevel
