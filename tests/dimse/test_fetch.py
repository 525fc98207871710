"""C-GET as SCU: one instance back from a peer that has it, too; whether it is right is for others to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pacsnode.dimse.fetch import PeerCopies
from pacsnode.errors import PeerFailure
from pacsnode.integrity.repair import Repairer
from pacsnode.model import Instance, Peer, Uid
from tests.dimse import images
from tests.dimse.conftest import AE_TITLE, Nodes, Running, limits
from tests.dimse.destination import Destination
from tests.dimse.raw_peer import IMPLICIT, JPEG_BASELINE

UID = Uid(images.uid_of(1))


def instance_of(node: Running) -> Instance:
    found = node.archive.index.current(UID)
    assert found is not None
    return found


def copies_of(node: Running, port: int, folder: Path) -> PeerCopies:
    """What a peer at this port has of the node's instances."""
    peer = Peer("THERE", AE_TITLE, "127.0.0.1", port)
    return PeerCopies(peer, node.archive.index.versions, ae_title="US", limits=limits(), folder=folder)


@pytest.mark.parametrize("syntax", [IMPLICIT, JPEG_BASELINE])
def test_a_peer_sends_it_back(node: Running, tmp_path: Path, syntax: str) -> None:
    """The data set comes as it was stored, in its own transfer syntax; other instances of the study do not."""
    node.keep(1, syntax=syntax)
    node.keep(2)
    with copies_of(node, node.port, tmp_path).fetch(UID, instance_of(node).stored.digest) as copy:
        assert copy is not None
        assert images.image(1, syntax=syntax) == copy.read()


def test_a_large_instance(node: Running, tmp_path: Path) -> None:
    """What does not fit in memory goes through a file, whole, and leaves none behind."""
    pixels = bytes(range(256)) * 40_000
    node.keep(1, pixels=pixels)
    with copies_of(node, node.port, tmp_path).fetch(UID, instance_of(node).stored.digest) as copy:
        assert copy is not None
        assert images.image(1, pixels=pixels) == copy.read()

    assert [] == [path for path in tmp_path.iterdir() if not path.name.startswith("index.db")]


def test_a_peer_without_it(nodes: Nodes, tmp_path: Path) -> None:
    """A peer that has nothing of the instance, or what it has is damaged, has no copy."""
    node = nodes.start()
    node.keep(1)
    digest = instance_of(node).stored.digest
    node.archive.store.set_aside(instance_of(node).stored.key, "for the test")
    with copies_of(node, node.port, tmp_path).fetch(UID, digest) as copy:
        assert copy is None


def test_repaired_from_a_peer(nodes: Nodes, tmp_path: Path) -> None:
    """An instance whose object is lost is whole again when a peer has it; what the peer has altered is not taken."""
    (tmp_path / "there").mkdir()
    ours, theirs = nodes.start(), Nodes.start(Nodes(tmp_path / "there", nodes._stack))
    ours.keep(1, 2)
    theirs.keep(1)
    theirs.keep(2, name=b"Other^Name")
    places = {"peer THERE": copies_of(ours, theirs.port, tmp_path)}
    found = {}
    for number in (1, 2):
        lost = ours.archive.index.current(Uid(images.uid_of(number)))
        assert lost is not None
        ours.archive.store.set_aside(lost.stored.key, "for the test")
        found[number] = Repairer(ours.archive, places).repair(lost)

    assert {1: "peer THERE", 2: None} == found
    assert ours.archive.problem_of(instance_of(ours)) is None
    assert 1 == len(ours.keys())


def test_peers_that_fail(node: Running, tmp_path: Path) -> None:
    """A peer that is not there, does not take C-GET or vanishes is a PeerFailure that names it."""
    node.keep(1)
    digest = instance_of(node).stored.digest
    with Destination(takes=lambda offer: False) as destination:
        for port in (1, destination.port):
            with pytest.raises(PeerFailure, match="THERE"), copies_of(node, port, tmp_path).fetch(UID, digest):
                pass
