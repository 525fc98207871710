"""Frames found by offset tables, and Pixel Data written with one (PS3.5 A.4)."""

from __future__ import annotations

import io
import struct
from itertools import islice

import pytest

from pacsnode.dicom.encapsulation import encapsulated, locate
from pacsnode.dicom.syntax import EXPLICIT_VR_LITTLE_ENDIAN
from pacsnode.errors import CodecRefused
from pacsnode.model import Uid
from tests.dicom.dataset_bytes import Leaf, Node, Pixels, encode

RLE = Uid("1.2.840.10008.1.2.5")
PARTS = (b"aa", b"bbbb", b"cc")  # headers at 0, 10 and 22


def frames(count: int, table: bytes, *before: Node) -> list[bytes]:
    """Frames of an image of so many, in these parts."""
    one = struct.pack("<H", 1)
    described: list[Node] = [
        Leaf(0x00280004, "CS", b"MONOCHROME2 "),
        Leaf(0x00280008, "IS", f"{count:<2}".encode()),
        *(Leaf(tag, "US", one) for tag in (0x00280010, 0x00280011)),
        Leaf(0x00280100, "US", struct.pack("<H", 8)),
    ]
    data = encode([*described, *before, Pixels((table, *PARTS))], RLE)
    source = io.BytesIO(data)
    layout = locate(source, len(data), RLE)
    return [layout.frame(source, number) for number in range(count)]


def test_basic_offset_table() -> None:
    """Two frames, the first of two fragments."""
    assert [b"aabbbb", b"cc"] == frames(2, struct.pack("<2I", 0, 22))


def test_extended_offset_table() -> None:
    """Counts where there is one, and goes when the pixels become native."""
    extended = (
        Leaf(0x7FE00001, "OV", struct.pack("<2Q", 0, 10)),
        Leaf(0x7FE00002, "OV", struct.pack("<2Q", 2, 6)),
    )

    assert [b"aa", b"bbbbcc"] == frames(2, b"", *extended)


@pytest.mark.parametrize(
    "table", [b"", struct.pack("<2I", 0, 11), struct.pack("<2I", 10, 22), struct.pack("<2I", 0, 0)], ids=bytes.hex
)
def test_frames_that_cannot_be_told_apart(table: bytes) -> None:
    """No table, or one that points between fragments, behind the first one or twice to the same: refused."""
    with pytest.raises(CodecRefused, match="no one frame"):
        frames(2, table)


def test_written_with_a_table() -> None:
    """Fragments of even length, one for each frame, found again by the table."""
    streams = [b"abc", b"de"]
    data = b"".join(encapsulated([len(stream) for stream in streams], iter(streams)))

    assert encode([Pixels((struct.pack("<2I", 0, 12), b"abc\0", b"de"))], EXPLICIT_VR_LITTLE_ENDIAN) == data


def test_offsets_that_do_not_fit() -> None:
    """Beyond 4 GiB the table stays empty."""
    _, table = islice(encapsulated([1 << 32, 2], iter([])), 2)

    assert b"\xfe\xff\x00\xe0\0\0\0\0" == table
