"""Images for the codec tests: ramps with a little noise, in every shape that pixels come in."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pacsnode.codec.codecs import Codec
from pacsnode.codec.images import Encoding, Scratch, open_image
from pacsnode.codec.sandbox import Limits, Sandbox
from pacsnode.dicom.pixels import PixelDescription
from pacsnode.dicom.syntax import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN
from pacsnode.model import Uid
from tests.dicom.dataset_bytes import Branch, Leaf, encode

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
STUDY = "2.25.7101"
GREY = PixelDescription(
    rows=37,
    columns=50,
    samples=1,
    bits_allocated=16,
    bits_stored=12,
    high_bit=11,
    is_signed=False,
    photometric="MONOCHROME2",
    is_planar=False,
    frames=1,
)
SIGNED = replace(GREY, bits_stored=16, high_bit=15, is_signed=True)
SIGNED_12 = replace(GREY, is_signed=True)
DEEP = replace(GREY, bits_stored=16, high_bit=15, photometric="MONOCHROME1")
BYTES = replace(GREY, bits_allocated=8, bits_stored=8, high_bit=7)
SIGNED_BYTES = replace(BYTES, is_signed=True)
PALETTE = replace(BYTES, photometric="PALETTE COLOR")
RGB = replace(BYTES, samples=3, photometric="RGB", frames=2)
YBR = replace(RGB, photometric="YBR_FULL", rows=3, columns=5)
RGB_16 = replace(DEEP, samples=3, photometric="RGB")
CINE = replace(GREY, frames=5)
ODD = replace(BYTES, rows=7, columns=9, frames=3)
PLANES = replace(RGB, is_planar=True)
LONG = replace(GREY, bits_allocated=32, bits_stored=32, high_bit=31)
SHAPES = {
    name: shape for name, shape in list(globals().items()) if name.isupper() and isinstance(shape, PixelDescription)
}


def native(pixels: PixelDescription, seed: int = 1) -> bytes:
    """Frames within Bits Stored, one behind the other."""
    noise = np.random.default_rng(seed)
    values = 1 << pixels.bits_stored
    low = -(values // 2) if pixels.is_signed else 0
    count = pixels.total_bytes // (pixels.bits_allocated // 8)
    ramp = np.linspace(0.0, 1.0, count) * (values - 1) + noise.normal(0, values / 500, count)
    kind = f"<{'i' if pixels.is_signed else 'u'}{pixels.bits_allocated // 8}"
    return (np.clip(ramp, 0, values - 1).astype(np.int64) + low).astype(kind).tobytes()


def uid_of(number: int) -> str:
    """SOP Instance UID of an image."""
    return f"2.25.7103.{number}"


def data_set(
    pixels: PixelDescription,
    syntax: Uid = EXPLICIT_VR_LITTLE_ENDIAN,
    frames: bytes | None = None,
    *,
    number: int = 1,
) -> bytes:
    """An image with something before and something behind its pixels."""
    content = native(pixels) if frames is None else frames
    content += bytes(len(content) % 2)
    if syntax == EXPLICIT_VR_BIG_ENDIAN and pixels.bits_allocated == 16:
        content = np.frombuffer(content, "<u2").byteswap().tobytes()
    order = ">" if syntax == EXPLICIT_VR_BIG_ENDIAN else "<"

    def short(value: int) -> bytes:
        return int(value).to_bytes(2, "big" if order == ">" else "little")

    described = [
        Leaf(0x00280002, "US", short(pixels.samples)),
        Leaf(0x00280004, "CS", _even(pixels.photometric)),
        *([Leaf(0x00280006, "US", short(pixels.is_planar))] if pixels.samples > 1 else []),
        Leaf(0x00280008, "IS", _even(str(pixels.frames))),
        Leaf(0x00280010, "US", short(pixels.rows)),
        Leaf(0x00280011, "US", short(pixels.columns)),
        Leaf(0x00280100, "US", short(pixels.bits_allocated)),
        Leaf(0x00280101, "US", short(pixels.bits_stored)),
        Leaf(0x00280102, "US", short(pixels.high_bit)),
        Leaf(0x00280103, "US", short(pixels.is_signed)),
    ]
    return encode(
        [
            Leaf(0x00080016, "UI", _even_uid(SECONDARY_CAPTURE)),
            Leaf(0x00080018, "UI", _even_uid(uid_of(number))),
            Leaf(0x00100010, "PN", b"Made^Up "),
            Leaf(0x0020000D, "UI", _even_uid(STUDY)),
            Leaf(0x0020000E, "UI", _even_uid("2.25.7102")),
            *described,
            Branch(0x00400275, ((Leaf(0x00400007, "LO", b"ab"),),)),
            Leaf(0x7FE00010, "OW" if pixels.bits_allocated > 8 else "OB", content),
            Leaf(0xFFFCFFFC, "OB", bytes(6)),
        ],
        syntax,
    )


def faulty(fault: str, limits: Limits | None = None) -> Sandbox:
    """A sandbox whose codec has the fault, see ``faulty_worker``."""
    script = Path(__file__).with_name("faulty_worker.py")
    return Sandbox(1, limits, command=(sys.executable, str(script), fault))


def compressed(data: bytes, syntax: Uid, codec: Codec, sandbox: Sandbox, folder: Path) -> bytes:
    """The data set with its pixels encoded."""
    scratch = Scratch(folder)
    with open_image(io.BytesIO(data), len(data), syntax, scratch) as image:
        return b"".join(Encoding(image, codec, sandbox, scratch).chunks())


@dataclass
class Counting:
    """A coder that counts, in front of a sandbox."""

    sandbox: Sandbox
    decoded: int = 0

    def encode(self, codec: Codec, pixels: PixelDescription, frame: bytes) -> bytes:
        """As the sandbox."""
        return self.sandbox.encode(codec, pixels, frame)

    def decode(self, transfer_syntax_uid: Uid, pixels: PixelDescription, stream: bytes) -> bytes:
        """As the sandbox."""
        self.decoded += 1
        return self.sandbox.decode(transfer_syntax_uid, pixels, stream)


def chunks_of(data: bytes, size: int) -> Iterator[bytes]:
    """In pieces."""
    return (data[at : at + size] for at in range(0, len(data), size))


def _even_uid(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def _even(text: str) -> bytes:
    return text.encode() + b" " * (len(text) % 2)
