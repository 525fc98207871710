"""How the headers of elements and items are laid out (PS3.5 7.1, 7.5)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pacsnode.dicom import syntax
from pacsnode.model import Uid

UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_DELIMITER = 0xFFFEE00D
SEQUENCE_DELIMITER = 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010

HEADER_BYTES = 8
LONG_HEADER_BYTES = 12
# PS3.5 7.1.2: 16 bits of length for these, two reserved bytes and 32 bits for those of Table 7.1-1 (and for SQ).
# "??" and two spaces stand for "unknown" in files of old writers.
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US ??".split()) | {b"  "}
LONG_VRS = frozenset(b"OB OD OF OL OV OW SV UC UN UR UT UV".split())


@dataclass(frozen=True, slots=True)
class Coding:
    """What a transfer syntax means for headers."""

    is_implicit: bool
    is_little_endian: bool
    header: struct.Struct  # group, element, VR, short length
    item: struct.Struct  # group, element, long length: items, delimiters, and everything in implicit VR
    length: struct.Struct  # the long length of explicit VR, after the reserved bytes


def coding_of(transfer_syntax_uid: Uid) -> Coding:
    """How the data set is laid out, after inflating where the syntax is deflated."""
    if syntax.is_implicit(transfer_syntax_uid):
        return IMPLICIT_LITTLE
    return EXPLICIT_LITTLE if syntax.is_little_endian(transfer_syntax_uid) else EXPLICIT_BIG


def tag_name(tag: int) -> str:
    """``(gggg,eeee)``, as the standard writes it."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _coding(order: str, *, is_implicit: bool) -> Coding:
    header, item, length = (struct.Struct(order + layout) for layout in ("HH2sH", "HHI", "I"))
    return Coding(is_implicit, order == "<", header, item, length)


IMPLICIT_LITTLE = _coding("<", is_implicit=True)
EXPLICIT_LITTLE = _coding("<", is_implicit=False)
EXPLICIT_BIG = _coding(">", is_implicit=False)
