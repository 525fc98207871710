"""C-MOVE over several associations: each instance once, counted once, whatever becomes of the destination."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pacsnode.dimse.connection import Connection
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Instance, Peer, Query, Uid
from tests.dimse import images
from tests.dimse.conftest import Nodes, Running, eventually, limits
from tests.dimse.destination import Destination
from tests.dimse.raw_peer import (
    ABORT,
    C_MOVE,
    RELEASE_RQ,
    SOP_INSTANCE,
    STUDY_MOVE,
    Offer,
    RawPeer,
    Received,
    identifier,
    parse_elements,
)

WHOLE_STUDY = identifier({0x00080052: "STUDY", 0x0020000D: images.STUDY})
COUNT = 120
ALL = range(1, COUNT + 1)
_LATE_SECONDS = 0.3
MOVED = int(os.environ.get("PACSNODE_MOVED", "3000"))


def couriers() -> list[str]:
    """Threads that have an association with a move destination."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("delivery")]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield

    assert eventually(lambda: not couriers())


@pytest.fixture
def destination() -> Iterator[Destination]:
    """A move destination that takes everything unless told otherwise."""
    with Destination() as listening:
        yield listening


def serving(nodes: Nodes, destination: Destination, associations: int = 4, count: int = COUNT) -> Running:
    """A node with a study of so many instances, and the destination as DEST."""
    peer = Peer("dest", "DEST", "127.0.0.1", destination.port, associations=associations)
    node = nodes.start(peer, limits=limits(response=8.0))
    node.keep(*range(1, count + 1))
    return node


def start(node: Running) -> tuple[RawPeer, int]:
    """A requester whose C-MOVE has begun, and its message ID."""
    peer = node.connect(Offer(1, STUDY_MOVE))
    return peer, peer.start_query(1, C_MOVE, STUDY_MOVE, WHOLE_STUDY, destination="DEST")


def move(node: Running) -> Received:
    """The final response to a C-MOVE of the study; no thread is left when it comes."""
    peer, _ = start(node)
    with peer:
        final = peer.responses()[-1]

    assert [] == couriers()
    return final


def failed_uids(response: Received) -> list[str]:
    """Failed SOP Instance UID List."""
    raw = parse_elements(response.data_set or b"").get(0x00080058, b"")
    return raw.decode().rstrip("\0").split("\\") if raw else []


def arrived(destination: Destination) -> list[str]:
    """What the destination has."""
    return [received.text(SOP_INSTANCE) for received in destination.received]


def uids(count: int = COUNT) -> list[str]:
    """SOP Instance UIDs of the study, sorted."""
    return sorted(images.uid_of(number) for number in range(1, count + 1))


def test_each_instance_once(nodes: Nodes, destination: Destination) -> None:
    """Over four associations every instance arrives once; each of them is released."""
    destination.hold_at = 5  # while one association is held up, the others are opened
    node = serving(nodes, destination)
    peer, _ = start(node)
    with peer:
        assert eventually(lambda: len(destination.proposals) > 1)
        destination.go_on.set()
        final = peer.responses()[-1]

    assert (0x0000, (None, COUNT, 0, 0)) == (final.status, final.counters)
    assert uids() == sorted(arrived(destination))
    assert eventually(lambda: destination.endings == [RELEASE_RQ] * len(destination.proposals))


@pytest.mark.parametrize("dies_at", [1, 2, 37, COUNT])
def test_destination_dies(nodes: Nodes, destination: Destination, dies_at: int) -> None:
    """When all associations are dead the rest has failed: the list is what did not arrive, and nobody calls again."""
    destination.dies_at = dies_at
    final = move(serving(nodes, destination))

    assert (None, dies_at - 1, COUNT - dies_at + 1, 0) == final.counters
    assert uids() == sorted(arrived(destination) + failed_uids(final))
    assert len(destination.titles) <= 4


def test_one_association_breaks(nodes: Nodes, destination: Destination) -> None:
    """What was under way on it has failed; all others, loaded there or not, go over those that live."""
    destination.breaks_at = 50
    final = move(serving(nodes, destination))

    assert (0xB000, (None, COUNT - 1, 1, 0)) == (final.status, final.counters)
    assert uids() == sorted(arrived(destination) + failed_uids(final))


def test_second_association_refused(nodes: Nodes, destination: Destination, caplog: pytest.LogCaptureFixture) -> None:
    """The first one carries everything; it is asked once, in every C-MOVE, and the destination is not left alone."""
    caplog.set_level("INFO", "pacsnode")
    destination.most = 1
    node = serving(nodes, destination)
    first = move(node)
    asked = len(destination.titles)
    destination.most += asked
    finals = [first, move(node)]

    assert 2 == asked
    assert [(0x0000, (None, COUNT, 0, 0))] * 2 == [(final.status, final.counters) for final in finals]
    assert 2 == sum("event=destination_takes_fewer" in line for line in caplog.messages)


