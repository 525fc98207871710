"""Inflates a deflated data set as it arrives (PS3.5 A.5), in bounded pieces and up to a bounded sum."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from pacsnode.errors import BadDataset, DatasetTooLarge

_PIECE_BYTES = 256 * 1024
_TRAILER = struct.Struct("<II")


class Inflater:
    """One raw deflate stream (RFC 1951).

    Zeros may follow its end, since A.5 pads it to an even length; and so may the trailer of a gzip file (RFC 1952),
    which writers leave there, if it is the right one.
    """

    def __init__(self, max_bytes: int) -> None:
        """``max_bytes`` bounds what comes out in all."""
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._max_bytes = max_bytes
        self._size = 0  # bytes inflated so far
        self._crc = 0
        self._trailer = b""  # the first bytes after the stream

    def inflate(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """What the chunk inflates to, piece by piece. Raises BadDataset: no deflate stream, or too long."""
        rest = chunk
        if not self._stream.eof:
            yield from self._pieces(chunk)
            rest = self._stream.unused_data
        if self._stream.eof:
            self._look_behind(bytes(rest))

    def finish(self) -> None:
        """Say that no more comes. Raises BadDataset when the stream has not ended, or something else follows it."""
        if not self._stream.eof:
            raise BadDataset("truncated: the deflate stream has no end")
        if self._trailer.strip(b"\0") and self._trailer != _TRAILER.pack(self._crc, self._size & 0xFFFFFFFF):
            raise BadDataset("other than zeros after the deflate stream")

    def _pieces(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        while True:
            piece = self._piece(chunk)
            yield piece
            chunk = self._stream.unconsumed_tail
            if self._stream.eof or (not chunk and len(piece) < _PIECE_BYTES):
                return

    def _piece(self, chunk: bytes | memoryview) -> bytes:
        try:
            piece = self._stream.decompress(chunk, _PIECE_BYTES)
        except zlib.error as error:
            raise BadDataset("not a deflate stream") from error
        self._size += len(piece)
        if self._size > self._max_bytes:
            raise DatasetTooLarge("inflated data set is too long")
        self._crc = zlib.crc32(piece, self._crc)
        return piece

    def _look_behind(self, rest: bytes) -> None:
        missing = _TRAILER.size - len(self._trailer)
        self._trailer += rest[:missing]
        if rest[missing:].strip(b"\0"):
            raise BadDataset("other than zeros after the deflate stream")
