"""A thread and the process that it waits for, on one core: they take turns, and nothing is gained by another one.

Waking a core that sleeps costs either of them some 20 µs, and what they give each other is not in its cache.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

_sched_getcpu = ctypes.CDLL(None).sched_getcpu


@contextlib.contextmanager
def on_one_core() -> Iterator[None]:
    """Within it this thread stays where it is; behind it it may go where it could before.

    Where the system does not let us (as below the systemd unit), nothing changes.
    """
    before: set[int] | None = None
    with contextlib.suppress(OSError):
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, (_sched_getcpu(),))
        before = cores
    try:
        yield
    finally:
        if before is not None:
            with contextlib.suppress(OSError):  # those were taken from us meanwhile: it stays where it is
                os.sched_setaffinity(0, before)


class Follower:
    """A process that goes to the core of whoever is bound to a single one, and stays there."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cores: set[int] = set()  # that it was sent to

    def follow(self) -> None:
        """Go where this thread is, if that is bound."""
        cores = os.sched_getaffinity(0)
        if len(cores) == 1 and cores != self._cores:
            self._cores = cores
            with contextlib.suppress(OSError):  # not allowed, or the process has ended
                os.sched_setaffinity(self._pid, cores)
