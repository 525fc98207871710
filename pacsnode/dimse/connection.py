"""A socket under deadlines: blocks while there is nothing to do, and never longer than it may."""

from __future__ import annotations

import contextlib
import math
import select
import socket
import ssl
import struct
import time

from pacsnode.errors import PeerFailure, PeerSilent
from pacsnode.wire.message import Parts

_MAX_PARTS = 512  # per sendmsg; the kernel's limit (IOV_MAX) is 1,024
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 256 * 1024
_TIMEVAL = struct.Struct("ll")


class Connection:
    """One TCP connection. Receives and sends on one thread; ``cut`` may come from any."""

    def __init__(self, sock: socket.socket, peer_address: str, send_seconds: float) -> None:
        """``send_seconds``: how long the peer may leave one piece of ours untaken."""
        self.peer_address = peer_address
        self._socket = sock
        self._poll = select.poll()  # unlike select.select, good for descriptors beyond 1,023
        self._poll.register(sock, select.POLLIN)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # The kernel keeps the time for sending: Python's own timeouts cost further system calls for each one.
            whole, fraction = divmod(send_seconds, 1)
            timeout = _TIMEVAL.pack(int(whole), int(fraction * 1_000_000))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
            sock.settimeout(None)

    def receive_into(self, space: memoryview, deadline: float) -> int:
        """Block for bytes until the deadline (``time.monotonic`` seconds): how many came, 0 when the peer closed.

        Raises PeerSilent at the deadline, PeerFailure when the connection breaks.
        """
        try:
            while True:
                with contextlib.suppress(BlockingIOError):
                    return self._socket.recv_into(space, 0, socket.MSG_DONTWAIT)
                self._wait(deadline)
        except OSError as error:
            raise _broken("receiving", error) from error

    def send(self, parts: Parts) -> None:
        """Send all parts, gathered into few system calls. Raises PeerFailure."""
        try:
            for start in range(0, len(parts), _MAX_PARTS):
                self._send_some(parts[start : start + _MAX_PARTS])
        except BlockingIOError as error:
            raise PeerFailure("the peer takes no more bytes") from error
        except OSError as error:
            raise _broken("sending", error) from error

    def is_readable(self) -> bool:
        """Would receiving return at once?"""
        try:
            return bool(self._poll.poll(0))
        except OSError:
            return True

    def rest(self, seconds: float) -> None:
        """Neither receive nor send for so long; ends early when the connection is cut."""
        end = select.poll()
        try:
            end.register(self._socket, 0)  # nothing but the end of both directions
            end.poll(math.ceil(seconds * 1000))
        except (OSError, ValueError):
            return  # closed: whoever goes on finds out

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def wait(self, deadline: float, wake: int) -> None:
        """Wait until there is something to receive, the descriptor ``wake`` is readable, or the deadline is over.

        Raises PeerFailure when the connection breaks.
        """
        if self.is_readable():
            return
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(wake, select.POLLIN)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # see _wait
            poll.poll(max(0, math.ceil((deadline - time.monotonic()) * 1000)))
        except OSError as error:
            raise _broken("receiving", error) from error

    def finish(self, last_words: bytes = b"") -> None:
        """Send the last words and close so that the peer gets to read them.

        Closing with unread bytes would reset the connection and take the words away, so what still comes is read and
        thrown away, for a bounded time and amount.
        """
        with contextlib.suppress(OSError, PeerFailure):
            if last_words:
                self.send([last_words])
            self._socket.shutdown(socket.SHUT_WR)
            self._drain(time.monotonic() + _LINGER_SECONDS)
        self.close()

    def cut(self, last_words: bytes) -> None:
        """End the connection from another thread, at once: the thread that receives or sends sees it closed."""
        self._call_after(last_words)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close at once; may be called twice."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _call_after(self, last_words: bytes) -> None:
        """Send without ever waiting for a peer that takes nothing."""
        with contextlib.suppress(OSError):
            self._socket.send(last_words, socket.MSG_DONTWAIT)

    def _wait(self, deadline: float) -> None:
        """Wait for something to receive.

        The kernel is asked to acknowledge at once what comes, which it forgets by itself: a peer with Nagle's
        algorithm on waits for our acknowledgement between its small writes, 40 ms each otherwise.
        """
        remaining = deadline - time.monotonic()
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if remaining <= 0 or not self._poll.poll(math.ceil(remaining * 1000)):
            raise PeerSilent("nothing received within the deadline")

    def _send_some(self, parts: Parts) -> None:
        total = sum(map(len, parts))
        sent = self._socket.sendmsg(parts)
        while sent < total:
            parts, sent = _behind(parts, sent), 0
            total = sum(map(len, parts))
            sent = self._socket.sendmsg(parts)

    def _drain(self, deadline: float) -> None:
        left = _LINGER_BYTES
        scrap = memoryview(bytearray(64 * 1024))
        while left > 0:
            count = self.receive_into(scrap, deadline)
            if not count:
                return
            left -= count


class SecureConnection(Connection):
    """A connection whose TLS handshake is done."""

    def __init__(self, sock: ssl.SSLSocket, peer_address: str, send_seconds: float) -> None:
        super().__init__(sock, peer_address, send_seconds)
        self._secured = sock
        self._send_seconds = send_seconds

    def receive_into(self, space: memoryview, deadline: float) -> int:
        """See Connection.receive_into. Python keeps the time: one record may take several reads of the socket."""
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise PeerSilent("nothing received within the deadline")
        try:
            if not self._secured.pending():
                self._secured.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)  # see _wait
            self._secured.settimeout(remaining)
            return self._secured.recv_into(space)
        except TimeoutError as error:
            raise PeerSilent("nothing received within the deadline") from error
        except OSError as error:
            raise _broken("receiving", error) from error

    def send(self, parts: Parts) -> None:
        """See Connection.send."""
        try:
            self._secured.settimeout(self._send_seconds)
            self._secured.sendall(b"".join(parts))
        except TimeoutError as error:
            raise PeerFailure("the peer takes no more bytes") from error
        except OSError as error:
            raise _broken("sending", error) from error

    def is_readable(self) -> bool:
        """See Connection.is_readable."""
        return self._secured.pending() > 0 or super().is_readable()

    def cut(self, last_words: bytes) -> None:
        """See Connection.cut. Below TLS: Python's own would let a thread that is sending go on in clear text."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._secured, socket.SHUT_RDWR)

    def finish(self, last_words: bytes = b"") -> None:
        """See Connection.finish. What is read and thrown away stays encrypted."""
        with contextlib.suppress(OSError, PeerFailure):
            if last_words:
                self.send([last_words])
            self._say_goodbye()
            self._secured.shutdown(socket.SHUT_WR)
            self._drain(time.monotonic() + _LINGER_SECONDS)
        self.close()

    def close(self) -> None:
        """See Connection.close."""
        self._say_goodbye()
        super().close()

    def _say_goodbye(self) -> None:
        """Send close_notify (RFC 8446 6.1) as far as that needs no waiting; the peer's is not waited for."""
        with contextlib.suppress(OSError, ValueError):  # it would wait, the peer goes on sending, or all is over
            self._secured.settimeout(0)
            self._secured.unwrap()


def _broken(doing: str, error: OSError) -> PeerFailure:
    return PeerFailure(f"connection broke while {doing}: {error.strerror or error}")


def _behind(parts: Parts, sent: int) -> Parts:
    """What is left of the parts after so many bytes."""
    for number, part in enumerate(parts):
        if sent < len(part):
            return [memoryview(part)[sent:], *parts[number + 1 :]]
        sent -= len(part)
    return []
