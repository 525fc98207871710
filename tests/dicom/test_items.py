"""Sequences: from bytes to the text of the index, and to the items of an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence as Several

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from pacsnode.dicom import identifier
from pacsnode.dicom.attributes import BY_NAME, HEADER_TAGS
from pacsnode.dicom.header import read_header
from pacsnode.dicom.identifier import Root
from pacsnode.dicom.items import MAX_BYTES
from pacsnode.dicom.syntax import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from pacsnode.errors import InvalidQuery
from pacsnode.model import Items, OneOf, Uid, Wildcard
from tests.dicom.dataset_bytes import NATIVE, Branch, Leaf, Node, encode, walk
from tests.dicom.test_identifier import answer, dataset, find

UIDS = tuple(Leaf(tag, "UI", b"1.2\0") for tag in (0x00080016, 0x00080018, 0x0020000D, 0x0020000E))
CODE, SCHEME, MEANING = (
    Leaf(0x00080100, "SH", b"P5-09051"),
    Leaf(0x00080102, "SH", b"SRT "),
    Leaf(0x00080104, "LO", "Schädel".encode("latin-1") + b" "),
)
PROCEDURES, REQUESTS, PROTOCOLS = 0x00081032, 0x00400275, 0x00400008
KEPT = {"00080100": "P5-09051", "00080102": "SRT", "00080104": "Schädel"}


def kept(nodes: Several[Node], uid: Uid = EXPLICIT_VR_LITTLE_ENDIAN, name: str = "procedure_code_sequence") -> object:
    """What the index keeps, read back."""
    data = encode([Leaf(0x00080005, "CS", b"ISO_IR 100"), *UIDS, *nodes], uid)
    text = getattr(read_header(walk(data, uid, HEADER_TAGS)), name)
    return json.loads(text) if text else None


@pytest.mark.parametrize("uid", NATIVE)
@pytest.mark.parametrize("has_length", [True, False])
@pytest.mark.parametrize("items_have_length", [True, False])
def test_items_are_kept(uid: Uid, has_length: bool, items_have_length: bool) -> None:
    """However the lengths are told, each item is kept with the attributes that we know of it."""
    other = Leaf(0x00081030, "LO", b"x ")
    pixels = Branch(0x00081140, ((CODE,),), has_length, items_have_length)
    items = ((CODE, other, SCHEME, MEANING), (pixels, SCHEME))
    node = Branch(PROCEDURES, items, has_length, items_have_length)

    assert [KEPT, {"00080102": "SRT"}] == kept([node], uid)


@pytest.mark.parametrize("uid", NATIVE)
def test_nested_items_are_kept(uid: Uid) -> None:
    """Sequences within items are kept in them; an item may have a character set of its own."""
    utf8 = (Leaf(0x00080005, "CS", b"ISO_IR 192"), Leaf(0x00080104, "LO", "山".encode() + b" "))
    request = (Branch(PROTOCOLS, (utf8, (CODE,)), has_length=False), Leaf(0x00401001, "SH", b"R1"))
    expected = [{"00400008": [{"00080104": "山"}, {"00080100": "P5-09051"}], "00401001": "R1"}]

    assert expected == kept([Branch(REQUESTS, (request,))], uid, "request_attributes_sequence")


@pytest.mark.parametrize("uid", [EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN])
@pytest.mark.parametrize("has_length", [True, False])
def test_sequences_as_unknown(uid: Uid, has_length: bool) -> None:
    """A sequence that came as UN has items in implicit VR little endian (PS3.5 6.2.2)."""
    assert [KEPT] == kept([Branch(PROCEDURES, ((CODE, SCHEME, MEANING),), has_length, vr="UN")], uid)


@pytest.mark.parametrize(
    "node",
    [
        Branch(PROCEDURES, ()),
        Branch(PROCEDURES, ((),)),
        Branch(PROCEDURES, ((Leaf(0x00080100, "SH", b"  "),),)),
        Leaf(PROCEDURES, "UN", b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 9),
        Leaf(PROCEDURES, "UN", (b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + b"\x08\x00\x32\x10\xff\xff\xff\xff") * 99),
        Leaf(PROCEDURES, "LO", b"text"),
        Branch(PROCEDURES, ((Leaf(0x00080104, "LO", b"x" * 0xFFF0),),) * (MAX_BYTES // 0xFFF0 + 1)),
    ],
    ids=["no item", "empty item", "empty value", "broken", "too deep", "no sequence", "too long"],
)
def test_sequences_that_say_nothing(node: Node) -> None:
    """What is empty, unreadable or too long is unknown, and does not hinder the rest."""
    assert kept([node]) is None


def asking(*items: Mapping[str, object], level: str = "STUDY", keyword: str = "ProcedureCodeSequence") -> Dataset:
    made = dataset(level)
    made_items = []
    for values in items:
        item = Dataset()
        for name, value in values.items():
            setattr(item, name, value)
        made_items.append(item)
    setattr(made, keyword, Sequence(made_items))
    return made


def test_item_keys_become_conditions() -> None:
    """All keys of the item have to match within one item; empty ones are universal (PS3.4 C.2.2.2.6)."""
    request = find(asking({"CodeValue": "P5*", "CodingSchemeDesignator": "SRT", "CodeMeaning": ""}))

    expected = Items({"code_value": Wildcard("P5*"), "coding_scheme_designator": OneOf(("SRT",))})
    assert {"procedure_code_sequence": expected} == request.query.conditions
    assert request.is_supported


@pytest.mark.parametrize("items", [(), ({},)])
def test_sequence_without_item_keys(items: tuple[dict[str, object], ...]) -> None:
    """No item, or an empty one, matches everything and is answered with all we know."""
    request = find(asking(*items))
    told = answer(request, procedure_code_sequence=json.dumps([KEPT, {"00080100": "X"}]))

    assert ({}, True) == (request.query.conditions, request.is_supported)
    assert ["P5-09051", "X"] == [item.CodeValue for item in told.ProcedureCodeSequence]
    assert ["Schädel", ""] == [item.CodeMeaning or "" for item in told.ProcedureCodeSequence]


def test_nested_item_keys() -> None:
    """Sequences within the item are matched by the same rules."""
    code = Dataset()
    code.CodeValue = "P5-09051"
    asked = {"ScheduledProtocolCodeSequence": Sequence([code]), "RequestedProcedureID": ""}
    request = find(asking(asked, level="SERIES", keyword="RequestAttributesSequence"))

    inner = Items({"code_value": OneOf(("P5-09051",))})
    expected = {"request_attributes_sequence": Items({"scheduled_protocol_code_sequence": inner})}
    assert expected == request.query.conditions


def test_more_items_than_one() -> None:
    """A sequence of a request has one item."""
    with pytest.raises(InvalidQuery, match=r"\(0008,1032\)"):
        find(asking({"CodeValue": "A"}, {"CodeValue": "B"}))


def test_unknown_item_keys() -> None:
    """Item keys that we do not keep are neither matched nor told, which FF01 says."""
    request = find(asking({"CodeValue": "", "MappingResource": "DCMR"}))
    told = answer(request, procedure_code_sequence=json.dumps([KEPT]))

    assert (frozenset({PROCEDURES}), {}, False) == (request.unmatched, request.query.conditions, request.is_supported)
    assert ["CodeValue"] == told.ProcedureCodeSequence[0].dir()


@pytest.mark.parametrize("syntax", [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN])
def test_items_of_an_answer(syntax: Uid) -> None:
    """Items that match are told, nested ones, too, with the keys asked for; the character set can say them."""
    code = Dataset()
    code.CodeValue, code.CodeMeaning = "A*", None
    asked = {"ScheduledProtocolCodeSequence": Sequence([code]), "RequestedProcedureDescription": ""}
    request = find(asking(asked, level="SERIES", keyword="RequestAttributesSequence"), syntax=syntax)
    protocols = [{"00080100": "A1", "00080104": "山"}, {"00080100": "B1", "00080104": "川"}]
    stored = [{"00400008": protocols, "00321060": "Schädel"}, {"00400008": [{"00080100": "B"}], "00321060": "other"}]

    told = answer(request, syntax, request_attributes_sequence=json.dumps(stored))

    (item,) = told.RequestAttributesSequence
    assert "ISO_IR 192" == told.SpecificCharacterSet
    assert ["RequestedProcedureDescription", "ScheduledProtocolCodeSequence"] == sorted(item.dir())
    assert "Schädel" == item.RequestedProcedureDescription
    (protocol,) = item.ScheduledProtocolCodeSequence
    assert ("A1", "山") == (protocol.CodeValue, protocol.CodeMeaning)


def test_unknown_sequence() -> None:
    """A sequence that was asked for and is not known is there, without items."""
    assert [] == list(answer(find(asking({"CodeValue": ""}))).ProcedureCodeSequence)


def test_attributes_of_items_are_not_keys() -> None:
    """Names within items are apart from those of the levels."""
    assert "code_value" not in BY_NAME


@pytest.mark.parametrize("vr", ["SQ", "UN"])
def test_a_sequence_in_place_of_text(vr: str) -> None:
    """An attribute of text that comes as a sequence is unknown, in a data set and in a key; also as a character set."""
    found = Branch(BY_NAME["study_id"].tag, ((CODE,),), has_length=False, vr=vr)
    data = encode([*UIDS, found], EXPLICIT_VR_LITTLE_ENDIAN)
    level = Leaf(0x00080052, "CS", b"STUDY ")
    keys = encode([Branch(0x00080005, ((CODE,),), has_length=False, vr=vr), level, found], EXPLICIT_VR_LITTLE_ENDIAN)
    request = identifier.parse_find(keys, EXPLICIT_VR_LITTLE_ENDIAN, Root.STUDY)

    assert read_header(walk(data, EXPLICIT_VR_LITTLE_ENDIAN, HEADER_TAGS)).study_id == ""
    assert ({}, "") == (request.query.conditions, request.specific_character_set)


@pytest.mark.parametrize("tag", [PROCEDURES, 0x00081110])
def test_sequences_in_a_retrieve(tag: int) -> None:
    """What a workstation leaves in the identifier of a retrieve is no unique key, and does no harm."""
    nodes: list[Node] = [Leaf(0x00080052, "CS", b"STUDY "), Branch(tag, ((CODE,),)), Leaf(0x0020000D, "UI", b"1.2\0")]
    request = identifier.parse_retrieve(encode(nodes, EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN, Root.STUDY)

    assert {"study_instance_uid": OneOf(("1.2",))} == request.query.conditions
