"""The node on sockets that somebody else holds open, as systemd does, and its watchdog."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.dimse import images
from tests.dimse.raw_peer import CT, EXPLICIT, Aborted, Closed, Offer, RawPeer, Rejected
from tests.system.live import LiveNode

RESTARTS = int(os.environ.get("PACSNODE_RESTARTS", "3"))
SENDERS = 8
IMAGES = 3  # of an association
DRAIN = '[limits]\ndrain = "5 s"\n'


@pytest.fixture
def held() -> Iterator[socket.socket]:
    """A socket that listens on a free port, whatever becomes of the node."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
        yield sock


def activated(folder: Path, held: socket.socket, listen: str = "") -> LiveNode:
    """A node that is handed the socket."""
    return LiveNode(
        folder,
        DRAIN,
        listen=listen or f"127.0.0.1:{held.getsockname()[1]}",
        launcher=[sys.executable, "-m", "tests.system.activator", str(held.fileno())],
        descriptors=[held.fileno()],
    )


class Modality:
    """Stores image after image, on an association for a few of them; what was not acknowledged it sends again."""

    def __init__(self, port: int, number: int, stop: threading.Event) -> None:
        self._port, self._number, self._stop = port, number, stop
        self.stored: list[str] = []
        self.refused = 0

    def run(self) -> None:
        """Until told to stop."""
        while not self._stop.is_set():
            try:
                self._associate()
            except ConnectionRefusedError:
                self.refused += 1
            except (Rejected, Aborted, Closed, ConnectionResetError, BrokenPipeError):
                continue  # the node is going down: again

    def _associate(self) -> None:
        with RawPeer(self._port) as peer:
            peer.associate([Offer(1, CT, (EXPLICIT,))])
            for _ in range(IMAGES):
                uid = f"{images.uid_of(self._number)}.{len(self.stored)}"
                if peer.store(1, CT, uid, images.image(self._number, uid=uid)).status == 0:
                    self.stored.append(uid)
            peer.release()


@contextlib.contextmanager
def modalities(port: int) -> Iterator[list[Modality]]:
    """At work until the end of the block."""
    stop = threading.Event()
    made = [Modality(port, number, stop) for number in range(SENDERS)]
    with ThreadPoolExecutor(SENDERS) as pool:
        running = [pool.submit(one.run) for one in made]
        try:
            yield made
        finally:
            stop.set()
    for one in running:
        one.result()


@pytest.mark.slow
@pytest.mark.timeout(60 + 30 * RESTARTS)
def test_restarts_refuse_nobody(tmp_path: Path, held: socket.socket) -> None:
    """Restarts under 8 senders, every other one a crash: no connection is refused, no acknowledged image is lost."""
    with activated(tmp_path / "node", held) as node:
        with modalities(node.port) as at_work:
            for number in range(RESTARTS):
                node.wait_for("event=stored")
                assert node.kill() == -signal.SIGKILL if number % 2 else node.stop() == 0
                node.start()
            node.wait_for("event=stored")
        found = node.run("status", "--json")

    acknowledged = sum(len(one.stored) for one in at_work)
    kept = int(re.search(r'"instances": (\d+)', found)[1])  # type: ignore[index]
    assert 0 == sum(one.refused for one in at_work)
    assert SENDERS <= acknowledged <= kept


def test_waiting_connection_is_served(tmp_path: Path, held: socket.socket) -> None:
    """Who connects and asks while no node runs is answered once one does."""
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(_echo, held.getsockname()[1])
        with activated(tmp_path / "node", held):
            assert 0 == early.result(timeout=30)


def _echo(port: int) -> int | None:
    with RawPeer(port) as peer:
        peer.associate()
        return peer.echo()


def test_socket_on_another_address(tmp_path: Path, held: socket.socket) -> None:
    """A socket on the port of ``listen`` but on another address is a mistake that is told, with exit code 1."""
    node = activated(tmp_path / "node", held, f"127.0.0.2:{held.getsockname()[1]}")
    with pytest.raises(AssertionError, match=r"systemd hands over 127\.0\.0\.1:\d+; make ListenStream="), node:
        pass
    assert 1 == node.stop()


def test_socket_that_nobody_wants(tmp_path: Path, held: socket.socket) -> None:
    """A socket that no listener is configured for is told of."""
    with activated(tmp_path / "node", held, "127.0.0.1:0") as node:
        assert node.wait_for(f"event=socket_unused address=127.0.0.1:{held.getsockname()[1]}")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd hears of the service."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(20)
        yield sock


def hear(manager: socket.socket, wanted: bytes) -> None:
    """Wait until this is told."""
    while not manager.recv(4096).startswith(wanted):
        pass


def watched(tmp_path: Path, seconds: float) -> LiveNode:
    """A node with a watchdog that has so much patience."""
    told = [f"NOTIFY_SOCKET={tmp_path / 'notify'}", f"WATCHDOG_USEC={int(seconds * 1e6)}"]
    return LiveNode(tmp_path / "node", DRAIN, launcher=["env", *told])


def test_watchdog_is_fed_to_the_end(tmp_path: Path, manager: socket.socket) -> None:
    """A node that is well says so several times in the time that systemd has patience, during the drain, too."""
    with watched(tmp_path, 1.5) as node:
        hear(manager, b"READY=1")
        for _ in range(3):
            hear(manager, b"WATCHDOG=1")
        with RawPeer(node.port) as peer:
            peer.associate()
            os.kill(node.pid, signal.SIGTERM)
            hear(manager, b"STOPPING=1")
            hear(manager, b"WATCHDOG=1")
            peer.release()
        assert 0 == node.ended()
        assert "watchdog_unfed" not in node.log


def test_stopped_node_is_silent(tmp_path: Path, manager: socket.socket) -> None:
    """A node that hangs says nothing."""
    with watched(tmp_path, 1.5) as node:
        hear(manager, b"WATCHDOG=1")
        os.kill(node.pid, signal.SIGSTOP)
        try:
            _until_stopped(node.pid)
            manager.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while manager.recv(4096):
                    pass
            manager.settimeout(2)
            with pytest.raises(TimeoutError):
                manager.recv(4096)
        finally:
            os.kill(node.pid, signal.SIGCONT)


def _until_stopped(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
        assert time.monotonic() < deadline


def test_exit_code_of_a_wrong_configuration(tmp_path: Path) -> None:
    """78, which the unit does not start again for."""
    (tmp_path / "pacsnode.toml").write_text("[nodes]\n")
    command = [sys.executable, "-m", "pacsnode", "serve", "--config", str(tmp_path / "pacsnode.toml")]

    assert 78 == subprocess.run(command, capture_output=True, timeout=60).returncode
