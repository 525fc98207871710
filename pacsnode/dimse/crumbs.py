"""What costs us more than the peer who sends it: data in crumbs, and messages ahead of their turn.

Both have a rate that all associations share: who goes beyond it waits, and nobody else does. No I/O; the clock is
passed in and gives seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pacsnode.errors import ProtocolViolation
from pacsnode.wire.pdu import AbortReason

SMALL_BYTES = 256
CRUMBS_PER_SECOND = 10_000  # a tenth of what one core takes; 1 KiB fragments come at 10 MB/s then, and are no crumbs
PATIENCE_SECONDS = 2.0
AHEAD_PER_SECOND = 500
AHEAD_BURST = 100
_WINDOW = 256  # fragments that are looked at together
_WINDOW_SECONDS = 1.0


class Allowance:
    """A rate that many share. Safe to use from several threads."""

    def __init__(self, per_second: float, burst: float, monotonic: Callable[[], float]) -> None:
        """``burst``: how many may be taken at once, after a time without any."""
        self._seconds_each = 1 / per_second
        self._ahead_seconds = burst / per_second
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._due = monotonic() - self._ahead_seconds

    def take(self, count: int) -> float:
        """Take so many; how many seconds the taker has to wait for them, most often 0."""
        with self._lock:
            now = self._monotonic()
            self._due = max(self._due, now - self._ahead_seconds) + count * self._seconds_each
            return max(self._due - now, 0.0)


class Allowances:
    """What all associations of a node share."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self.crumbs = Allowance(CRUMBS_PER_SECOND, _WINDOW, monotonic)
        self.ahead = Allowance(AHEAD_PER_SECOND, AHEAD_BURST, monotonic)


class Crumbs:
    """Watches the fragments of one association, those that end no message part."""

    def __init__(self, allowances: Allowances) -> None:
        self._allowance = allowances.crumbs
        self._monotonic = allowances.monotonic
        self._count = 0
        self._bytes = 0
        self._began = self._monotonic()
        self._slowed_since: float | None = None

    def take(self, size: int) -> float:
        """Note a fragment of so many bytes; how many seconds to wait before the next one, most often 0.

        Raises ProtocolViolation when the peer had to be slowed down for two seconds on end.
        """
        self._count += 1
        self._bytes += size
        return self._judge() if self._count == _WINDOW else 0.0

    def _judge(self) -> float:
        now = self._monotonic()
        are_crumbs = self._bytes < SMALL_BYTES * _WINDOW and now - self._began < _WINDOW_SECONDS
        self._count = self._bytes = 0
        pause = self._allowance.take(_WINDOW) if are_crumbs else 0.0
        self._began = now + pause
        if not pause:
            self._slowed_since = None
        elif self._slowed_since is None:
            self._slowed_since = now
        elif now - self._slowed_since >= PATIENCE_SECONDS:
            raise ProtocolViolation("endless fragments of next to nothing", reason=AbortReason.NOT_SPECIFIED)
        return pause
