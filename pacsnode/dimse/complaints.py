"""How often the log tells of one address's faults: a peer that makes them without an end must not fill the disk.

What was done for peers is no complaint, and always logged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pacsnode import log

LINES = 10
WINDOW_SECONDS = 10.0
MAX_ENTRIES = 1024


@dataclass(slots=True)
class _Window:
    began: float
    lines: int = 0
    suppressed: int = 0


class Complaints:
    """Lets ten lines of an event and an address through in ten seconds, and counts the others.

    The count is logged as ``suppressed`` when the window is over, with the next complaint of anybody. The table is
    bounded: beyond, the oldest window ends early. Safe to use from several threads.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, str], _Window] = {}  # the one that began first is the first

    def allows(self, event: str, address: str) -> bool:
        """May this event be logged now?"""
        with self._lock:
            now = self._monotonic()
            over = self._take_over(now)
            window = self._windows.setdefault((event, address), _Window(now))
            is_allowed = window.lines < LINES
            if is_allowed:
                window.lines += 1
            else:
                window.suppressed += 1
        for (name, where), ended in over:
            log.event("suppressed", level=logging.WARNING, of=name, address=where, count=ended.suppressed)
        return is_allowed

    def _take_over(self, now: float) -> list[tuple[tuple[str, str], _Window]]:
        """Forget the windows that are over, or too many; those that had to suppress something."""
        over = []
        while self._windows:
            key = next(iter(self._windows))
            if now - self._windows[key].began < WINDOW_SECONDS and len(self._windows) < MAX_ENTRIES:
                break
            window = self._windows.pop(key)
            if window.suppressed:
                over.append((key, window))
        return over
