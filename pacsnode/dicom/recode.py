"""Native data sets in implicit or explicit VR little endian (PS3.5 10.1), piece by piece: headers anew, values as they
are.

Sequences and items get undefined lengths, so that nothing has to be known before it comes; group lengths, which would
be wrong, and zeros behind the end are left out. What the walk tolerates is tolerated here.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator

from pacsnode.dicom import syntax
from pacsnode.dicom.coding import (
    EXPLICIT_LITTLE,
    HEADER_BYTES,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_DELIMITER,
    LONG_HEADER_BYTES,
    LONG_VRS,
    PIXEL_DATA,
    SEQUENCE_DELIMITER,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    Coding,
    coding_of,
    tag_name,
)
from pacsnode.dicom.inflate import Inflater
from pacsnode.dicom.representations import Representations
from pacsnode.dicom.sequences import SEQUENCE_TAGS
from pacsnode.errors import BadDataset
from pacsnode.model import Uid

PIECE_BYTES = 256 * 1024
_ENDLESS = 1 << 62
_HEADER = struct.Struct("<HHI")
_SHORT_HEADER = struct.Struct("<HH2sH")
_LONG_HEADER = struct.Struct("<HH2s2xI")
_MAX_SHORT_LENGTH = 0xFFFF
_CONVERTIBLE = frozenset(
    {
        syntax.IMPLICIT_VR_LITTLE_ENDIAN,
        syntax.EXPLICIT_VR_LITTLE_ENDIAN,
        syntax.EXPLICIT_VR_BIG_ENDIAN,
        syntax.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    }
)
# PS3.5 7.3: what big endian turns round, by VR; array's type codes of 2, 4 and 8 bytes.
_TURNED = {
    **dict.fromkeys((b"US", b"SS", b"OW", b"AT"), "H"),
    **dict.fromkeys((b"UL", b"SL", b"FL", b"OF", b"OL"), "I"),
    **dict.fromkeys((b"FD", b"OD", b"OV", b"SV", b"UV"), "Q"),
}


def is_convertible(transfer_syntax_uid: Uid) -> bool:
    """May a data set of this syntax be sent in Implicit and Explicit VR Little Endian, too?"""
    return transfer_syntax_uid in _CONVERTIBLE


def to_default_syntax(chunks: Iterable[bytes], transfer_syntax_uid: Uid, *, max_bytes: int) -> Iterator[bytes]:
    """A convertible data set in Implicit VR Little Endian, in pieces of ``PIECE_BYTES``, but for the last one.

    ``max_bytes`` bounds what a deflated one inflates to. Raises BadDataset, perhaps after pieces have come.
    """
    yield from _converted(chunks, transfer_syntax_uid, IMPLICIT_LITTLE, max_bytes)


def to_explicit_syntax(chunks: Iterable[bytes], transfer_syntax_uid: Uid, *, max_bytes: int) -> Iterator[bytes]:
    """As above, in Explicit VR Little Endian; what was sent without a VR, and is not in the dictionary, is UN."""
    yield from _converted(chunks, transfer_syntax_uid, EXPLICIT_LITTLE, max_bytes)


def _converted(chunks: Iterable[bytes], transfer_syntax_uid: Uid, target: Coding, max_bytes: int) -> Iterator[bytes]:
    if syntax.is_deflated(transfer_syntax_uid):
        chunks = inflated(chunks, max_bytes=max_bytes)
    return _Converter(_Reader(chunks), target).convert(coding_of(transfer_syntax_uid))


def inflated(chunks: Iterable[bytes], *, max_bytes: int) -> Iterator[bytes]:
    """A deflated data set in explicit VR little endian, otherwise as it is. Raises BadDataset."""
    inflater = Inflater(max_bytes)
    for chunk in chunks:
        yield from inflater.inflate(chunk)
    inflater.finish()


class _Reader:
    """Bytes that come in chunks, with a look ahead. ``at`` counts what was taken."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.at = 0
        self._chunks = iter(chunks)
        self._buffer = b""
        self._position = 0

    def peek(self, count: int) -> bytes:
        """The next bytes; fewer at the end."""
        while len(self._buffer) - self._position < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._buffer = self._buffer[self._position :] + bytes(chunk)
            self._position = 0
        return self._buffer[self._position : self._position + count]

    def skip(self, count: int) -> None:
        """Take bytes that were peeked at."""
        self._position += count
        self.at += count

    def values(self, length: int) -> Iterator[bytes]:
        """The next bytes, in pieces of whole numbers but for the last one."""
        while length:
            piece = self.peek(min(length, PIECE_BYTES))
            if not piece:
                raise BadDataset(f"truncated at byte {self.at}")
            self.skip(len(piece))
            length -= len(piece)
            yield piece


