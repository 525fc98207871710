"""Reads the messages of a trail in order, as they are added: from one file to the next where one is put away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from pacsnode.audit import chain, files


class Follower:
    """The messages behind a record. Used by one thread; others may add meanwhile."""

    def __init__(self, path: Path, after: int) -> None:
        self._path = path
        self._after = after
        self._stream: BinaryIO | None = None

    @property
    def position(self) -> int:
        """The number of the record that was read last."""
        return self._after

    def next(self, most: int) -> list[tuple[int, bytes]]:
        """Up to so many that were not given yet: number and XML. Raises OSError."""
        found: list[tuple[int, bytes]] = []
        while len(found) < most:
            stream = self._stream or self._open()
            if stream is None:
                break
            is_ended = not self._is_growing(stream)  # looked at before the file's end, which may then be its last
            line = stream.readline()
            if line.endswith(b"\n"):
                self._take(line, found)
                continue
            stream.seek(-len(line), os.SEEK_CUR)
            if not is_ended:
                break
            self._leave(stream)
        return found

    def close(self) -> None:
        """Let go of the file; may be called twice."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _take(self, line: bytes, found: list[tuple[int, bytes]]) -> None:
        record = chain.decode(line)
        if record is None or record.link.sequence <= self._after:
            return
        self._after = record.link.sequence
        if record.kind == chain.MESSAGE:
            found.append((record.link.sequence, record.payload))

    def _open(self) -> BinaryIO | None:
        for last, path in files.ended(self._path):
            if last > self._after:
                self._stream = path.open("rb")
                return self._stream
        try:
            self._stream = self._path.open("rb")
        except FileNotFoundError:
            return None
        return self._stream

    def _leave(self, stream: BinaryIO) -> None:
        """On to the file behind this one, whatever this one's last record was."""
        number = os.fstat(stream.fileno()).st_ino
        self.close()
        for last, path in files.ended(self._path):
            if path.stat().st_ino == number:
                self._after = max(self._after, last)

    def _is_growing(self, stream: BinaryIO) -> bool:
        try:
            return self._path.stat().st_ino == os.fstat(stream.fileno()).st_ino
        except FileNotFoundError:
            return False
