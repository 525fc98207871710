"""Native data sets in Implicit VR Little Endian: what our own encoder, and pydicom, make of them."""

from __future__ import annotations

import io
import warnings
from array import array
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from pacsnode.dicom import part10, walk
from pacsnode.dicom.recode import PIECE_BYTES, is_convertible, to_default_syntax
from pacsnode.dicom.syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from pacsnode.errors import BadDataset
from pacsnode.model import Uid
from tests.dicom.dataset_bytes import (
    JPEG_BASELINE,
    REAL_FILES,
    Branch,
    Leaf,
    Node,
    Pixels,
    encode,
    needs_real_files,
)

CONVERTIBLE = (EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
_TEXTS = st.sampled_from(["LO", "PN", "UI", "UT", "OB", "UN", "UC", "ZZ", "??"])
_TAGS = st.integers(0x00080001, 0x00FFFFFF).filter(lambda tag: tag & 0xFFFF and tag >> 16)
_leaves = st.builds(Leaf, _TAGS, _TEXTS, st.binary(min_size=1, max_size=30))
_nodes = st.recursive(
    _leaves,
    lambda inner: st.builds(
        Branch,
        _TAGS,
        st.lists(st.lists(inner, max_size=3).map(tuple), max_size=3).map(tuple),
        st.booleans(),
        st.booleans(),
    ),
    max_leaves=12,
)


def recoded(data: bytes, syntax: Uid, piece: int = 1000) -> list[bytes]:
    """The pieces that come, where the data set goes in in pieces."""
    chunks = (data[start : start + piece] for start in range(0, len(data), piece))
    return list(to_default_syntax(chunks, syntax, max_bytes=1 << 30))


def undefined(node: Node) -> Node:
    """The same without lengths of sequences and items."""
    if not isinstance(node, Branch):
        return node
    return Branch(node.tag, tuple(tuple(map(undefined, item)) for item in node.items), False, False, node.vr)


@given(st.lists(_nodes, min_size=1, max_size=8), st.sampled_from(CONVERTIBLE), st.integers(1, 40))
def test_any_data_set(nodes: list[Node], syntax: Uid, piece: int) -> None:
    """Every element in its place, with the bytes of its value, however the data set comes."""
    found = b"".join(recoded(encode(nodes, syntax), syntax, piece))

    assert encode([undefined(node) for node in nodes], IMPLICIT_VR_LITTLE_ENDIAN) == found


NUMBERS = [
    ("US", b"\1\2\3\4", b"\2\1\4\3"),
    ("OW", b"\1\2\3\4\5", b"\2\1\4\3\5"),
    ("AT", b"\0\x10\0\x20", b"\x10\0\x20\0"),
    ("FL", b"\1\2\3\4", b"\4\3\2\1"),
    ("OD", b"\1\2\3\4\5\6\7\x08", b"\x08\7\6\5\4\3\2\1"),
    ("OB", b"\1\2\3\4", b"\1\2\3\4"),
]


@pytest.mark.parametrize(("vr", "big", "little"), NUMBERS, ids=[vr for vr, _, _ in NUMBERS])
def test_numbers_of_big_endian(vr: str, big: bytes, little: bytes) -> None:
    """Turned round by the width of the VR, in sequences, too (PS3.5 7.3)."""
    nodes: list[Node] = [Leaf(0x00181312, vr, big), Branch(0x00400275, ((Leaf(0x00181313, vr, big),),))]
    turned: list[Node] = [
        Leaf(0x00181312, vr, little),
        Branch(0x00400275, ((Leaf(0x00181313, vr, little),),), False, False),
    ]

    assert encode(turned, IMPLICIT_VR_LITTLE_ENDIAN) == b"".join(
        recoded(encode(nodes, EXPLICIT_VR_BIG_ENDIAN), EXPLICIT_VR_BIG_ENDIAN)
    )


@pytest.mark.parametrize("syntax", CONVERTIBLE)
def test_a_large_value(syntax: Uid) -> None:
    """Pixels pass through in pieces of one, even size."""
    pixels = bytes(range(256)) * 4096
    data = encode([Leaf(0x00080018, "UI", b"1.2.3"), Leaf(0x7FE00010, "OB", pixels)], syntax)
    pieces = recoded(data, syntax, 70_001)

    assert {PIECE_BYTES} == {len(piece) for piece in pieces[:-1]}
    assert encode(
        [Leaf(0x00080018, "UI", b"1.2.3"), Leaf(0x7FE00010, "OB", pixels)], IMPLICIT_VR_LITTLE_ENDIAN
    ) == b"".join(pieces)


def test_oddities() -> None:
    """Group lengths and zeros behind the end go; UN of undefined length, fragments and implicit items stay."""
    unknown = Branch(0x00091001, ((Leaf(0x00091002, "LO", b"x "),),), False, False, vr="UN")
    kept: list[Node] = [unknown, Pixels((b"", b"\1\2\3"))]
    data = encode([Leaf(0x00080000, "UL", b"\4\0\0\0"), *kept], EXPLICIT_VR_LITTLE_ENDIAN) + bytes(20)
    implicit_item = b"\x40\0\x75\2SQ\0\0\x12\0\0\0" + b"\xfe\xff\0\xe0\x0a\0\0\0" + b"\x40\0\7\0\2\0\0\0ab"
    expected = encode(
        [Branch(0x00400275, ((Leaf(0x00400007, "LO", b"ab"),),), False, False), *kept], IMPLICIT_VR_LITTLE_ENDIAN
    )

    assert expected == b"".join(recoded(implicit_item + data, EXPLICIT_VR_LITTLE_ENDIAN))


@pytest.mark.parametrize("cut", [1, 3, 9, 20])
def test_truncated(cut: int) -> None:
    """What ends too soon is no data set."""
    data = encode([Branch(0x00400275, ((Leaf(0x00400007, "LO", b"ab"),),), False, False)], EXPLICIT_VR_LITTLE_ENDIAN)
    with pytest.raises(BadDataset):
        recoded(data[:-cut], EXPLICIT_VR_LITTLE_ENDIAN)


def test_what_is_convertible() -> None:
    """Native syntaxes."""
    assert [True, True, True, True, False] == [
        is_convertible(uid) for uid in (*CONVERTIBLE, IMPLICIT_VR_LITTLE_ENDIAN, JPEG_BASELINE)
    ]


def real_native() -> Iterator[tuple[bytes, Dataset]]:
    """Data sets of real files in convertible syntaxes, with pydicom's reading of the same."""
    for path in sorted(REAL_FILES.rglob("*")):
        if not path.is_file() or path.stat().st_size > 1 << 20:
            continue
        with path.open("rb") as source:
            try:
                head = part10.read_foreign_head(source)
                source.seek(head.offset)
                data = source.read()
                if is_convertible(head.transfer_syntax_uid):
                    walker = walk.DataSetWalker(head.transfer_syntax_uid, frozenset())
                    walker.feed(data)
                    walker.finish()
                    yield b"".join(recoded(data, head.transfer_syntax_uid, 5000)), dcmread(path)
            except BadDataset:
                continue


def differences(original: Dataset, found: Dataset) -> list[int]:
    """Tags of what is not the same in both; group lengths do not count."""
    tags = {int(tag) for tag in original.keys() if tag.elem}  # noqa: SIM118 - iterating would decode the elements
    return sorted(tags ^ {int(tag) for tag in found.keys()}) + [  # noqa: SIM118
        tag for tag in sorted(tags & set(map(int, found.keys()))) if not is_same(tag, original, found)
    ]


def is_same(tag: int, original: Dataset, found: Dataset) -> bool:
    """The same bytes, or the same value where pydicom or the byte order has made something else of them."""
    one, other = original.get_item(tag), found.get_item(tag)
    assert one is not None
    assert other is not None
    if other.VR == "SQ":
        pairs = zip(original[tag].value, found[tag].value, strict=True)
        return not any(differences(mine, theirs) for mine, theirs in pairs)
    if one.VR == "OW" and not getattr(one, "is_little_endian", True):  # pydicom leaves these as they are
        swapped = array("H", one.value)
        swapped.byteswap()
        return bool(swapped.tobytes() == other.value)
    return bool((one.value or b"") == (other.value or b"") or original[tag].value == found[tag].value)


@needs_real_files
@pytest.mark.timeout(120)
def test_real_files() -> None:
    """pydicom reads the same elements and values as from the file."""
    count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for converted, original in real_native():
            found = read_dataset(io.BytesIO(converted), is_implicit_VR=True, is_little_endian=True)
            assert [] == [f"{tag:08X}" for tag in differences(original, found)], original.filename
            count += 1

    assert count > 100
