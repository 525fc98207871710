"""Which codecs there are, what each can do, and which compressed syntaxes can be made native again. Facts only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from pacsnode.dicom.pixels import PixelDescription
from pacsnode.model import Uid

MAX_FRAME_BYTES = 128 * 1024 * 1024
MAX_NATIVE_BYTES = 0xFFFFFFFE  # what the length of a native Pixel Data can say (PS3.5 7.1.2)


class Codec(Enum):
    """The lossless codecs that we encode with, as the configuration names them."""

    HTJ2K = "htj2k"
    JPEG_LS = "jpeg-ls"
    JPEG_2000 = "jpeg2000"
    RLE = "rle"

    @property
    def transfer_syntax_uid(self) -> Uid:
        """What it makes."""
        return _TRAITS[self].transfer_syntax_uid


class Family(Enum):
    """How a codestream is read."""

    HTJ2K = "htj2k"
    JPEG_2000 = "jpeg2000"
    JPEG_LS = "jpeg-ls"
    RLE = "rle"
    JPEG_LOSSLESS = "jpeg lossless"
    JPEG = "jpeg"


FAMILIES: Mapping[Uid, Family] = MappingProxyType(
    {
        Uid("1.2.840.10008.1.2.4.201"): Family.HTJ2K,
        Uid("1.2.840.10008.1.2.4.202"): Family.HTJ2K,
        Uid(
            "1.2.840.10008.1.2.4.203"
        ): Family.JPEG_2000,  # a lossy file differs by OpenJPH: docs/decisions/0007-codecs.md
        Uid("1.2.840.10008.1.2.4.90"): Family.JPEG_2000,
        Uid("1.2.840.10008.1.2.4.91"): Family.JPEG_2000,
        Uid("1.2.840.10008.1.2.4.80"): Family.JPEG_LS,
        Uid("1.2.840.10008.1.2.4.81"): Family.JPEG_LS,
        Uid("1.2.840.10008.1.2.5"): Family.RLE,
        Uid("1.2.840.10008.1.2.4.57"): Family.JPEG_LOSSLESS,
        Uid("1.2.840.10008.1.2.4.70"): Family.JPEG_LOSSLESS,
        Uid("1.2.840.10008.1.2.4.50"): Family.JPEG,
        Uid("1.2.840.10008.1.2.4.51"): Family.JPEG,
    }
)
"""The encapsulated transfer syntaxes that we decode."""


@dataclass(frozen=True, slots=True)
class _Traits:
    transfer_syntax_uid: Uid
    library: str
    bits_allocated: frozenset[int]
    bits_stored: range
    keeps_every_bit: bool  # those beyond Bits Stored, too
    is_any_plane: bool  # colour by plane as well
    least_side: int = 1  # rows and columns


_TRAITS: Mapping[Codec, _Traits] = MappingProxyType(
    {
        Codec.HTJ2K: _Traits(
            Uid("1.2.840.10008.1.2.4.201"), "imagecodecs", frozenset({8, 16, 32}), range(1, 33), True, False
        ),
        Codec.JPEG_LS: _Traits(
            Uid("1.2.840.10008.1.2.4.80"), "pyjpegls", frozenset({8, 16}), range(2, 17), False, False
        ),
        Codec.JPEG_2000: _Traits(
            Uid("1.2.840.10008.1.2.4.90"), "pylibjpeg-openjpeg", frozenset({8, 16}), range(2, 17), False, False, 32
        ),
        Codec.RLE: _Traits(
            Uid("1.2.840.10008.1.2.5"), "pylibjpeg-rle", frozenset({8, 16, 32}), range(1, 33), True, True
        ),
    }
)
# PS3.5 8.2.3, 8.2.4 and G.2: photometric interpretations of native images that these codecs take as they are.
_SINGLE = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})
_COLOUR = frozenset({"RGB", "YBR_FULL"})
_DECODED_COLOUR: Mapping[Family, frozenset[str]] = MappingProxyType(
    {
        Family.HTJ2K: _COLOUR | {"YBR_RCT", "YBR_ICT"},
        Family.JPEG_2000: _COLOUR | {"YBR_RCT", "YBR_ICT"},
        Family.JPEG_LS: _COLOUR,
        Family.RLE: _COLOUR,
        Family.JPEG_LOSSLESS: _COLOUR,
        Family.JPEG: _COLOUR | {"YBR_FULL_422"},
    }
)
_NATIVE_PHOTOMETRIC: Mapping[str, str] = MappingProxyType(
    {"YBR_RCT": "RGB", "YBR_ICT": "RGB", "YBR_FULL_422": "YBR_FULL"}
)


def codec_version(codec: Codec) -> str:
    """Library and version of a codec: what was refused by another one may be tried again."""
    from importlib.metadata import version  # codec processes start faster without

    library = _TRAITS[codec].library
    return f"{library} {version(library)}"


def capability(codec: Codec, pixels: PixelDescription) -> str | None:
    """Why the codec cannot encode such native pixels; None where it can. Nothing is looked at but the description."""
    traits = _TRAITS[codec]
    reason = _common(pixels) or _colour(pixels, _COLOUR)
    if reason:
        return reason
    if pixels.bits_allocated not in traits.bits_allocated:
        return f"{pixels.bits_allocated} bits allocated"
    if pixels.bits_stored not in traits.bits_stored:
        return f"{pixels.bits_stored} bits stored"
    if not traits.keeps_every_bit and pixels.high_bit != pixels.bits_stored - 1:
        return f"high bit {pixels.high_bit} of {pixels.bits_stored} bits stored"
    if min(pixels.rows, pixels.columns) < traits.least_side:
        return f"fewer than {traits.least_side} rows or columns"
    if pixels.is_planar and not traits.is_any_plane:
        return "colour by plane"
    return None


def decodability(transfer_syntax_uid: Uid, pixels: PixelDescription) -> str | None:
    """Why we do not decode such pixels of this syntax; None where we try."""
    family = FAMILIES.get(transfer_syntax_uid)
    if family is None:
        return "a transfer syntax that we do not decode"
    reason = _common(pixels) or _colour(pixels, _DECODED_COLOUR[family])
    if reason:
        return reason
    if pixels.bits_allocated not in (8, 16, 32):
        return f"{pixels.bits_allocated} bits allocated"
    return None


def is_decodable(transfer_syntax_uid: Uid) -> bool:
    """Is this a compressed syntax of which we make native ones?"""
    return transfer_syntax_uid in FAMILIES


def native_photometric(photometric: str) -> str:
    """The Photometric Interpretation of what is decoded (PS3.3 C.7.6.3.1.2: some belong to compressed pixels only)."""
    return _NATIVE_PHOTOMETRIC.get(photometric, photometric)


def _common(pixels: PixelDescription) -> str | None:
    if pixels.bits_allocated == 1:
        return "1 bit to a pixel"
    if pixels.bits_stored > pixels.bits_allocated or pixels.high_bit >= pixels.bits_allocated:
        return f"{pixels.bits_stored} bits stored of {pixels.bits_allocated}, high bit {pixels.high_bit}"
    if pixels.frame_bytes > MAX_FRAME_BYTES or pixels.total_bytes > MAX_NATIVE_BYTES:
        return "too large"
    return None


def _colour(pixels: PixelDescription, colours: frozenset[str]) -> str | None:
    if pixels.samples == 1 and pixels.photometric in _SINGLE:
        if pixels.photometric == "PALETTE COLOR" and pixels.is_signed:
            return "a palette with signed pixels"
        return None
    if pixels.samples == 3 and pixels.photometric in colours:
        return None
    photometric = pixels.photometric if pixels.photometric in _KNOWN else "unknown"  # it is a peer's text
    return f"photometric interpretation {photometric} with {pixels.samples} samples"


_KNOWN = frozenset(
    _SINGLE
    | _COLOUR
    | {"YBR_RCT", "YBR_ICT", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "ARGB", "CMYK", "HSV", "XYB"}
)
