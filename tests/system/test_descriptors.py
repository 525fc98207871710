"""Many connections at once: more than 1,024 descriptors, and what happens when there is none left."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.dimse.raw_peer import ASSOCIATE_AC, VERIFICATION, Offer, RawPeer, associate_rq
from tests.system.live import LiveNode
from tests.system.test_limits import cpu_seconds

IDLE_ASSOCIATIONS = 1_100
NEEDED = 1_400
FEW = 96
SILENT = 200
SETTLE_SECONDS = 0.02
IDLE_SECONDS = 1.0
NO_LIMITS = "associations = 2000\nassociations_per_peer = 2000\nassociations_per_address = 0\n"


@contextmanager
def soft_limit(count: int) -> Iterator[None]:
    """Of this process, and of what it starts."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def associated(port: int) -> RawPeer:
    """A peer that has associated."""
    peer = RawPeer(port)
    peer.associate()
    return peer


def test_more_than_1024_idle_associations(tmp_path: Path) -> None:
    """Started under the usual soft limit of 1,024, the node holds 1,100 associations and serves each of them."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < NEEDED:
        pytest.skip(f"the hard limit of descriptors is {hard} (ulimit -Hn), {NEEDED} are needed")
    with ExitStack() as stack:
        with soft_limit(1024):
            node = stack.enter_context(LiveNode(tmp_path / "node", f"[limits]\n{NO_LIMITS}"))
        stack.enter_context(soft_limit(NEEDED))
        peers = [stack.enter_context(associated(node.port)) for _ in range(IDLE_ASSOCIATIONS)]
        statuses = {peer.echo() for peer in peers}

    assert {0} == statuses


def test_silent_connections_make_room(tmp_path: Path) -> None:
    """Without descriptors the connections that are silent for longest go: who speaks is served, and so are the
    associations that were there."""
    limits = f"[limits]\n{NO_LIMITS}connections_before_association = 2000\n"
    with ExitStack() as stack:
        node = stack.enter_context(LiveNode(tmp_path / "node", limits))
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (FEW, FEW))
        first = stack.enter_context(associated(node.port))
        for _ in range(SILENT):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", node.port)))
            sock.sendall(b"\1\0\0")  # half a header: the kernel hands it on, and no thread is begun
        began = time.monotonic()
        with associated(node.port) as late:
            status = late.echo()
            late.release()
        took = time.monotonic() - began
        first_status = first.echo()

    assert (0, 0) == (status, first_status)
    assert took < 2.0
    assert "event=accept_failed" in node.log
    assert node.log.count("event=accept_failed") <= 10


def test_no_room_at_all(tmp_path: Path) -> None:
    """Where associations have all descriptors, who comes next waits without costing anything, and is served when one
    of them goes."""
    with ExitStack() as stack:
        node = stack.enter_context(LiveNode(tmp_path / "node", f"[limits]\n{NO_LIMITS}"))
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (FEW, FEW))
        peers: list[RawPeer] = []
        while "event=accept_failed" not in node.log:
            peer = stack.enter_context(RawPeer(node.port))
            peer.send(associate_rq((Offer(1, VERIFICATION),)))
            peers.append(peer)
            threading.Event().wait(SETTLE_SECONDS)  # for the node to have its descriptor, or not
        late = peers.pop()
        before = cpu_seconds(node.pid)
        threading.Event().wait(IDLE_SECONDS)  # the time over which next to nothing is to happen
        used = cpu_seconds(node.pid) - before
        peers.pop().close()
        accepted = late.expect(ASSOCIATE_AC)

    assert accepted
    assert used < IDLE_SECONDS / 5
