"""Compressed objects made native for who takes nothing else: each once for all who ask at a time, and kept for a while.

Safe to use from several threads.
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import BinaryIO

from pacsnode.codec import codecs
from pacsnode.codec.images import Coder, Scratch, open_image
from pacsnode.dicom import recode, syntax
from pacsnode.errors import BadDataset, ObjectDamaged, StoreError
from pacsnode.model import Key, StoredObject, Uid

_Wanted = tuple[Key, Uid]


class NativeFile(io.RawIOBase):
    """A native data set to be read from its beginning. ``size``: its bytes."""

    def __init__(self, content: _Content) -> None:
        super().__init__()
        self.size = content.size
        self._content = content
        self._at = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]  # any buffer in typeshed
        """Fill the buffer as far as there is something."""
        count = os.preadv(self._content.descriptor, [buffer], self._at)
        self._at += count
        return count


class Transcoder:
    """Makes Explicit and Implicit VR Little Endian of stored objects in a compressed syntax."""

    def __init__(self, coder: Coder, scratch: Scratch, *, cache_bytes: int = 512 * 1024 * 1024) -> None:
        """``cache_bytes``: how much of what was made is kept, besides what is being sent."""
        self._coder = coder
        self._scratch = scratch
        self._cache_bytes = cache_bytes
        self._lock = threading.Lock()  # guards all below
        self._kept: OrderedDict[_Wanted, _Content] = OrderedDict()  # what was asked for last at the end
        self._kept_bytes = 0
        self._under_way: dict[_Wanted, Future[_Content]] = {}

    def takes(self, transfer_syntax_uid: Uid) -> bool:
        """Is this a compressed syntax that can be made native, as far as the syntax tells?"""
        return codecs.is_decodable(transfer_syntax_uid)

    def open(self, stored: StoredObject, open_source: Callable[[], BinaryIO], target: Uid) -> NativeFile:
        """The data set of a stored object in a native little endian syntax.

        ``open_source`` opens the object where its data set begins, if it is needed. Raises CodecFailure, StoreError.
        """
        wanted = (stored.key, target)
        with self._lock:
            content = self._kept.get(wanted)
            if content is not None:
                self._kept.move_to_end(wanted)
                return NativeFile(content)
            flight = self._under_way.get(wanted)
            is_first = flight is None
            if flight is None:
                flight = self._under_way[wanted] = Future()
        if is_first:
            self._make(wanted, flight, stored, open_source)
        return NativeFile(flight.result())

    def close(self) -> None:
        """Forget what is kept."""
        with self._lock:
            self._kept.clear()
            self._kept_bytes = 0

    def _make(
        self,
        wanted: _Wanted,
        flight: Future[_Content],
        stored: StoredObject,
        open_source: Callable[[], BinaryIO],
    ) -> None:
        try:
            with open_source() as source:
                content = _Content(self._scratch, self._native(source, stored, wanted[1]))
        except BaseException as error:
            with self._lock:
                del self._under_way[wanted]
            flight.set_exception(error)
            raise
        with self._lock:
            del self._under_way[wanted]
            self._keep(wanted, content)
        flight.set_result(content)

    def _native(self, source: BinaryIO, stored: StoredObject, target: Uid) -> Iterator[bytes]:
        try:
            with open_image(source, stored.size, stored.transfer_syntax_uid, self._scratch) as image:
                chunks = image.native(self._coder)
                if target == syntax.IMPLICIT_VR_LITTLE_ENDIAN:
                    explicit = syntax.EXPLICIT_VR_LITTLE_ENDIAN
                    chunks = recode.to_default_syntax(chunks, explicit, max_bytes=codecs.MAX_NATIVE_BYTES)
                yield from chunks
        except BadDataset as error:
            raise ObjectDamaged(f"{stored.key}: the object cannot be converted: {type(error).__name__}") from error

    def _keep(self, wanted: _Wanted, content: _Content) -> None:
        if content.size > self._cache_bytes:
            return
        self._kept[wanted] = content
        self._kept_bytes += content.size
        while self._kept_bytes > self._cache_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.size


class _Content:
    """Bytes in a file without a name, which is gone when nobody refers to it any more."""

    def __init__(self, scratch: Scratch, chunks: Iterator[bytes]) -> None:
        """Raises StoreError where the file cannot be written, and what the chunks raise."""
        self.descriptor = -1
        self.size = 0
        try:
            with tempfile.TemporaryFile(dir=str(scratch.folder), buffering=0) as file:
                self.descriptor = os.dup(file.fileno())
        except OSError as error:
            raise _no_room(error) from error
        for chunk in chunks:
            self._write(memoryview(chunk))

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def _write(self, left: memoryview) -> None:
        while left:
            try:
                count = os.write(self.descriptor, left)
            except OSError as error:
                raise _no_room(error) from error
            self.size += count
            left = left[count:]


def _no_room(error: OSError) -> StoreError:
    return StoreError(f"a temporary file cannot be written: {error.strerror}")
