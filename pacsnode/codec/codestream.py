"""What the head of a codestream says of its image, read before a codec is let loose on it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pacsnode.errors import CodecRefused

_SIZ = struct.Struct(">HHHHIIIIIIIIH")  # SOC, SIZ, length, capabilities, image and tile geometry, components
_SOF = struct.Struct(">BHHB")  # precision, lines, columns, components
_NO_FRAME_HEADER = frozenset({0xC4, 0xC8, 0xCC})  # DHT, JPG, DAC are numbered amid the frame headers
_JPEG_LS_FRAME = 0xF7
_APP14, _SOS = 0xEE, 0xDA


@dataclass(frozen=True, slots=True)
class StreamHead:
    """An image as its codestream tells. ``is_signed`` is known of JPEG 2000 only."""

    rows: int
    columns: int
    samples: int
    precision: int
    is_signed: bool = False
    component_ids: bytes = b""
    adobe_transform: int | None = None


def of_jpeg_2000(stream: bytes | memoryview) -> StreamHead:
    """The SIZ segment (ISO 15444-1 A.5.1). Raises CodecRefused where it is none, or of subsampled components."""
    try:
        soc, siz, _, _, x, y, x_off, y_off, _, _, _, _, samples = _SIZ.unpack_from(stream)
        components = [struct.unpack_from("BBB", stream, _SIZ.size + 3 * number) for number in range(samples)]
    except struct.error as error:
        raise CodecRefused("no JPEG 2000 codestream") from error
    if (soc, siz) != (0xFF4F, 0xFF51) or not components:
        raise CodecRefused("no JPEG 2000 codestream")
    if len(set(components)) != 1 or components[0][1:] != (1, 1):
        raise CodecRefused("JPEG 2000 components that are not alike")
    depth = components[0][0]
    return StreamHead(y - y_off, x - x_off, samples, (depth & 0x7F) + 1, bool(depth & 0x80))


def of_jpeg(stream: bytes | memoryview) -> StreamHead:
    """The frame header of JPEG and JPEG-LS (ISO 10918-1 B.2.2). Raises CodecRefused where there is none."""
    at, adobe = 2, None
    try:
        if stream[:2] != b"\xff\xd8":
            raise CodecRefused("no JPEG codestream")
        while True:
            marker, length = struct.unpack_from(">HH", stream, at)
            if marker == 0xFFFF:  # a fill byte
                at += 1
                continue
            kind = marker & 0xFF
            if marker >> 8 != 0xFF or kind == _SOS:
                raise CodecRefused("a JPEG codestream without frame header")
            if kind == _APP14 and stream[at + 4 : at + 9] == b"Adobe":
                adobe = stream[at + 15]
            if (0xC0 <= kind <= 0xCF and kind not in _NO_FRAME_HEADER) or kind == _JPEG_LS_FRAME:
                precision, rows, columns, samples = _SOF.unpack_from(stream, at + 4)
                ids = bytes(stream[at + 10 + 3 * number] for number in range(samples))
                return StreamHead(rows, columns, samples, precision, component_ids=ids, adobe_transform=adobe)
            at += 2 + length
    except (struct.error, IndexError) as error:
        raise CodecRefused("a JPEG codestream that ends in its head") from error
