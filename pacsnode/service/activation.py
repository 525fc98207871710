"""Sockets that systemd listens on for us (sd_listen_fds(3)): ports below 1024 without a privilege, and no connection
is refused while we restart."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterable

from pacsnode.config import Address
from pacsnode.errors import CannotListen

_FIRST_DESCRIPTOR = 3
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class Activation:
    """The sockets that were handed over, each to be taken by the listener that is configured for its address."""

    def __init__(self, sockets: Iterable[socket.socket] = ()) -> None:
        self._waiting = {_address(sock): sock for sock in sockets}

    def take(self, address: Address) -> socket.socket | None:
        """The socket that listens on this address; None where there is none, and it has to be made.

        Raises CannotListen where the port is that of a socket on another address: who may connect would not be who
        the configuration says.
        """
        wanted = Address(_canonical(address.host), address.port)
        if (sock := self._waiting.pop(wanted, None)) is not None:
            return sock
        for other in self._waiting:
            if other.port == address.port:
                raise CannotListen(
                    f"cannot listen on {address}: systemd hands over {other}; "
                    "make ListenStream= of the socket unit and table [node] the same"
                )
        return None

    def close(self) -> list[Address]:
        """Close what nobody took: where systemd listens, but no listener is configured."""
        left = list(self._waiting)
        for sock in self._waiting.values():
            sock.close()
        self._waiting.clear()
        return left


def handed_over() -> Activation:
    """What systemd handed over to this process; nothing where it did not. The environment forgets it, so that no
    child takes it for its own. Raises CannotListen for what is of no use to us."""
    values = [os.environ.pop(name, "") for name in _VARIABLES]
    if values[0] != str(os.getpid()) or not values[1].isdecimal():
        return Activation()
    return Activation(map(_taken, range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(values[1]))))


def _taken(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    sock = socket.socket(fileno=descriptor)
    is_ours = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
    if not is_ours or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise CannotListen(
            f"descriptor {descriptor} of systemd is no TCP socket that listens; "
            "write ListenStream=ADDRESS:PORT and Accept=no in the socket unit"
        )
    return sock


def _address(sock: socket.socket) -> Address:
    host, port = sock.getsockname()[:2]
    return Address(_canonical(str(host)), int(port))


def _canonical(host: str) -> str:
    """One spelling of an address; names stay as they are, and match no socket."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host
