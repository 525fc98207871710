"""Staging memory for uploads, used again instead of being faulted in anew."""

from __future__ import annotations

import mmap
from collections import deque

STAGING_BYTES = 1024 * 1024
"""Size of a buffer, unless told otherwise; what fits is written in one piece, head included."""

_MAX_IDLE = 16


class Buffers:
    """Lends buffers of one size. Keeps a few that are idle. Safe to use from several threads."""

    def __init__(self, size: int = STAGING_BYTES) -> None:
        """``size`` bytes have to be enough for the head of an object."""
        self._size = size
        # A deque that is full drops the oldest: memory held idle is bounded, memory lent is the caller's business.
        self._idle: deque[memoryview] = deque(maxlen=_MAX_IDLE)

    def take(self) -> memoryview:
        """A buffer with whatever was in it before; give it back once, when nobody looks at it any more."""
        try:
            return self._idle.pop()
        except IndexError:
            return memoryview(mmap.mmap(-1, self._size))

    def give_back(self, buffer: memoryview) -> None:
        """Let another upload have it."""
        self._idle.append(buffer)
