"""Which of the sockets that systemd hands over goes to which listener."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from pacsnode.config import Address
from pacsnode.errors import CannotListen
from pacsnode.service import activation
from pacsnode.service.activation import Activation


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    """It listens on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_by_address(sock: socket.socket, host: str) -> None:
    """The listener of an address gets the socket of that address, once."""
    handed, wanted = Activation([sock]), Address(host, sock.getsockname()[1])

    assert (sock, None) == (handed.take(wanted), handed.take(wanted))
    assert [] == handed.close()


def test_other_port(sock: socket.socket) -> None:
    """Another port is made anew; what is left is closed, and told."""
    handed, port = Activation([sock]), sock.getsockname()[1]

    assert handed.take(Address("127.0.0.1", port + 1)) is None
    assert [Address("127.0.0.1", port)] == handed.close()
    assert -1 == sock.fileno()


def test_other_address_of_the_port(sock: socket.socket) -> None:
    """Who may connect would not be who the configuration says."""
    with pytest.raises(CannotListen, match="make ListenStream="):
        Activation([sock]).take(Address("0.0.0.0", sock.getsockname()[1]))


def test_meant_for_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Descriptors of a parent are not ours, and the environment is clean afterwards."""
    monkeypatch.setenv("LISTEN_PID", str(os.getppid()))
    monkeypatch.setenv("LISTEN_FDS", "1")

    assert [] == activation.handed_over().close()
    assert not {"LISTEN_PID", "LISTEN_FDS"} & set(os.environ)
