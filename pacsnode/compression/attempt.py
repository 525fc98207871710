"""One instance through a codec: nothing comes out of here that was not decoded and compared with what came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from pacsnode.archive import Archive
from pacsnode.codec.codecs import Codec
from pacsnode.codec.core import on_one_core
from pacsnode.codec.images import Coder, Encoding, Scratch, open_image, verify
from pacsnode.compression import replacing
from pacsnode.compression.reader import Reader
from pacsnode.compression.replacing import Encoded
from pacsnode.errors import CodecRefused
from pacsnode.model import Instance

_PIECE_BYTES = 1024 * 1024


class Attempts:
    """Encodes, decodes back and compares. Used by one thread."""

    def __init__(self, archive: Archive, coder: Coder, scratch: Scratch) -> None:
        self._archive = archive
        self._coder = coder
        self._scratch = scratch
        self._reader = Reader(archive.store)

    def encode(self, before: Instance, codec: Codec) -> Encoded:
        """An upload that holds the verified encoding, to be put in place or aborted.

        Raises CodecFailure where it cannot be, or is not worth it; ObjectDamaged where the original is not what came,
        ObjectNotFound, StoreError.
        """
        with self.made(before, codec) as (made, size):
            upload, new = replacing.begin(self._archive, before, codec.transfer_syntax_uid)
            try:
                while piece := made.read(_PIECE_BYTES):
                    upload.write(piece)
            except BaseException:
                upload.abort()
                raise
        return Encoded(upload, before, new, size, codec.value)

    def estimate(self, instance: Instance, codec: Codec) -> int:
        """Bytes of the verified encoding, which is dropped. Raises as ``encode`` does."""
        with self.made(instance, codec) as (_, size):
            return size

    @contextmanager
    def made(self, before: Instance, codec: Codec) -> Iterator[tuple[IO[bytes], int]]:
        """The new data set, verified, in a file that stands at its beginning, and its size. Raises as ``encode``."""
        stored, scratch, coder = before.stored, self._scratch, self._coder
        with on_one_core(), self._reader.opened(stored) as source, scratch.open() as made:
            with open_image(source, stored.size, stored.transfer_syntax_uid, scratch) as image:
                for chunk in Encoding(image, codec, coder, scratch).chunks():
                    made.write(chunk)
                size = made.tell()
                if size >= stored.size:
                    raise CodecRefused("no smaller than it is")
                made.seek(0)
                verify(image, made, size, codec.transfer_syntax_uid, coder)
            made.seek(0)
            yield made, size
