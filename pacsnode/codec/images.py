"""Whole objects through the sandbox: encoded, made native again, and compared. A frame at a time, whatever their size.

An ``Image`` is a data set whose Pixel Data was found. The way to swap one for its compressed form:

    image = open_image(source, size, syntax, scratch)
    encoding = Encoding(image, codec, sandbox, scratch)     # raises CodecRefused for what the codec cannot do
    for chunk in encoding.chunks(): upload.write(chunk)     # explicit VR little endian, encapsulated
    verify(image, made, size, codec.transfer_syntax_uid, sandbox)   # raises CodecMismatch: nothing may be swapped
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, Protocol

from pacsnode.codec import codecs
from pacsnode.codec.codecs import Codec
from pacsnode.dicom import encapsulation, recode, splice, syntax
from pacsnode.dicom.encapsulation import PixelLayout
from pacsnode.dicom.pixels import PixelDescription
from pacsnode.errors import BadDataset, CodecMismatch, CodecRefused, ObjectDamaged, StoreError
from pacsnode.model import Uid

MAX_INFLATED_BYTES = 4096 * 1024 * 1024
_IN_MEMORY_BYTES = 8 * 1024 * 1024


class Coder(Protocol):
    """What is needed of a sandbox."""

    def encode(self, codec: Codec, pixels: PixelDescription, frame: bytes) -> bytes:
        """Raises CodecFailure."""

    def decode(self, transfer_syntax_uid: Uid, pixels: PixelDescription, stream: bytes) -> bytes:
        """Raises CodecFailure."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """Where temporary files are, which have no name and end with their use: a folder that exists."""

    folder: Path

    def open(self) -> IO[bytes]:
        """A file, in memory while it is small. Its methods raise OSError, as any file's."""
        return tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=str(self.folder))


@contextmanager
def _writing() -> Iterator[None]:
    """The store translates errors of its own files: what is left is a temporary one's."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"a temporary file cannot be written: {error.strerror}") from error


class Image:
    """A data set with its Pixel Data found: explicit VR little endian, itself or as a copy of its own."""

    def __init__(
        self, source: BinaryIO, layout: PixelLayout, transfer_syntax_uid: Uid, original: Uid, copy: IO[bytes] | None
    ) -> None:
        """``copy``: what to close at the end."""
        self.transfer_syntax_uid = transfer_syntax_uid
        """That of the source."""
        self.original_syntax_uid = original
        """That of the data set it was opened from, from which the source differs where it is a copy."""
        self.layout = layout
        self._source = source
        self._copy = copy

    def __enter__(self) -> Image:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the copy; the source it was opened from stays open."""
        if self._copy is not None:
            self._copy.close()

    @property
    def pixels(self) -> PixelDescription:
        """How its native frames lie."""
        return self.layout.description

    def stored_frames(self) -> Iterator[bytes]:
        """Frames as they are: native, or codestreams. Raises ObjectDamaged."""
        return (self.layout.frame(self._source, number) for number in range(len(self.layout.frames)))

    def native_frames(self, coder: Coder) -> Iterator[bytes]:
        """Frames, decoded where that is needed. Raises CodecFailure, ObjectDamaged."""
        if not self.layout.is_encapsulated:
            yield from self.stored_frames()
            return
        reason = codecs.decodability(self.transfer_syntax_uid, self.pixels)
        if reason is not None:
            raise CodecRefused(reason)
        for stream in self.stored_frames():
            yield coder.decode(self.transfer_syntax_uid, self.pixels, stream)

    def native(self, coder: Coder) -> Iterator[bytes]:
        """The data set in Explicit VR Little Endian, every byte but Pixel Data's as it is, and a Photometric
        Interpretation that compressed pixels alone may have. Raises CodecFailure, ObjectDamaged."""
        if not self.layout.is_encapsulated:
            return splice.spliced(self._source, self.layout.base, self.layout.size, [])
        photometric = codecs.native_photometric(self.pixels.photometric)
        return self.layout.replaced(self._source, self._native_element(coder), photometric)

    def encapsulated(self, streams: IO[bytes], sizes: list[int]) -> Iterator[bytes]:
        """The data set with these codestreams for its frames, every other byte as it is. Raises ObjectDamaged."""
        frames = (streams.read(size) for size in sizes)
        element = encapsulation.encapsulated(sizes, frames)
        return self.layout.replaced(self._source, element, self.pixels.photometric)

    def made_of(self, made: BinaryIO, size: int, transfer_syntax_uid: Uid) -> Image:
        """What ``made`` stands at, if it is this data set but for Pixel Data. Raises CodecMismatch, ObjectDamaged."""
        layout = encapsulation.locate_beside(self.layout, self._source, made, size)
        return Image(made, layout, transfer_syntax_uid, transfer_syntax_uid, None)

    def _native_element(self, coder: Coder) -> Iterator[bytes]:
        total = self.pixels.total_bytes
        # PS3.5 8.1.2 leaves the choice for up to 8 bits, and OB has no byte order that could go wrong.
        yield encapsulation.native_header("OW" if self.pixels.bits_allocated > 8 else "OB", total)
        yield from self.native_frames(coder)
        yield bytes(total % 2)


