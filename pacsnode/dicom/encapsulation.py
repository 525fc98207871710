"""Where Pixel Data is in a data set, how it is cut into frames, and how its element is written (PS3.5 8, A.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from pacsnode.dicom import pixels, splice
from pacsnode.dicom.coding import (
    HEADER_BYTES,
    ITEM,
    LONG_HEADER_BYTES,
    PIXEL_DATA,
    SEQUENCE_DELIMITER,
    SHORT_VRS,
    UNDEFINED_LENGTH,
)
from pacsnode.dicom.elements import Elements
from pacsnode.dicom.pixels import PixelDescription
from pacsnode.dicom.skim import skim
from pacsnode.dicom.splice import Edit, Stretch
from pacsnode.dicom.walk import DataSetWalker
from pacsnode.errors import CodecMismatch, CodecRefused
from pacsnode.model import Uid

_PIXEL_GROUP_LENGTH = 0x7FE00000
_NOTED = frozenset(
    {
        PIXEL_DATA,
        _PIXEL_GROUP_LENGTH,
        pixels.PHOTOMETRIC_INTERPRETATION,
        pixels.EXTENDED_OFFSET_TABLE,
        pixels.EXTENDED_OFFSET_TABLE_LENGTHS,
        pixels.FLOAT_PIXEL_DATA,
        pixels.DOUBLE_FLOAT_PIXEL_DATA,
    }
)
_ITEM = struct.Struct("<HHI")
_EXPLICIT = struct.Struct("<HH2s2xI")
_SHORT_EXPLICIT = struct.Struct("<HH2sH")
_DELIMITER = _ITEM.pack(SEQUENCE_DELIMITER >> 16, SEQUENCE_DELIMITER & 0xFFFF, 0)
_STREAM_STARTS = (b"\xff\xd8", b"\xff\x4f")  # of JPEG and JPEG-LS, of JPEG 2000
_MAX_BASIC_OFFSET = 0xFFFFFFFF
_MAX_VALUE_BYTES = 8 * 1024 * 1024  # an offset table of a million frames

Frame = tuple[Stretch, ...]
"""The stretches, one behind the other, that a frame is in."""


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """Pixel Data within the data set that begins at ``base`` of its source, explicit VR little endian."""

    base: int
    size: int
    description: PixelDescription
    element: Stretch  # Pixel Data from its header to its last delimiter
    frames: Sequence[Frame]
    beside: tuple[Stretch, ...]  # group length and offset tables, which are about the encoding alone
    photometric: Stretch | None  # its element
    is_encapsulated: bool

    def frame(self, source: BinaryIO, number: int) -> bytes:
        """The bytes of a frame. Raises ObjectDamaged."""
        return b"".join(splice.read(source, self.base, stretch) for stretch in self.frames[number])

    def replaced(self, source: BinaryIO, element: Iterable[bytes], photometric: str) -> Iterator[bytes]:
        """The data set with another Pixel Data element; nothing else is touched but a Photometric Interpretation that
        is not this one. Raises ObjectDamaged, and what the element raises."""
        edits = [*map(Edit, self.beside), Edit(self.element, element)]
        if self.photometric is not None and photometric != self.description.photometric:
            edits.append(Edit(self.photometric, [_photometric(photometric)]))
        return splice.spliced(source, self.base, self.size, edits)

    def kept(self) -> tuple[list[Stretch], list[Stretch]]:
        """What is before Pixel Data and what is behind it, without what is about its encoding."""
        return self._kept(0, self.element.begin), self._kept(self.element.end, self.size)

    def _kept(self, begin: int, end: int) -> list[Stretch]:
        found: list[Stretch] = []
        for left_out in sorted(self.beside, key=lambda one: one.begin):
            if begin <= left_out.begin and left_out.end <= end:
                found.append(Stretch(begin, left_out.begin))
                begin = left_out.end
        return [*found, Stretch(begin, end)]


def locate(source: BinaryIO, size: int, transfer_syntax_uid: Uid) -> PixelLayout:
    """Find the Pixel Data of the data set that the source stands at, which is explicit VR little endian.

    Raises BadDataset where it is no data set, CodecRefused where there are no pixels or they are not what is told.
    """
    base = source.tell()
    walker = DataSetWalker(transfer_syntax_uid, pixels.DESCRIBING_TAGS, noted=_NOTED)
    skim(source, walker, size)
    elements = walker.finish()
    place = elements.places.get(PIXEL_DATA)
    if place is None:
        floats = {pixels.FLOAT_PIXEL_DATA, pixels.DOUBLE_FLOAT_PIXEL_DATA} & elements.places.keys()
        raise CodecRefused("floating point pixels" if floats else "no Pixel Data")
    if elements.repeated or place.vr not in ("OB", "OW") or elements.coding.is_implicit:
        raise CodecRefused("Pixel Data that may be read in more than one way")
    photometric = elements.places.get(pixels.PHOTOMETRIC_INTERPRETATION)
    stated = b"" if photometric is None else _value(source, base, elements, pixels.PHOTOMETRIC_INTERPRETATION)
    description = pixels.describe(elements, stated)
    begin = place.value_at - LONG_HEADER_BYTES
    if place.length == UNDEFINED_LENGTH:
        fragments = list(_fragments(source, base, place.value_at, size))
        end = fragments[-1].end if fragments else place.value_at
        offsets = _value(source, base, elements, pixels.EXTENDED_OFFSET_TABLE)
        frames: Sequence[Frame] = _frames(source, base, fragments, description.frames, offsets)
        element = Stretch(begin, end + HEADER_BYTES)
    else:
        frames = _native_frames(place.value_at, place.length, description)
        element = Stretch(begin, place.value_at + place.length)
    beside = (_PIXEL_GROUP_LENGTH, pixels.EXTENDED_OFFSET_TABLE, pixels.EXTENDED_OFFSET_TABLE_LENGTHS)
    return PixelLayout(
        base=base,
        size=size,
        description=description,
        element=element,
        frames=frames,
        beside=tuple(_element(elements, tag) for tag in beside if tag in elements.places),
        photometric=None if photometric is None else _element(elements, pixels.PHOTOMETRIC_INTERPRETATION),
        is_encapsulated=place.length == UNDEFINED_LENGTH,
    )


def locate_beside(original: PixelLayout, source: BinaryIO, made: BinaryIO, size: int) -> PixelLayout:
    """The same for what ``made`` stands at, so many bytes: encapsulated, one fragment to a frame, and byte by byte like
    the original, which lies in ``source``, before and behind Pixel Data.

    The bytes before are compared here, so that a walk would get to Pixel Data where it got with the original; those
    behind it begin at the top level with both. Raises CodecMismatch where it is otherwise, ObjectDamaged.
    """
    base = made.tell()
    before, behind = original.kept()
    begin = _alike(original.base, source, before, base, made, 0)
    head = splice.read(made, base, Stretch(begin, begin + LONG_HEADER_BYTES))
    if head != _EXPLICIT.pack(PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF, b"OB", UNDEFINED_LENGTH):
        raise CodecMismatch("the new object has something else where its pixels should be")
    items = list(_fragments(made, base, begin + LONG_HEADER_BYTES, size))
    end = (items[-1].end if items else begin + LONG_HEADER_BYTES) + HEADER_BYTES
    if len(items) != original.description.frames + 1:
        raise CodecMismatch("the new object has another number of frames")
    if splice.read(made, base, Stretch(end - HEADER_BYTES, end)) != _DELIMITER:
        raise CodecMismatch("the new object's pixels have no end")
    if _alike(original.base, source, behind, base, made, end) != size:
        raise CodecMismatch("something besides the pixels is not the same")
    return PixelLayout(
        base=base,
        size=size,
        description=original.description,
        element=Stretch(begin, end),
        frames=[(item,) for item in items[1:]],
        beside=(),
        photometric=original.photometric,
        is_encapsulated=True,
    )


def _alike(base: int, source: BinaryIO, stretches: Sequence[Stretch], made_base: int, made: BinaryIO, at: int) -> int:
    """Where in ``made`` the stretches end that begin at ``at``. Raises CodecMismatch where they are others."""
    for stretch in stretches:
        for piece in splice.pieces(source, base, stretch):
            if splice.read(made, made_base, Stretch(at, at + len(piece))) != piece:
                raise CodecMismatch("something besides the pixels is not the same")
            at += len(piece)
    return at


def native_header(vr: str, size: int) -> bytes:
    """The header of native Pixel Data of so many bytes, padding not counted, in explicit VR little endian."""
    return _EXPLICIT.pack(PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF, vr.encode("ascii"), size + size % 2)


def encapsulated(sizes: Sequence[int], streams: Iterable[bytes]) -> Iterator[bytes]:
    """Pixel Data of one fragment for each codestream, in explicit VR little endian; the sizes come first, for the Basic
    Offset Table, which is left empty where it would not do (PS3.5 A.4)."""
    yield _EXPLICIT.pack(PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF, b"OB", UNDEFINED_LENGTH)
    offsets = [0]
    for size in sizes:
        offsets.append(offsets[-1] + HEADER_BYTES + size + size % 2)
    table = b"" if offsets[-1] > _MAX_BASIC_OFFSET else struct.pack(f"<{len(sizes)}I", *offsets[:-1])
    yield _ITEM.pack(ITEM >> 16, ITEM & 0xFFFF, len(table)) + table
    for size, stream in zip(sizes, streams, strict=True):
        yield _ITEM.pack(ITEM >> 16, ITEM & 0xFFFF, size + size % 2)
        yield stream + bytes(size % 2)
    yield _DELIMITER


def _fragments(source: BinaryIO, base: int, at: int, size: int) -> Iterator[Stretch]:
    """The values of the items, the offset table first; the walk has seen that they are whole."""
    while at < size:
        group, number, length = _ITEM.unpack(splice.read(source, base, Stretch(at, at + HEADER_BYTES)))
        if group << 16 | number != ITEM:
            return
        yield Stretch(at + HEADER_BYTES, at + HEADER_BYTES + length)
        at += HEADER_BYTES + length


def _frames(source: BinaryIO, base: int, items: Sequence[Stretch], count: int, extended: bytes) -> Sequence[Frame]:
    """Which fragments belong to which frame. Raises CodecRefused where that cannot be told."""
    if len(items) < 2:
        raise CodecRefused("Pixel Data without fragments")
    table, fragments = items[0], items[1:]
    if len(fragments) == count:
        return [(fragment,) for fragment in fragments]
    if count == 1:
        return [tuple(fragments)]
    if len(extended) == 8 * count:
        offsets: tuple[int, ...] = struct.unpack(f"<{count}Q", extended)
    elif table.size == 4 * count:
        offsets = struct.unpack(f"<{count}I", splice.read(source, base, table))
    else:
        first = fragments[0].begin
        begun = [
            one
            for one in fragments
            if splice.read(source, base, Stretch(one.begin, one.begin + min(2, one.size))) in _STREAM_STARTS
        ]
        offsets = tuple(one.begin - first for one in begun)
    return _by_offsets(fragments, offsets, count)


def _by_offsets(fragments: Sequence[Stretch], offsets: Sequence[int], count: int) -> Sequence[Frame]:
    first = fragments[0].begin  # offsets are from header to header, and so from value to value
    numbers = {fragment.begin - first: number for number, fragment in enumerate(fragments)}
    starts = [numbers.get(offset, -1) for offset in offsets]
    if len(starts) != count or starts[0] != 0 or sorted(set(starts)) != starts:
        raise CodecRefused("fragments that belong to no one frame")
    return [tuple(fragments[begin:end]) for begin, end in zip(starts, [*starts[1:], len(fragments)], strict=True)]


class _NativeFrames(Sequence[Frame]):
    """Frames of one size, one behind the other."""

    def __init__(self, begin: int, size: int, count: int) -> None:
        self._begin, self._size, self._count = begin, size, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Frame:  # type: ignore[override]  # no slices of it are taken
        if not 0 <= number < self._count:
            raise IndexError(number)
        begin = self._begin + number * self._size
        return (Stretch(begin, begin + self._size),)


def _native_frames(value_at: int, length: int, description: PixelDescription) -> Sequence[Frame]:
    total = description.total_bytes
    # Only whole bytes can be told apart; what has fewer bits is refused by every codec.
    if length != total + total % 2 and description.bits_allocated % 8 == 0:
        raise CodecRefused(f"Pixel Data of {length} bytes where {total} are told")
    return _NativeFrames(value_at, description.frame_bytes, description.frames)


def _element(elements: Elements, tag: int) -> Stretch:
    place = elements.places[tag]
    header = HEADER_BYTES if place.vr.encode("ascii") in SHORT_VRS else LONG_HEADER_BYTES
    return Stretch(place.value_at - header, place.value_at + place.length)


def _value(source: BinaryIO, base: int, elements: Elements, tag: int) -> bytes:
    place = elements.places.get(tag)
    if place is None or place.length > _MAX_VALUE_BYTES:
        return b""
    return splice.read(source, base, Stretch(place.value_at, place.value_at + place.length))


def _photometric(text: str) -> bytes:
    value = text.encode("ascii") + b" " * (len(text) % 2)
    tag = pixels.PHOTOMETRIC_INTERPRETATION
    return _SHORT_EXPLICIT.pack(tag >> 16, tag & 0xFFFF, b"CS", len(value)) + value
