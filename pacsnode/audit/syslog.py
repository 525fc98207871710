"""Audit messages as syslog (RFC 5424) over TLS (RFC 5425) or UDP (RFC 5426), as PS3.15 A.6 and A.7 want them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from pacsnode.config import Collector
from pacsnode.errors import ConfigError

_PRIORITY = 85  # facility 10 (security), severity 5 (notice): PS3.15 A.6
_MESSAGE_ID = "DICOM+RFC3881"
_BOM = "\ufeff".encode()
_MAX_SEQUENCE_ID = 2**31 - 1  # RFC 5424 7.3.1
_MAX_DATAGRAM_BYTES = 65_507  # RFC 5426 3.1: what is longer is cut
_CONNECT_SECONDS = 10.0
_CONFIRM_SECONDS = 10.0
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Entry:
    """A message to be delivered, with its number in the trail and the time it was about."""

    sequence: int
    at: datetime
    xml: bytes


def encode(entry: Entry, host: str) -> bytes:
    """A syslog message. Its sequenceId is the record's number, by which collectors can tell what came twice."""
    moment = entry.at.isoformat(timespec="microseconds")
    number = (entry.sequence - 1) % _MAX_SEQUENCE_ID + 1
    head = f'<{_PRIORITY}>1 {moment} {host} pacsnode {os.getpid()} {_MESSAGE_ID} [meta sequenceId="{number}"] '
    return head.encode("ascii") + _BOM + entry.xml


def host_name() -> str:
    """What we call ourselves (RFC 5424 6.2.4): printable ASCII, "-" where there is none."""
    name = "".join(character for character in socket.gethostname() if "!" <= character <= "~")
    return name[:255] or "-"


def tls_context(ca: str, certificate: str, key: str) -> ssl.SSLContext:
    """To connect to a collector whose certificate the CA has signed. Raises ConfigError for a file that is no good."""
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f'[audit] syslog_ca = "{ca}": no certificates of a CA in PEM: {_words(error)}') from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate:
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f'[audit] syslog_certificate = "{certificate}", syslog_key = "{key}": '
                f"not a certificate and its key in PEM: {_words(error)}"
            ) from error
    return context


class UdpCollector:
    """Sends datagrams; nobody tells whether they come."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def deliver(self, frames: Sequence[bytes]) -> None:
        """Send each. Raises OSError where the network or the collector's host says that it does not want them."""
        address = (self._collector.host, self._collector.port)
        family, kind, protocol, _, target = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as sock:
            sock.settimeout(_CONNECT_SECONDS)
            sock.connect(target)
            for frame in frames:
                sock.send(frame[:_MAX_DATAGRAM_BYTES])
            # Where nobody listens on the other host, its answer comes as an error of whatever is done next.
            time.sleep(_LOOK_SECONDS)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))


class TlsCollector:
    """A connection for each batch, since syslog has no acknowledgement (RFC 5425): ended by us, and then by the
    collector, whose own end says that it has read everything."""

    def __init__(self, collector: Collector, context: ssl.SSLContext) -> None:
        self._collector = collector
        self._context = context

    def deliver(self, frames: Sequence[bytes]) -> None:
        """Send all, and see that they were read. Raises OSError; then the collector may have some of them."""
        address = (self._collector.host, self._collector.port)
        with socket.create_connection(address, _CONNECT_SECONDS) as plain:
            with self._context.wrap_socket(plain, server_hostname=self._collector.host) as secured:
                secured.settimeout(_CONFIRM_SECONDS)
                secured.sendall(b"".join(b"%d %s" % (len(frame), frame) for frame in frames))
                _see_read(secured)


def _see_read(secured: ssl.SSLSocket) -> None:
    """Say that nothing follows and wait for the other side to end, too. Raises OSError where it broke off.

    A process that ends a connection, or is killed, with bytes unread makes its system send a reset: whoever ends it in
    good order has read all of them.
    """
    descriptor = secured.fileno()
    try:
        secured.unwrap().close()
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return  # it closed without a last word, as most do: not a reset
    except TimeoutError:
        # It keeps the connection: what its system has acknowledged is all there is to know.
        if _unacknowledged(descriptor):
            raise
    except OSError as error:
        if error.errno not in (0, None) or isinstance(error, ssl.SSLError):
            raise


def _unacknowledged(descriptor: int) -> int:
    """Bytes that the other system has not acknowledged (SIOCOUTQ)."""
    with contextlib.suppress(OSError):
        (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4))
        return int(count)
    return 1


def _words(error: OSError) -> str:
    return error.strerror or str(error)


Deliver = Callable[[Sequence[bytes]], None]
"""Hands frames to a collector. Raises OSError, and all of them are tried again later."""
