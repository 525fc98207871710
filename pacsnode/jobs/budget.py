"""What one run may spend: time, bytes per second, and nothing while receiving is slow. A Budget, see job.py."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

_BURST_SECONDS = 0.1  # what may be spent at once after a rest, as time at the rate
_LOOK_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
"""For one item while receiving is slow: a job crawls under a load that does not end, but it is not starved."""
_BEAT_SECONDS = 10.0


class RunBudget:
    """The budget of one run, from its start on."""

    def __init__(
        self,
        *,
        seconds: float = math.inf,
        rate: int = 0,
        stopping: threading.Event | None = None,
        is_unwanted: Callable[[], bool] = lambda: False,
        is_slow: Callable[[], bool] = lambda: False,
        told: Callable[[int, int | None], None] = lambda done, total: None,
        beat: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        """``rate``: bytes per second, 0 is no limit. ``is_unwanted``: has who asked gone? ``is_slow``: is receiving so
        slow, or for some jobs so near, that items wait? ``told``: hears of each advance, ``beat`` of one in ten
        seconds. ``wait``: how to wait so many seconds, or until ``stopping`` is set.
        """
        self._stopping = stopping or threading.Event()
        self._wait = wait or self._stopping.wait
        self._monotonic = monotonic
        self._rate, self._is_slow, self._told, self._beat = rate, is_slow, told, beat
        self._is_unwanted = is_unwanted
        self._lock = threading.Lock()
        now = monotonic()
        self._deadline = now + seconds
        self._paid_until = now
        self._beaten_at = now

    def expired(self) -> bool:
        """See Budget.expired."""
        return self._stopping.is_set() or self._monotonic() >= self._deadline or self._is_unwanted()

    def spend(self, size: int) -> None:
        """See Budget.spend."""
        self._pause()
        if not self._rate:
            return
        with self._lock:
            earliest = self._monotonic() - _BURST_SECONDS
            self._paid_until = max(self._paid_until, earliest) + size / self._rate
            until = self._paid_until
        while not self.expired() and (left := min(until, self._deadline) - self._monotonic()) > 0:
            self._wait(min(left, _BEAT_SECONDS))
            self._pulse()

    def advance(self, done: int, total: int | None) -> None:
        """See Budget.advance."""
        self._told(done, total)
        self._pulse()

    def _pause(self) -> None:
        until = self._monotonic() + _LONGEST_PAUSE_SECONDS
        while self._is_slow() and not self.expired() and self._monotonic() < until:
            self._wait(_LOOK_SECONDS)

    def _pulse(self) -> None:
        with self._lock:
            if self._monotonic() - self._beaten_at < _BEAT_SECONDS:
                return
            self._beaten_at = self._monotonic()
        self._beat()
