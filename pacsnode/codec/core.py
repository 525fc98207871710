"""A thread and the process that it waits for, on one core: they take turns, and nothing is gained by another one.

Waking a core that sleeps costs either of them some 20 µs, and what they give each other is not in its cache.
"""

from __future__ import annotations

import ctypes
import os

_sched_getcpu = ctypes.CDLL(None).sched_getcpu


class SharedCore:
    """Within it both stay where the thread is; behind it the thread may go where it could before, the process not.

    For one process, and one thread at a time. Where the system does not let us, everything stays as it is.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._core: int | None = None  # that the process is on
        self._before: set[int] | None = None  # where the thread could go
        self._is_allowed = True

    def __enter__(self) -> None:
        if not self._is_allowed:
            return
        try:
            cores, core = os.sched_getaffinity(0), _sched_getcpu()
            os.sched_setaffinity(0, (core,))
            self._before = cores
            if core != self._core:
                os.sched_setaffinity(self._pid, (core,))
                self._core = core
        except PermissionError:  # as below the systemd unit
            self._is_allowed = False
        except OSError:  # the process has ended
            return

    def __exit__(self, *_: object) -> None:
        before, self._before = self._before, None
        if before is not None:
            try:
                os.sched_setaffinity(0, before)
            except OSError:  # those were taken from us: it stays where it is
                return
