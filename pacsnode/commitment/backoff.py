"""When to try again what failed: later each time. Times are seconds of the monotonic clock that is passed in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

LAST_SECONDS = 3600.0


class BackOff:
    """Failures by key. Safe to use from several threads."""

    def __init__(self, first_seconds: float, monotonic: Callable[[], float]) -> None:
        self._first = first_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failures: dict[Hashable, int] = {}
        self._retry_at: dict[Hashable, float] = {}

    def failed(self, key: Hashable) -> float:
        """Count a failure: the seconds to the next attempt, doubled each time up to an hour."""
        with self._lock:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            delay = min(self._first * 2.0 ** min(failures, 64), max(LAST_SECONDS, self._first))
            self._retry_at[key] = self._monotonic() + delay
            return delay

    def forget(self, key: Hashable) -> None:
        """It worked, or is of no interest any more."""
        with self._lock:
            self._failures.pop(key, None)
            self._retry_at.pop(key, None)

    def retry_at(self, key: Hashable) -> float:
        """When the next attempt may be; long ago where nothing failed."""
        return self._retry_at.get(key, 0.0)

    def is_due(self, key: Hashable) -> bool:
        """May it be tried now?"""
        return self.retry_at(key) <= self._monotonic()