class _Converter:
    """One data set. Recursion goes as deep as its sequences, which the walk has bounded."""

    def __init__(self, reader: _Reader, target: Coding) -> None:
        self._reader = reader
        self._target = target
        self._representations = Representations()
        self._ready = bytearray()

    def convert(self, coding: Coding) -> Iterator[bytes]:
        """All of it."""
        yield from self._elements(_ENDLESS, coding, is_top=True)
        yield bytes(self._ready)

    def _elements(self, end: int, coding: Coding, *, is_top: bool) -> Iterator[bytes]:
        """Elements up to the end, or to the delimiter of their item."""
        reader, is_implicit, begin = self._reader, coding.is_implicit, self._reader.at
        while reader.at < end:
            head = reader.peek(LONG_HEADER_BYTES)
            if len(head) < HEADER_BYTES:
                if is_top and not head.strip(b"\0"):
                    return
                raise BadDataset(f"truncated at byte {reader.at}")
            group, number, length = coding.item.unpack_from(head)
            vr = b"" if is_implicit else head[4:6]
            if group == 0xFFFE:
                reader.skip(HEADER_BYTES)
                return
            if not is_implicit and not _is_vr(vr):
                if is_top:
                    return  # zeros behind the end
                if reader.at != begin or not coding.is_little_endian:
                    raise BadDataset(f"{tag_name(group << 16 | number)} at byte {reader.at} has no VR")
                is_implicit, vr = True, b""
            header_bytes = HEADER_BYTES
            if not is_implicit:
                header_bytes, length = _length(head, vr, coding)
            if is_top and group == number == length == 0 and is_implicit:
                return
            reader.skip(header_bytes)
            yield from self._element(group, number, vr, length, coding=coding, end=end)

    def _element(self, group: int, number: int, vr: bytes, length: int, *, coding: Coding, end: int) -> Iterator[bytes]:
        is_undefined, tag = length == UNDEFINED_LENGTH, group << 16 | number
        is_fragments = vr in (b"OB", b"OW") or (not vr and tag == PIXEL_DATA)
        if vr == b"SQ" or is_undefined or (not vr and tag in SEQUENCE_TAGS):
            kind = vr or (b"OB" if is_fragments else b"SQ" if tag in SEQUENCE_TAGS else b"UN")
            yield from self._write(self._header(group, number, kind, UNDEFINED_LENGTH))
            inner = IMPLICIT_LITTLE if vr in (b"UN", b"") else coding
            inner_end = end if is_undefined else self._reader.at + length
            target, self._target = self._target, IMPLICIT_LITTLE if kind == b"UN" else self._target
            yield from self._fragments(coding) if is_fragments else self._items(inner_end, inner)
            self._target = target
            yield from self._delimit(SEQUENCE_DELIMITER)
        elif number:
            if not vr and not self._target.is_implicit:
                vr = self._representations.of(tag, length)
                self._representations.learn(tag, self._reader.peek(length) if length == 2 else b"")
            yield from self._write(self._header(group, number, vr, length))
            yield from self._value(length, None if coding.is_little_endian else _TURNED.get(vr))
        else:
            for _ in self._reader.values(length):
                pass

    def _header(self, group: int, number: int, vr: bytes, length: int) -> bytes:
        if self._target.is_implicit:
            return _HEADER.pack(group, number, length)
        if vr not in SHORT_VRS:
            return _LONG_HEADER.pack(group, number, vr, length)
        if length > _MAX_SHORT_LENGTH:  # PS3.5 6.2.2: too long for its VR
            return _LONG_HEADER.pack(group, number, b"UN", length)
        return _SHORT_HEADER.pack(group, number, vr, length)

    def _items(self, end: int, coding: Coding) -> Iterator[bytes]:
        reader = self._reader
        while reader.at < end:
            tag, length = self._item_header(coding)
            if tag == SEQUENCE_DELIMITER:
                return
            yield from self._write(_HEADER.pack(ITEM >> 16, ITEM & 0xFFFF, UNDEFINED_LENGTH))
            item_end = end if length == UNDEFINED_LENGTH else reader.at + length
            yield from self._elements(item_end, coding, is_top=False)
            yield from self._delimit(ITEM_DELIMITER)

    def _fragments(self, coding: Coding) -> Iterator[bytes]:
        while True:
            tag, length = self._item_header(coding)
            if tag == SEQUENCE_DELIMITER:
                return
            yield from self._write(_HEADER.pack(ITEM >> 16, ITEM & 0xFFFF, length))
            yield from self._value(length, None)

    def _item_header(self, coding: Coding) -> tuple[int, int]:
        head = self._reader.peek(HEADER_BYTES)
        if len(head) < HEADER_BYTES:
            raise BadDataset(f"truncated at byte {self._reader.at}")
        self._reader.skip(HEADER_BYTES)
        group, number, length = coding.item.unpack(head)
        if (tag := group << 16 | number) not in (ITEM, SEQUENCE_DELIMITER):
            raise BadDataset(f"unexpected {tag_name(tag)} at byte {self._reader.at - HEADER_BYTES}")
        return tag, length

    def _value(self, length: int, numbers: str | None) -> Iterator[bytes]:
        for piece in self._reader.values(length):
            yield from self._write(piece if numbers is None else _turned(piece, numbers))

    def _delimit(self, tag: int) -> Iterator[bytes]:
        return self._write(_HEADER.pack(tag >> 16, tag & 0xFFFF, 0))

    def _write(self, content: bytes) -> Iterator[bytes]:
        ready = self._ready
        ready += content
        while len(ready) > PIECE_BYTES:
            yield bytes(ready[:PIECE_BYTES])
            del ready[:PIECE_BYTES]


def _is_vr(vr: bytes) -> bool:
    return vr in SHORT_VRS or (vr.isalpha() and vr.isupper())


def _length(head: bytes, vr: bytes, coding: Coding) -> tuple[int, int]:
    """Bytes of an explicit header, and the length that it tells."""
    short: int = coding.header.unpack_from(head)[3]
    # As the walk has it: a VR that is not known has the long form where the short one would say nothing.
    if vr == b"SQ" or vr in LONG_VRS or (vr not in SHORT_VRS and short == 0):
        if len(head) < LONG_HEADER_BYTES:
            raise BadDataset("truncated within a header")
        return LONG_HEADER_BYTES, coding.length.unpack_from(head, HEADER_BYTES)[0]
    return HEADER_BYTES, short


def _turned(piece: bytes, numbers: str) -> bytes:
    """The numbers in the other byte order; what is left of a broken one as it is."""
    values = array(numbers)
    whole = len(piece) - len(piece) % values.itemsize
    values.frombytes(piece[:whole])
    values.byteswap()
    return values.tobytes() + piece[whole:]
