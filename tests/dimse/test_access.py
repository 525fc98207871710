"""Who may do what, over the wire: rights of configured peers, unknown ones, aliases."""

from __future__ import annotations

import pytest

from pacsnode.dimse.access import Access
from pacsnode.errors import NotAllowed, UnknownDestination
from pacsnode.model import Peer
from tests.dimse import images
from tests.dimse.conftest import Nodes, Running
from tests.dimse.raw_peer import (
    C_FIND,
    C_GET,
    C_MOVE,
    COMMAND,
    CT,
    EXPLICIT,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Offer,
    RawPeer,
    associate_rq,
    identifier,
    role,
)

OFFERS = (
    Offer(1, VERIFICATION),
    Offer(3, CT, (EXPLICIT,)),
    Offer(5, STUDY_FIND),
    Offer(7, STUDY_GET),
    Offer(9, STUDY_MOVE),
)
KEYS = identifier({0x00080052: "STUDY", 0x0020000D: images.STUDY})
OPERATIONS = ("echo", "store", "find", "get", "move")


def statuses(node: Running, *, calling: bytes = b"TESTER") -> dict[str, int | None]:
    """The final status of each operation, on one association."""
    with RawPeer(node.port) as peer:
        peer.associate(request=associate_rq(OFFERS, calling=calling, user_items=role(CT, scu=1, scp=1)))
        found = {"echo": peer.echo(), "store": peer.store(3, CT, images.uid_of(1), images.image()).status}
        peer.start_query(5, C_FIND, STUDY_FIND, KEYS)
        found["find"] = peer.responses()[-1].status
        found["get"] = peer.get(7, STUDY_GET, identifier({0x00080052: "STUDY", 0x0020000D: "1.2.3"}))[1][-1].status
        peer.start_query(9, C_MOVE, STUDY_MOVE, KEYS, destination="NOBODY")
        found["move"] = peer.responses()[-1].status
        peer.release()
    return found


ALLOWED: dict[str, int | None] = {"echo": 0, "store": 0, "find": 0, "get": 0, "move": 0xA801}


@pytest.mark.parametrize("right", OPERATIONS)
def test_only_what_is_allowed(nodes: Nodes, right: str) -> None:
    """A peer with one right has that, and hears 0124, "not authorized", to everything else."""
    node = nodes.start(Peer("tester", "TESTER", "127.0.0.1", 1, allow=frozenset({right})))

    assert {**dict.fromkeys(OPERATIONS, 0x0124), right: ALLOWED[right]} == statuses(node)


def test_all_rights(nodes: Nodes) -> None:
    """The default is everything."""
    node = nodes.start(Peer("tester", "TESTER", "127.0.0.1", 1))

    assert ALLOWED == statuses(node)


def test_unknown_peers_that_got_in_may_everything(nodes: Nodes) -> None:
    """Where the listener takes strangers, the rights of others do not touch them."""
    node = nodes.start(Peer("other", "OTHER", "127.0.0.1", 1, allow=frozenset()))

    assert ALLOWED == statuses(node, calling=b"STRANGER")


def test_who_does_the_get_stays_the_caller(nodes: Nodes) -> None:
    """No right means no data: nothing is sent before the answer."""
    node = nodes.start(Peer("tester", "TESTER", "127.0.0.1", 1, allow=frozenset({"find"})))
    node.keep(1)
    with RawPeer(node.port) as peer:
        peer.associate(request=associate_rq(OFFERS, user_items=role(CT, scu=1, scp=1)))
        peer.start_query(7, C_GET, STUDY_GET, KEYS)
        first = peer.read_message()

    assert (C_GET | 0x8000, 0x0124) == (first.number(COMMAND), first.status)


def test_destinations_are_peers_by_title() -> None:
    """AE titles are told apart by case; what is not configured is no destination."""
    peer = Peer("dest", "DEST", "127.0.0.1", 104)
    access = Access(titles=("PACSNODE",), peers=(peer,))

    assert peer == access.destination("DEST", calling_ae="STRANGER")
    for title in ("dest", "DEST ", ""):
        with pytest.raises(UnknownDestination):
            access.destination(title, calling_ae="STRANGER")


def test_rights_are_checked_by_title() -> None:
    """The right is the configured peer's."""
    access = Access(titles=(), peers=(Peer("a", "A", "h", 1, allow=frozenset({"find"})),))
    access.check("A", "find")
    access.check("B", "store")

    with pytest.raises(NotAllowed):
        access.check("A", "store")