def test_warnings_and_failures(nodes: Nodes, destination: Destination) -> None:
    """Each status counts where it belongs, whichever association it came on."""
    destination.answer = lambda number: {0: 0xA700, 1: 0xB000}.get(number % 4, 0)
    final = move(serving(nodes, destination))

    assert (0xB000, (None, COUNT // 2, COUNT // 4, COUNT // 4)) == (final.status, final.counters)
    assert COUNT // 4 == len(failed_uids(final))


@pytest.mark.parametrize("associations", [1, 4])
def test_destination_hangs(nodes: Nodes, destination: Destination, associations: int) -> None:
    """The requester goes on hearing while nothing ends, the other associations go on, and a cancel is heard."""
    destination.hold_at = 3
    node = serving(nodes, destination, associations)
    peer, message_id = start(node)
    with peer:
        assert destination.held.wait(5)
        told = [peer.read_message()]
        while len(told) < 2 or told[-1].counters != told[-2].counters:
            told.append(peer.read_message())  # twice the same: nothing ended meanwhile
        peer.cancel(1, message_id)
        assert associations == 1 or len(destination.received) > 3
        destination.go_on.set()
        final = peer.responses()[-1]
    remaining, completed, failed, warning = (counter or 0 for counter in final.counters)

    assert {0xFF00} == {response.status for response in told}
    assert (COUNT, 0, 0) == (remaining + completed, failed, warning)
    assert completed == len(destination.received)
    assert final.status == 0xFE00 or (associations, completed) == (4, COUNT)
    assert eventually(lambda: set(destination.endings) == {RELEASE_RQ})


def test_draining_cuts_what_hangs(nodes: Nodes, destination: Destination) -> None:
    """A node that stops does not wait for the destination: all associations end, with all their threads."""
    destination.hold_at = 3
    node = serving(nodes, destination)
    peer, _ = start(node)
    with peer:
        assert destination.held.wait(5)
        node.admission.drain(0.1)
        left = couriers()

    assert (0, []) == (node.admission.associations, left)


def test_requester_leaves_while_the_destination_hangs(nodes: Nodes, destination: Destination) -> None:
    """It is seen at once, not when the destination answers, and the associations are aborted."""
    destination.hold_at = 3
    node = serving(nodes, destination, 1)
    peer, _ = start(node)
    assert destination.held.wait(5)
    peer.close()

    assert eventually(lambda: node.admission.associations == 0 and not couriers(), 2)
    destination.go_on.set()
    assert eventually(lambda: destination.endings == [ABORT])


def test_requester_leaves_while_couriers_are_held_back(
    nodes: Nodes, destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An association between two instances is aborted, not released, however late it is cut."""
    cut = Connection.cut

    def cut_late(connection: Connection, last_words: bytes) -> None:
        eventually(lambda: bool(destination.endings), _LATE_SECONDS)
        cut(connection, last_words)

    monkeypatch.setattr(Connection, "cut", cut_late)
    destination.hold_at = 3
    node = serving(nodes, destination, 1)
    peer, _ = start(node)
    assert destination.held.wait(5)
    peer.close()
    destination.go_on.set()

    assert eventually(lambda: node.admission.associations == 0 and not couriers())
    assert eventually(lambda: destination.endings == [ABORT])


class EndlessIndex(SqliteIndex):
    """An index that gives one instance under many UIDs, and sees how far ahead of the destination it is asked."""

    destination: Destination
    ahead = 0

    def count_instances(self, query: Query) -> int:
        return MOVED

    def instances(self, query: Query) -> Generator[Instance, None, None]:
        first = next(super().instances(query))
        for number in range(MOVED):
            self.ahead = max(self.ahead, number - len(self.destination.received))
            yield replace(first, header=replace(first.header, sop_instance_uid=Uid(f"2.25.7003.{number}")))


def test_many_instances(nodes: Nodes, destination: Destination, tmp_path: Path) -> None:
    """Far more instances than are held at a time: a bounded number is taken from the index ahead of the destination.

    With ``PACSNODE_MOVED=66000`` more than the counters hold: they stay at 65,535.
    """
    index = EndlessIndex(tmp_path / "endless.db")
    index.destination = destination
    peer = Peer("dest", "DEST", "127.0.0.1", destination.port, associations=4)
    node = nodes.start(peer, index=index)
    node.keep(1)
    final = move(node)

    assert (0x0000, (None, min(MOVED, 0xFFFF), 0, 0)) == (final.status, final.counters)
    assert {f"2.25.7003.{number}" for number in range(MOVED)} == set(arrived(destination))
    assert MOVED == len(destination.received)
    assert index.ahead <= 150
