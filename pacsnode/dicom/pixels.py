"""What the Image Pixel module says of Pixel Data (PS3.3 C.7.6.3), without a look at the pixels."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pacsnode.dicom.coding import PIXEL_DATA, tag_name
from pacsnode.dicom.elements import Elements
from pacsnode.errors import CodecRefused

SAMPLES_PER_PIXEL = 0x00280002
PHOTOMETRIC_INTERPRETATION = 0x00280004
PLANAR_CONFIGURATION = 0x00280006
NUMBER_OF_FRAMES = 0x00280008
ROWS = 0x00280010
COLUMNS = 0x00280011
BITS_ALLOCATED = 0x00280100
BITS_STORED = 0x00280101
HIGH_BIT = 0x00280102
PIXEL_REPRESENTATION = 0x00280103
EXTENDED_OFFSET_TABLE = 0x7FE00001
EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00002
FLOAT_PIXEL_DATA = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00009

DESCRIBING_TAGS = frozenset(
    {
        SAMPLES_PER_PIXEL,
        PLANAR_CONFIGURATION,
        NUMBER_OF_FRAMES,
        ROWS,
        COLUMNS,
        BITS_ALLOCATED,
        BITS_STORED,
        HIGH_BIT,
        PIXEL_REPRESENTATION,
    }
)
"""What ``describe`` reads, besides the Photometric Interpretation."""
_PADDING = " \0"
_MAX_DIGITS = 12  # of VR IS
_MAX_FRAMES = 1_000_000  # as many as a data set may have fragments


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """How the native pixels of an image lie in their bytes."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    photometric: str
    is_planar: bool  # colour by plane
    frames: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of a native frame; of less than a byte to a sample it is rounded up."""
        return (self.rows * self.columns * self.samples * self.bits_allocated + 7) // 8

    @property
    def total_bytes(self) -> int:
        """Bytes of all native frames, without padding."""
        return self.frames * self.frame_bytes


def describe(elements: Elements, photometric: bytes) -> PixelDescription:
    """Read it from the elements of a walk that wanted ``DESCRIBING_TAGS``. Raises CodecRefused where it cannot be so.

    What is absent and has one reading has it: one frame, colour by pixel.
    """
    order = "<" if elements.is_little_endian else ">"

    def number(tag: int, otherwise: int | None = None) -> int:
        raw = elements.value(tag)
        if not raw and otherwise is not None:
            return otherwise
        if len(raw) != 2:
            raise CodecRefused(f"{tag_name(tag)} is missing, or no single number")
        return int(struct.unpack(order + "H", raw)[0])

    stored = number(BITS_STORED, number(BITS_ALLOCATED))
    found = PixelDescription(
        rows=number(ROWS),
        columns=number(COLUMNS),
        samples=number(SAMPLES_PER_PIXEL, 1),
        bits_allocated=number(BITS_ALLOCATED),
        bits_stored=stored,
        high_bit=number(HIGH_BIT, stored - 1),
        is_signed=number(PIXEL_REPRESENTATION, 0) == 1,
        photometric=photometric.decode("latin-1").strip(_PADDING),
        is_planar=number(PLANAR_CONFIGURATION, 0) == 1,
        frames=_frames(elements.value(NUMBER_OF_FRAMES)),
    )
    if not (found.rows and found.columns and found.samples and found.bits_allocated):
        raise CodecRefused(f"{tag_name(PIXEL_DATA)} has no pixels by its rows, columns, samples and bits")
    return found


def _frames(raw: bytes) -> int:
    text = raw.decode("latin-1").strip(_PADDING)
    if not text:
        return 1
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS and 0 < int(text) <= _MAX_FRAMES):
        raise CodecRefused(f"{tag_name(NUMBER_OF_FRAMES)} Number of Frames is no positive number, or too large")
    return int(text)
