"""Native data sets in Explicit VR Little Endian: VRs where there were none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacsnode.dicom.recode import to_default_syntax, to_explicit_syntax
from pacsnode.dicom.syntax import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from pacsnode.model import Uid
from tests.dicom.dataset_bytes import Branch, Leaf, Node, encode
from tests.dicom.test_recode import _nodes

NODES: list[Node] = [
    Leaf(0x00080005, "CS", b"ISO_IR 100"),
    Leaf(0x00080018, "UI", b"1.2.3\0"),
    Branch(0x00081140, ((Leaf(0x00081155, "UI", b"1.2\0"), Branch(0x00081199, ((),), False, False)),), False, False),
    Leaf(0x00090010, "LO", b"MADE UP "),
    Leaf(0x00091001, "UN", b"\1\2\3"),
    Leaf(0x00280103, "US", b"\1\0"),
    Leaf(0x00280106, "SS", b"\xff\xff"),
    Leaf(0x00283006, "OW", bytes(6)),
    Leaf(0x60003000, "OW", bytes(4)),
    Leaf(0x7FE00010, "OW", bytes(70_000)),
]


def explicit(data: bytes, syntax: Uid, piece: int = 1000) -> bytes:
    """Converted, where it comes in pieces."""
    chunks = (data[start : start + piece] for start in range(0, len(data), piece))
    return b"".join(to_explicit_syntax(chunks, syntax, max_bytes=1 << 30))


@pytest.mark.parametrize("piece", [3, 1000])
def test_of_implicit(piece: int) -> None:
    """By the dictionary, by the sign of the pixels, LO for private creators, else UN."""
    data = encode(NODES, IMPLICIT_VR_LITTLE_ENDIAN)

    assert encode(NODES, EXPLICIT_VR_LITTLE_ENDIAN) == explicit(data, IMPLICIT_VR_LITTLE_ENDIAN, piece)


def test_unsigned_pixels() -> None:
    """Where they are not signed, what is US or SS is US."""
    nodes: list[Node] = [Leaf(0x00280103, "US", b"\0\0"), Leaf(0x00280106, "US", b"\xff\xff")]
    data = encode(nodes, IMPLICIT_VR_LITTLE_ENDIAN)

    assert encode(nodes, EXPLICIT_VR_LITTLE_ENDIAN) == explicit(data, IMPLICIT_VR_LITTLE_ENDIAN)


def test_too_long_for_its_vr() -> None:
    """UN, whose length has 32 bits (PS3.5 6.2.2)."""
    data = encode([Leaf(0x00080018, "UI", bytes(70_000))], IMPLICIT_VR_LITTLE_ENDIAN)

    assert encode([Leaf(0x00080018, "UN", bytes(70_000))], EXPLICIT_VR_LITTLE_ENDIAN) == explicit(
        data, IMPLICIT_VR_LITTLE_ENDIAN
    )


def test_unknown_sequence_without_length() -> None:
    """UN, with what is in it in implicit VR as it was (PS3.5 6.2.2 note 4)."""
    inner = (Leaf(0x00091002, "LO", b"x "),)
    data = encode([Branch(0x00091001, (inner,), False, False)], IMPLICIT_VR_LITTLE_ENDIAN)

    assert encode([Branch(0x00091001, (inner,), False, False, vr="UN")], EXPLICIT_VR_LITTLE_ENDIAN) == explicit(
        data, IMPLICIT_VR_LITTLE_ENDIAN
    )


@given(st.lists(_nodes, min_size=1, max_size=8), st.integers(1, 40))
def test_the_same_elements_and_values(nodes: list[Node], piece: int) -> None:
    """From big endian straight to implicit VR, or by way of explicit VR: the same."""
    data = encode(nodes, EXPLICIT_VR_BIG_ENDIAN)
    direct = b"".join(to_default_syntax([data], EXPLICIT_VR_BIG_ENDIAN, max_bytes=1 << 30))
    between = explicit(data, EXPLICIT_VR_BIG_ENDIAN, piece)

    assert direct == b"".join(to_default_syntax([between], EXPLICIT_VR_LITTLE_ENDIAN, max_bytes=1 << 30))
