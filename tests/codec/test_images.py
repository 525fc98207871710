"""Whole objects: encoded, compared and made native again, to the last bit."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from pacsnode.codec.codecs import FAMILIES, Codec, capability, codec_version
from pacsnode.codec.images import Encoding, Scratch, open_image, verify
from pacsnode.codec.sandbox import Sandbox
from pacsnode.dicom import part10
from pacsnode.dicom.pixels import PixelDescription
from pacsnode.dicom.recode import to_default_syntax
from pacsnode.dicom.syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from pacsnode.errors import BadDataset, CodecMismatch, CodecRefused, ObjectDamaged, PacsNodeError
from pacsnode.model import Uid
from tests.codec import material
from tests.codec.material import CINE, GREY, RGB, SHAPES, SIGNED_12, compressed, data_set, faulty, native
from tests.codec.pixels import pixel_digest
from tests.dicom.dataset_bytes import REAL_FILES, Leaf, Pixels, encode, needs_real_files

SYNTAXES = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)
MATRIX = [
    (name, codec, syntax)
    for (name, shape), codec, syntax in itertools.product(SHAPES.items(), Codec, SYNTAXES)
    if capability(codec, shape) is None and (syntax == EXPLICIT_VR_LITTLE_ENDIAN or name in ("GREY", "RGB", "SIGNED"))
]


def in_one_syntax(data: bytes, syntax: Uid) -> bytes:
    """The data set in Implicit VR Little Endian, without lengths of sequences: the same for the same elements."""
    return b"".join(to_default_syntax([data], syntax, max_bytes=1 << 30))


def test_there_is_enough_to_try() -> None:
    """Depths, signs, photometric interpretations and syntaxes, for every codec."""
    assert {*Codec} == {codec for _, codec, _ in MATRIX}
    assert len(MATRIX) > 60


@pytest.mark.parametrize(("name", "codec", "syntax"), MATRIX, ids=[f"{n}-{c.value}-{s}" for n, c, s in MATRIX])
def test_there_and_back(name: str, codec: Codec, syntax: Uid, sandbox: Sandbox, tmp_path: Path) -> None:
    """The compressed object compares equal, tells the digest of the native pixels, and becomes what it was."""
    shape, scratch = SHAPES[name], Scratch(tmp_path)
    data = data_set(shape, syntax)
    with open_image(io.BytesIO(data), len(data), syntax, scratch) as image:
        encoding = Encoding(image, codec, sandbox, scratch)
        made = b"".join(encoding.chunks())
        verify(image, io.BytesIO(made), len(made), codec.transfer_syntax_uid, sandbox)
        with open_image(io.BytesIO(made), len(made), codec.transfer_syntax_uid, scratch) as new:
            digest = pixel_digest(new, sandbox)
            back = b"".join(new.native(sandbox))

    assert hashlib.sha256(native(shape)).hexdigest() == digest
    assert in_one_syntax(data_set(shape), EXPLICIT_VR_LITTLE_ENDIAN) == in_one_syntax(back, EXPLICIT_VR_LITTLE_ENDIAN)
    if syntax in (EXPLICIT_VR_LITTLE_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN):
        assert data_set(shape) == back


@pytest.mark.parametrize("codec", [Codec.JPEG_LS, Codec.JPEG_2000, Codec.RLE, Codec.HTJ2K])
@pytest.mark.parametrize("shape", [CINE, RGB, material.BYTES, material.SIGNED], ids=["CINE", "RGB", "BYTES", "SIGNED"])
def test_others_read_the_same(codec: Codec, shape: PixelDescription, sandbox: Sandbox, tmp_path: Path) -> None:
    """pydicom decodes what we encoded to the pixels that they were."""
    made = compressed(data_set(shape), EXPLICIT_VR_LITTLE_ENDIAN, codec, sandbox, tmp_path)
    found = read_dataset(io.BytesIO(made), is_implicit_VR=False, is_little_endian=True)
    found.ensure_file_meta()
    found.file_meta.TransferSyntaxUID = UID(codec.transfer_syntax_uid)
    found.set_original_encoding(False, True)

    assert native(shape) == found.pixel_array.tobytes()


REFUSED = [
    (replace(GREY, bits_allocated=1, bits_stored=1, high_bit=0), "1 bit"),
    (replace(GREY, photometric="YBR_FULL_422", samples=3), "YBR_FULL_422"),
    (replace(GREY, photometric="Doe^John"), "unknown"),
    (replace(GREY, photometric="PALETTE COLOR", is_signed=True), "palette"),
    (replace(GREY, bits_stored=17, high_bit=16), "17 bits stored"),
    (replace(GREY, rows=65535, columns=65535), "too large"),
    (replace(GREY, frames=1_000_000, rows=512, columns=512), "too large"),
    (replace(GREY, bits_allocated=64, bits_stored=64, high_bit=63), "64"),
]


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize(("shape", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_what_no_codec_takes(codec: Codec, shape: PixelDescription, reason: str) -> None:
    """Known from the description alone, with a reason for people."""
    assert reason in (capability(codec, shape) or "taken")


def test_what_some_codecs_do_not_take() -> None:
    """Colour by plane, high bits elsewhere, more than 16 bits: those that would have to change an element, or lose."""
    taken = {
        name: [codec for codec in Codec if capability(codec, shape) is None]
        for name, shape in {
            "planes": material.PLANES,
            "high bit": replace(GREY, high_bit=15),
            "32 bits": material.LONG,
            "plain": GREY,
        }.items()
    }

    assert {
        "planes": [Codec.RLE],
        "high bit": [Codec.HTJ2K, Codec.RLE],
        "32 bits": [Codec.HTJ2K, Codec.RLE],
        "plain": list(Codec),
    } == taken


def test_versions() -> None:
    """Library and version: what a refusal is kept with."""
    assert 4 == len({codec_version(codec) for codec in Codec})
    assert codec_version(Codec.HTJ2K).startswith("imagecodecs 2")


@pytest.mark.parametrize("codec", [Codec.JPEG_LS, Codec.JPEG_2000])
@pytest.mark.parametrize("shape", [GREY, SIGNED_12], ids=["unsigned", "signed"])
def test_bits_beyond_bits_stored(codec: Codec, shape: PixelDescription, sandbox: Sandbox, tmp_path: Path) -> None:
    """An overlay in the unused bits would be lost: refused. HTJ2K keeps all bits."""
    frames = bytearray(native(shape))
    frames[101] ^= 0x40
    data = data_set(shape, frames=bytes(frames))
    with pytest.raises(CodecRefused, match="Bits Stored"):
        compressed(data, EXPLICIT_VR_LITTLE_ENDIAN, codec, sandbox, tmp_path)

    assert compressed(data, EXPLICIT_VR_LITTLE_ENDIAN, Codec.HTJ2K, sandbox, tmp_path)


def test_a_codec_that_lies(sandbox: Sandbox, tmp_path: Path) -> None:
    """One pixel of one frame that is another one is found."""
    data, scratch = data_set(CINE), Scratch(tmp_path)
    with faulty("lies") as liar:
        made = compressed(data, EXPLICIT_VR_LITTLE_ENDIAN, Codec.HTJ2K, liar, tmp_path)
    image = open_image(io.BytesIO(data), len(data), EXPLICIT_VR_LITTLE_ENDIAN, scratch)
    with pytest.raises(CodecMismatch, match="frame 1"):
        verify(image, io.BytesIO(made), len(made), Codec.HTJ2K.transfer_syntax_uid, sandbox)


@pytest.mark.parametrize(
    "at", [b"Made^Up ", b"2.25.7103.1", b"ab", b"\xfc\xff\xfc\xff"], ids=["name", "uid", "item", "end"]
)
def test_another_element_that_differs(at: bytes, sandbox: Sandbox, tmp_path: Path) -> None:
    """Before, within a sequence and behind the pixels."""
    data, scratch = data_set(GREY), Scratch(tmp_path)
    made = bytearray(compressed(data, EXPLICIT_VR_LITTLE_ENDIAN, Codec.HTJ2K, sandbox, tmp_path))
    made[made.rindex(at) + len(at) - 1 - (at[0] == 0xFC)] ^= 1
    image = open_image(io.BytesIO(data), len(data), EXPLICIT_VR_LITTLE_ENDIAN, scratch)
    with pytest.raises(CodecMismatch, match="besides the pixels"):
        verify(image, io.BytesIO(made), len(made), Codec.HTJ2K.transfer_syntax_uid, sandbox)


@pytest.mark.parametrize("more", [b"\0\0", b"\xfc\xff\xfc\xffOB\0\0\0\0\0\0"], ids=["zeros", "an element"])
def test_something_behind_the_end(more: bytes, sandbox: Sandbox, tmp_path: Path) -> None:
    """A new data set that goes on where the original ends is not the same."""
    data, scratch = data_set(GREY), Scratch(tmp_path)
    made = compressed(data, EXPLICIT_VR_LITTLE_ENDIAN, Codec.HTJ2K, sandbox, tmp_path) + more
    image = open_image(io.BytesIO(data), len(data), EXPLICIT_VR_LITTLE_ENDIAN, scratch)
    with pytest.raises(CodecMismatch, match="besides the pixels"):
        verify(image, io.BytesIO(made), len(made), Codec.HTJ2K.transfer_syntax_uid, sandbox)


def test_pixels_without_end(sandbox: Sandbox, tmp_path: Path) -> None:
    """What stands where the fragments have to end is looked at, too."""
    data, scratch = data_set(GREY), Scratch(tmp_path)
    made = bytearray(compressed(data, EXPLICIT_VR_LITTLE_ENDIAN, Codec.HTJ2K, sandbox, tmp_path))
    made[made.rindex(b"\xfe\xff\xdd\xe0") + 4] ^= 2
    image = open_image(io.BytesIO(data), len(data), EXPLICIT_VR_LITTLE_ENDIAN, scratch)
    with pytest.raises(CodecMismatch, match="no end"):
        verify(image, io.BytesIO(bytes(made)), len(made), Codec.HTJ2K.transfer_syntax_uid, sandbox)


def test_frames_that_are_missing(sandbox: Sandbox, tmp_path: Path) -> None:
    """An object that tells of five frames and has four is none."""
    data = data_set(CINE)
    made = compressed(data, EXPLICIT_VR_LITTLE_ENDIAN, Codec.HTJ2K, sandbox, tmp_path)
    begin = made.rindex(b"\xfe\xff\x00\xe0")
    cut = made[:begin] + made[made.rindex(b"\xfe\xff\xdd\xe0") :]
    with pytest.raises(CodecRefused):
        open_image(io.BytesIO(cut), len(cut), Codec.HTJ2K.transfer_syntax_uid, Scratch(tmp_path))


FRAGMENTS = [
    ("a table", 2, b"\0\0\0\0\x14\0\0\0"),
    ("no table", 2, b""),
    ("one frame", 1, b""),
]


@pytest.mark.parametrize(("name", "frames", "table"), FRAGMENTS, ids=[name for name, _, _ in FRAGMENTS])
def test_frames_of_several_fragments(name: str, frames: int, table: bytes, tmp_path: Path) -> None:
    """Put together by the offset table, or where a codestream begins."""
    parts = (b"\xff\xd8", b"ab", b"\xff\xd8\1\2", b"cd")
    description = data_set(replace(GREY, frames=frames))
    pixels = encode([Pixels((table, *parts))], EXPLICIT_VR_LITTLE_ENDIAN)
    data = description[: description.index(b"\xe0\x7f\x10\x00")] + pixels
    image = open_image(io.BytesIO(data), len(data), Uid("1.2.840.10008.1.2.4.70"), Scratch(tmp_path))
    expected = [b"\xff\xd8ab", b"\xff\xd8\1\2cd"] if frames == 2 else [b"".join(parts)]

    assert expected == list(image.stored_frames())


def test_what_is_not_decoded(sandbox: Sandbox, tmp_path: Path) -> None:
    """No pixels, pixels that say two things, a syntax that we do not know: refused, each with its reason."""
    scratch = Scratch(tmp_path)
    nothing = encode([Leaf(0x00080018, "UI", b"1.2.3\0")], EXPLICIT_VR_LITTLE_ENDIAN)
    reasons = []
    for data, syntax in (
        (nothing, EXPLICIT_VR_LITTLE_ENDIAN),
        (
            data_set(GREY)[:-18] + data_set(GREY)[data_set(GREY).index(b"\xe0\x7f\x10\x00") :],
            EXPLICIT_VR_LITTLE_ENDIAN,
        ),
        (data_set(GREY), Uid("1.2.840.10008.1.2.4.100")),
    ):
        with pytest.raises(CodecRefused) as raised:
            open_image(io.BytesIO(data), len(data), syntax, scratch)
        reasons.append(str(raised.value))
    with pytest.raises(ObjectDamaged):
        open_image(io.BytesIO(data[:-3]), len(data) - 3, EXPLICIT_VR_LITTLE_ENDIAN, scratch)

    assert 3 == len(set(reasons))


def real_compressed() -> Iterator[tuple[Path, part10.FileHead]]:
    """Real files in the syntaxes that we decode."""
    for path in sorted(REAL_FILES.rglob("*")):
        if path.is_file() and path.stat().st_size < 1 << 21:
            with path.open("rb") as source:
                try:
                    head = part10.read_foreign_head(source)
                except BadDataset:
                    continue
            if head.transfer_syntax_uid in FAMILIES:
                yield path, head


@needs_real_files
@pytest.mark.filterwarnings("ignore")
def test_real_compressed_files(sandbox: Sandbox, tmp_path: Path) -> None:
    """What we decode is what pydicom decodes; what we refuse, is the smaller part."""
    agreed, refused = 0, 0
    for path, head in real_compressed():
        data = path.read_bytes()[head.offset :]
        try:
            with open_image(io.BytesIO(data), len(data), head.transfer_syntax_uid, Scratch(tmp_path)) as image:
                digest = pixel_digest(image, sandbox)
        except PacsNodeError:
            refused += 1
            continue
        found = dcmread(path)
        try:
            found.pixel_array_options(raw=True)
            raw = found.pixel_array
        except Exception:  # noqa: BLE001 - whatever a library raises: nothing to compare with
            continue
        if found.get("PlanarConfiguration") and image.pixels.samples > 1:
            raw = raw.transpose(*((0, 3, 1, 2) if raw.ndim == 4 else (2, 0, 1)))
        assert hashlib.sha256(raw.tobytes()).hexdigest() == digest, path.name
        agreed += 1

    assert agreed > 40
    assert refused < agreed
