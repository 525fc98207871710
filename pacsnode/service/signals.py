"""Signals: a handler only takes a note; whoever waits acts on it."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from types import FrameType


class StopSignals:
    """SIGTERM and SIGINT as something to wait for. Used by the main thread only."""

    def __init__(self) -> None:
        # The interpreter writes each signal's number into this socket, which wakes the waiting main thread.
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _noted)

    def wait(self, seconds: float) -> signal.Signals | None:
        """Block until one of them comes; None where none did in that time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._reader.settimeout(left)
            with contextlib.suppress(TimeoutError):
                for number in self._reader.recv(16):
                    if number in (signal.SIGTERM, signal.SIGINT):
                        return signal.Signals(number)
        return None

    def close(self) -> None:
        """Give the signals back to the interpreter; a second one then ends the process at once."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        self._reader.close()
        self._writer.close()


def _noted(number: int, frame: FrameType | None) -> None:
    """Nothing to do here: the wakeup socket has it."""