def open_image(source: BinaryIO, size: int, transfer_syntax_uid: Uid, scratch: Scratch) -> Image:
    """The data set of so many bytes that the source stands at. What is implicit, big endian or deflated gets a copy.

    Raises CodecRefused without pixels to work on, ObjectDamaged where it is no data set, StoreError.
    """
    try:
        return _opened(source, size, transfer_syntax_uid, scratch)
    except BadDataset as error:
        raise ObjectDamaged(f"no data set that can be read: {error}") from error


def _opened(source: BinaryIO, size: int, transfer_syntax_uid: Uid, scratch: Scratch) -> Image:
    explicit, begin = syntax.EXPLICIT_VR_LITTLE_ENDIAN, source.tell()
    if transfer_syntax_uid == explicit or codecs.is_decodable(transfer_syntax_uid):
        layout = encapsulation.locate(source, size, transfer_syntax_uid)
        return Image(source, layout, transfer_syntax_uid, transfer_syntax_uid, None)
    if not recode.is_convertible(transfer_syntax_uid):
        raise CodecRefused("a transfer syntax that we do not decode")
    copy = scratch.open()
    try:
        for piece in _explicit(splice.pieces(source, begin, splice.Stretch(0, size)), transfer_syntax_uid):
            with _writing():
                copy.write(piece)
        length = copy.tell()
        copy.seek(0)
        layout = encapsulation.locate(_binary(copy), length, explicit)
    except BaseException:
        copy.close()
        raise
    return Image(_binary(copy), layout, explicit, transfer_syntax_uid, copy)


class Encoding:
    """One image on its way into a codec. Sizes are known when the chunks have begun to come."""

    def __init__(self, image: Image, codec: Codec, coder: Coder, scratch: Scratch) -> None:
        """Raises CodecRefused where the codec cannot do it, or the image is compressed."""
        reason = "compressed already" if image.layout.is_encapsulated else codecs.capability(codec, image.pixels)
        if reason is not None:
            raise CodecRefused(reason)
        self.native_bytes = image.pixels.total_bytes
        self.encoded_bytes = 0
        self._image, self._codec, self._coder, self._scratch = image, codec, coder, scratch

    def chunks(self) -> Iterator[bytes]:
        """The new data set. Raises CodecFailure before the first chunk where a frame fails, ObjectDamaged anywhere."""
        sizes: list[int] = []
        with self._scratch.open() as streams:
            for frame in self._image.stored_frames():
                stream = self._coder.encode(self._codec, self._image.pixels, frame)
                sizes.append(len(stream))
                with _writing():
                    streams.write(stream)
            self.encoded_bytes = sum(sizes)
            streams.seek(0)
            yield from self._image.encapsulated(streams, sizes)


def verify(original: Image, made: IO[bytes], size: int, transfer_syntax_uid: Uid, coder: Coder) -> None:
    """Compare every byte besides the pixels, and every frame with what the data set of so many bytes, that ``made``
    stands at, decodes to.

    Raises CodecMismatch where something is not the same, another CodecFailure or ObjectDamaged where that cannot be
    told.
    """
    new = original.made_of(_binary(made), size, transfer_syntax_uid)
    pairs = zip_longest(original.native_frames(coder), new.native_frames(coder))
    for number, (before, after) in enumerate(pairs):
        if before is None or before != after:
            raise CodecMismatch(f"frame {number + 1} does not decode to what it was made of")


def _explicit(chunks: Iterator[bytes], transfer_syntax_uid: Uid) -> Iterator[bytes]:
    if syntax.is_deflated(transfer_syntax_uid):  # explicit VR little endian within: byte by byte
        return recode.inflated(chunks, max_bytes=MAX_INFLATED_BYTES)
    return recode.to_explicit_syntax(chunks, transfer_syntax_uid, max_bytes=MAX_INFLATED_BYTES)


def _binary(file: IO[bytes]) -> BinaryIO:
    """A spooled file, which has all that is needed of one."""
    return file  # type: ignore[return-value]  # no BinaryIO by name
