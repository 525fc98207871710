"""Data sets for the tests: described as trees, encoded by rules that are written here a second time (PS3.5 7)."""

import struct
import zlib
from collections.abc import Sequence as Several
from dataclasses import dataclass
from pathlib import Path

import pytest

from pacsnode.dicom.elements import Elements
from pacsnode.dicom.syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from pacsnode.dicom.walk import DataSetWalker
from pacsnode.model import Uid

JPEG_BASELINE = Uid("1.2.840.10008.1.2.4.50")
NATIVE = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)
SYNTAXES = (*NATIVE, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, JPEG_BASELINE)
REAL_FILES = Path(__file__).parents[2].parent / "shared/dicom"
needs_real_files = pytest.mark.skipif(not REAL_FILES.is_dir(), reason="the folder of real DICOM files is not here")

_LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class Leaf:
    tag: int
    vr: str
    value: bytes


@dataclass(frozen=True)
class Branch:
    tag: int
    items: tuple[tuple["Node", ...], ...]
    has_length: bool = True
    items_have_length: bool = True
    vr: str = "SQ"


@dataclass(frozen=True)
class Pixels:
    fragments: tuple[bytes, ...]


Node = Leaf | Branch | Pixels


def encode(nodes: Several[Node], transfer_syntax_uid: Uid) -> bytes:
    """The data set as it would be sent."""
    order = ">" if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN else "<"
    plain = _nodes(nodes, order, is_implicit=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN)
    if transfer_syntax_uid != DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        return plain
    deflated = deflate(plain)
    return deflated + b"\0" * (len(deflated) % 2)


def deflate(plain: bytes) -> bytes:
    """A raw deflate stream, without padding."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(plain) + stream.flush()


def walk(data: bytes, transfer_syntax_uid: Uid, wanted: frozenset[int] | None = None) -> Elements:
    """Walk in one piece."""
    walker = DataSetWalker(transfer_syntax_uid, wanted)
    walker.feed(data)
    return walker.finish()


def _nodes(nodes: Several[Node], order: str, *, is_implicit: bool) -> bytes:
    return b"".join(_node(node, order, is_implicit=is_implicit) for node in nodes)


def _node(node: Node, order: str, *, is_implicit: bool) -> bytes:
    if isinstance(node, Leaf):
        return _header(node.tag, node.vr, len(node.value), order, is_implicit=is_implicit) + node.value
    if isinstance(node, Pixels):
        body = b"".join(_item(fragment, order, has_length=True) for fragment in node.fragments)
        header = _header(0x7FE00010, "OB", _UNDEFINED, order, is_implicit=is_implicit)
        return header + body + _tagged(0xFFFEE0DD, 0, order)
    inner_order, inner_implicit = ("<", True) if node.vr == "UN" else (order, is_implicit)
    body = b"".join(
        _item(_nodes(item, inner_order, is_implicit=inner_implicit), inner_order, has_length=node.items_have_length)
        for item in node.items
    )
    length = len(body) if node.has_length else _UNDEFINED
    end = b"" if node.has_length else _tagged(0xFFFEE0DD, 0, inner_order)
    return _header(node.tag, node.vr, length, order, is_implicit=is_implicit) + body + end


def _item(body: bytes, order: str, *, has_length: bool) -> bytes:
    if has_length:
        return _tagged(0xFFFEE000, len(body), order) + body
    return _tagged(0xFFFEE000, _UNDEFINED, order) + body + _tagged(0xFFFEE00D, 0, order)


def _header(tag: int, vr: str, length: int, order: str, *, is_implicit: bool) -> bytes:
    if is_implicit:
        return _tagged(tag, length, order)
    layout = "HH2s2xI" if vr in _LONG else "HH2sH"
    return struct.pack(order + layout, tag >> 16, tag & 0xFFFF, vr.encode(), length)


def _tagged(tag: int, length: int, order: str) -> bytes:
    return struct.pack(order + "HHI", tag >> 16, tag & 0xFFFF, length)
