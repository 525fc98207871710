"""Is anything received, and slower than usual? Jobs wait while it is."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

_BLOCK = 32
"""Commits that are looked at together: one alone says little, for their sizes differ."""
_FRESH_SECONDS = 5.0
_STREAM_SECONDS = 0.1  # between two instances of who sends one behind the other, at the most
_FACTOR, _MARGIN_SECONDS = 1.5, 0.002
_DOWN, _UP = 0.25, 1 / 64


class Latency:
    """What commits of received instances take, against what they usually take. Safe to use from several threads.

    Usual is a mean over blocks of commits that follows faster ones soon and slower ones late: so it is what a commit
    takes while no job disturbs it, even where jobs run most of the time.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._sum, self._count = 0.0, 0
        self._recent, self._usual = 0.0, math.inf
        self._measured_at = self._noted_at = -math.inf

    def note(self, seconds: float) -> None:
        """A commit took so long."""
        with self._lock:
            self._noted_at = self._monotonic()
            self._sum, self._count = self._sum + seconds, self._count + 1
            if self._count < _BLOCK:
                return
            self._recent = self._sum / self._count
            self._sum, self._count = 0.0, 0
            self._measured_at = self._noted_at
            if self._usual is math.inf:
                self._usual = self._recent
            else:
                self._usual += (self._recent - self._usual) * (_DOWN if self._recent < self._usual else _UP)

    def is_receiving(self) -> bool:
        """Was an instance received in the last tenth of a second? Then another one is likely to be under way."""
        return self._monotonic() - self._noted_at <= _STREAM_SECONDS

    def is_high(self) -> bool:
        """Did the last block, if it is of the last five seconds, take half as long again as usual, and 2 ms more?"""
        if self._monotonic() - self._measured_at > _FRESH_SECONDS:
            return False
        return self._recent > max(self._usual * _FACTOR, self._usual + _MARGIN_SECONDS)
