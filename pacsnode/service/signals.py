"""Signals: a handler only takes a note; whoever waits acts on it."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from types import FrameType

_STOP = (signal.SIGTERM, signal.SIGINT)
_AWAITED = (*_STOP, signal.SIGHUP)
_MANY = 4096


def ignore_reload() -> None:
    """Before the node is ready there is nothing to be read anew; a SIGHUP must not end it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


class Signals:
    """SIGTERM, SIGINT and SIGHUP as something to wait for. Used by the main thread only."""

    def __init__(self) -> None:
        self._pending: set[int] = set()
        # The interpreter writes into this socket at each signal, which wakes the main thread. A burst may overflow
        # it, so what came is noted apart.
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in _AWAITED:
            signal.signal(number, self._note)

    def wait(self, seconds: float) -> signal.Signals | None:
        """Block until one of them comes; None where none did in that time. Those of a kind that came meanwhile are one,
        and one to stop comes first."""
        deadline = time.monotonic() + seconds
        while not self._pending and (left := deadline - time.monotonic()) > 0:
            self._reader.settimeout(left)
            with contextlib.suppress(TimeoutError):
                self._reader.recv(_MANY)
        for number in _AWAITED:
            if number in self._pending:
                self._pending.discard(number)
                return number
        return None

    def close(self) -> None:
        """Give the signals back to the interpreter; a second one to stop then ends the process at once."""
        signal.set_wakeup_fd(-1)
        for number in _STOP:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._reader.close()
        self._writer.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._pending.add(number)
