"""Identifiers of C-FIND responses, byte for byte: one encoder for all matches writes what each alone would be."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pacsnode.dicom import charset
from pacsnode.dicom.attributes import ATTRIBUTES, BY_TAG
from pacsnode.dicom.identifier import FindRequest
from pacsnode.dicom.response import MatchEncoder
from pacsnode.model import Level, Match, Query, Uid

IMPLICIT = Uid("1.2.840.10008.1.2")
EXPLICIT = Uid("1.2.840.10008.1.2.1")
BIG = Uid("1.2.840.10008.1.2.2")
CHARSET, LEVEL, AE_TITLE, AVAILABILITY = 0x00080005, 0x00080052, 0x00080054, 0x00080056
OWN = {LEVEL: ("CS", b"IMAGE"), AE_TITLE: ("AE", b"PACS"), AVAILABILITY: ("CS", b"ONLINE")}

TEXTS = (
    st.text(st.sampled_from("AZ^= \\-09\x1b\0"), max_size=70)
    | st.text(st.sampled_from("aé山Ж\\^"), max_size=9)
    | st.sampled_from(["", "1", "512", "512\\1", "-1", "65536"])
    | st.integers(1010, 1030).map("x".__mul__)
    | st.integers(0xFFFC, 0x10001).map("x".__mul__)
)


def request_for(tags: set[int], terms: str) -> FindRequest:
    answered = tuple(sorted(tags | {LEVEL, AE_TITLE}))
    return FindRequest(Query(Level.IMAGE), answered, frozenset(), terms, answered)


def element(tag: int, vr: str, value: bytes, syntax: Uid) -> bytes:
    """One element as PS3.5 7.1 has it; empty where 16 bits of length do not suffice."""
    order = ">" if syntax == BIG else "<"
    value = b"" if len(value) > 0xFFFE else value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return head + struct.pack("<I", len(value)) + value
    return head + vr.encode() + struct.pack(f"{order}H", len(value)) + value


def shorts(text: str, syntax: Uid) -> bytes:
    try:
        numbers = [int(value) for value in text.split("\\") if value]
        return struct.pack(f"{'>' if syntax == BIG else '<'}{len(numbers)}H", *numbers)
    except (ValueError, struct.error):
        return b""


def plainly(request: FindRequest, values: dict[str, str], syntax: Uid) -> bytes:
    """The response, element for element, with nothing known beforehand."""
    told = {tag: (BY_TAG[tag].vr, values[BY_TAG[tag].name]) for tag in request.answered if tag not in OWN}
    spoken = "\\".join(text for vr, text in told.values() if vr in charset.TEXT_VRS)
    _, terms = charset.encode(spoken, request.specific_character_set)
    written = dict(OWN)
    for tag, (vr, text) in told.items():
        if vr == "US":
            written[tag] = vr, shorts(text, syntax)
        elif vr in charset.TEXT_VRS:
            written[tag] = vr, charset.encode(text, terms)[0]
        else:
            written[tag] = vr, text.encode("latin-1", "replace")
    first = element(CHARSET, "CS", terms.encode(), syntax) if terms else b""
    return first + b"".join(element(tag, *written[tag], syntax) for tag in request.answered)


@given(
    st.sets(st.sampled_from([attribute.tag for attribute in ATTRIBUTES] + [AVAILABILITY]), max_size=12),
    st.sampled_from(["", "ISO_IR 100", "ISO_IR 192", "\\ISO 2022 IR 87", "GB18030", "?"]),
    st.sampled_from([IMPLICIT, EXPLICIT, BIG]),
    st.lists(st.lists(TEXTS, min_size=13, max_size=13), min_size=1, max_size=3),
)
@example(set(), "", IMPLICIT, [[""] * 13])
@example({AVAILABILITY}, "ISO_IR 100", EXPLICIT, [["é"] * 13])
def test_bytes_of_every_match(tags: set[int], terms: str, syntax: Uid, matches: list[list[str]]) -> None:
    """Whatever came before it, a match is written as it is alone, in each transfer syntax and character set."""
    request = request_for(tags, terms)
    names = [BY_TAG[tag].name for tag in request.answered if tag not in OWN]
    encoder = MatchEncoder(request, syntax, retrieve_ae_title="PACS")

    for texts in matches:
        values = dict(zip(names, texts, strict=False))

        assert plainly(request, values, syntax) == encoder.encode(Match(values))


@pytest.mark.parametrize("length", [0, 1, 63, 64, 1022, 1023, 1024, 1025, 0xFFFE, 0xFFFF])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_bytes_of_every_length(syntax: Uid, length: int) -> None:
    """Short values and long ones are written alike; what is too long for 16 bits is left unknown."""
    tag = 0x00081030
    values = {"study_description": "x" * length}
    request = request_for({tag}, "")

    data = MatchEncoder(request, syntax, retrieve_ae_title="PACS").encode(Match(values))

    assert plainly(request, values, syntax) == data
    assert 0 == len(data) % 2
