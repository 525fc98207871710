"""Connections that have not sent a whole PDU header yet: watched by the listener's own thread, without one each.

Port checks, silent and half-silent peers end here: hundreds of them cost a descriptor each and nothing else.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from typing import Any

_HEADER_BYTES = 6  # of a PDU (PS3.8 9.3.1); a TLS client begins with more


class WaitingRoom:
    """The connections of one listener that are not worth a thread yet. Used by the listener's thread."""

    def __init__(self, selector: selectors.BaseSelector, patience_seconds: float) -> None:
        self._selector = selector
        self._patience_seconds = patience_seconds
        self._deadlines: dict[socket.socket, float] = {}  # the earliest first

    def take(self, sock: socket.socket, address: Any) -> None:
        """Watch the connection; the selector's key has ``(sock, address)`` as its data."""
        # Now the kernel wakes us only for a whole header, or for the peer's end.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _HEADER_BYTES)
        self._selector.register(sock, selectors.EVENT_READ, (sock, address))
        self._deadlines[sock] = time.monotonic() + self._patience_seconds

    def leave(self, sock: socket.socket) -> None:
        """Watch it no longer."""
        self._selector.unregister(sock)
        del self._deadlines[sock]
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    def timeout(self) -> float | None:
        """Seconds until somebody's patience ends; None while nobody waits."""
        deadline = next(iter(self._deadlines.values()), None)
        return None if deadline is None else max(deadline - time.monotonic(), 0)

    def overdue(self) -> list[socket.socket]:
        """Whose time is over."""
        now = time.monotonic()
        return [sock for sock, deadline in self._deadlines.items() if deadline <= now]

    def everybody(self) -> list[socket.socket]:
        """All who wait."""
        return list(self._deadlines)


def has_header(sock: socket.socket) -> bool:
    """Has a whole PDU header come?"""
    with contextlib.suppress(OSError):
        return len(sock.recv(_HEADER_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)) == _HEADER_BYTES
    return False


def is_gone(sock: socket.socket) -> bool:
    """Has the peer closed before it said a word?"""
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
