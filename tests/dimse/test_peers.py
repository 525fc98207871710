"""Associations that we ask for: whatever the other side does is a PeerFailure at worst, and soon."""

from __future__ import annotations

import struct

import pytest

from pacsnode.dimse import contexts, peers
from pacsnode.errors import PeerFailure
from pacsnode.model import Peer, Uid
from tests.dimse.conftest import Nodes, Running, eventually, limits
from tests.dimse.destination import Destination
from tests.dimse.raw_peer import (
    ABORT,
    APPLICATION_CONTEXT,
    ASSOCIATE_AC,
    CT,
    EXPLICIT,
    IMPLICIT,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    Offer,
    item,
    pdu,
    value,
)

PAIRS = ((Uid(CT), Uid(EXPLICIT)), (Uid(CT), Uid(IMPLICIT)), (Uid(VERIFICATION), Uid(IMPLICIT)))
LIMITS = limits(response=0.5, pdu_deadline=0.5, connect=0.5)


def at(port: int) -> Peer:
    """A peer on this machine."""
    return Peer("there", "THERE", "127.0.0.1", port)


def granted(destination: Destination) -> dict[int, tuple[str, str]]:
    """Associate and release: the contexts that came of it."""
    with peers.associate(at(destination.port), PAIRS, calling_ae="US", limits=LIMITS) as association:
        return {
            number: (context.abstract_syntax, context.transfer_syntax)
            for number, context in association.contexts.items()
        }


def acceptance(items: bytes) -> bytes:
    """An A-ASSOCIATE-AC with these items."""
    return pdu(ASSOCIATE_AC, struct.pack(">Hxx", 1) + bytes(64) + items)


def result(context_id: int, outcome: int, *syntaxes: str) -> bytes:
    """A context's result item."""
    return item(0x21, bytes([context_id, 0, outcome, 0]) + b"".join(item(0x40, uid.encode()) for uid in syntaxes))


def test_what_is_granted() -> None:
    """One context for each pair, with odd ids; what the peer refuses is not there."""
    with Destination(takes=lambda offer: offer.context_id != 3) as destination:
        contexts_granted = granted(destination)
        assert eventually(lambda: destination.endings == [RELEASE_RQ])

    assert {1: (CT, EXPLICIT), 5: (VERIFICATION, IMPLICIT)} == contexts_granted
    assert [[Offer(1, CT, (EXPLICIT,)), Offer(3, CT, (IMPLICIT,)), Offer(5, VERIFICATION)]] == destination.proposals
    assert [b"THERE".ljust(16) + b"US".ljust(16)] == destination.titles


WRONG = {
    "abort": pdu(ABORT, bytes(4)),
    "data": pdu(P_DATA, value(1, 3, b"12")),
    "release": pdu(RELEASE_RQ, bytes(4)),
    "no DICOM": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "half a header": b"\2\0\0",
    "short acceptance": pdu(ASSOCIATE_AC, bytes(3)),
    "malformed item": acceptance(b"\x21\0\x00\xff1"),
    "empty result": acceptance(item(0x21, b"")),
    "accepted without a syntax": acceptance(result(1, 0)),
}


@pytest.mark.parametrize("words", WRONG.values(), ids=WRONG.keys())
def test_wrong_answers(words: bytes) -> None:
    """Whatever comes instead of an acceptance is the peer's failure."""
    with Destination(first_words=words) as destination, pytest.raises(PeerFailure):
        granted(destination)


def test_rejection() -> None:
    """The peer's reasons are told in the standard's words."""
    with Destination(rejection=(1, 1, 7)) as destination, pytest.raises(PeerFailure, match=r"(?i)called.ae"):
        granted(destination)


def test_nobody_there() -> None:
    """A closed port is a failure at once, and names peer and address."""
    with pytest.raises(PeerFailure, match=r"there: cannot connect to 127\.0\.0\.1:1"):
        with peers.associate(at(1), PAIRS, calling_ae="US", limits=LIMITS):
            pass


def test_unknown_items_and_syntaxes_of_an_acceptance() -> None:
    """Unknown items are skipped; a syntax that we did not propose is no acceptance (PS3.8 9.3.3.2)."""
    user = item(0x50, item(0x51, struct.pack(">I", 0)) + item(0x7A, b"new") + item(0x52, b"1.2.3\0"))
    items = (
        item(0x10, APPLICATION_CONTEXT.encode())
        + item(0x7B, b"new")
        + result(1, 0, IMPLICIT)
        + result(3, 0, IMPLICIT)
        + result(5, 4)
        + result(7, 0, IMPLICIT)
        + user
    )
    with Destination(first_words=acceptance(items)) as destination:
        assert {3: (CT, IMPLICIT)} == granted(destination)


@pytest.mark.parametrize(
    "goodbye",
    [
        pdu(RELEASE_RQ, bytes(4)) + pdu(RELEASE_RP, bytes(4)),
        pdu(P_DATA, value(1, 3, b"late")) + pdu(RELEASE_RP, bytes(4)),
        pdu(ABORT, bytes(4)),
        b"rubbish that is no PDU",
        b"\6\0",
        b"",
    ],
    ids=["collision", "late data", "abort", "rubbish", "half an answer", "nothing"],
)
def test_odd_goodbyes(goodbye: bytes) -> None:
    """How the peer says goodbye changes nothing any more (PS3.8 7.2.2 for the collision)."""
    with Destination(goodbye=goodbye) as destination:
        assert 3 == len(granted(destination))


def test_an_error_within_aborts() -> None:
    """What goes wrong on our side ends the association by an A-ABORT."""
    with Destination() as destination:
        with pytest.raises(KeyError), peers.associate(at(destination.port), PAIRS, calling_ae="US", limits=LIMITS):
            raise KeyError
        assert eventually(lambda: destination.endings == [ABORT])


def test_probe(node: Running) -> None:
    """A test of a peer tells which classes it takes in which syntaxes, and how long echoes take."""
    found = peers.probe(Peer("us", "PACSNODE", "127.0.0.1", node.port), calling_ae="US", limits=LIMITS, echoes=2)

    assert 2 == len(found.echo_ms)
    assert all(time >= 0 for time in (found.associate_ms, *found.echo_ms))
    assert {EXPLICIT, IMPLICIT} == set(found.accepted[Uid(CT)])
    assert {*contexts.QUERY_RETRIEVE, VERIFICATION} <= set(found.accepted)
    assert "1.2.840.10008.5.1.4.1.1.7" in found.refused


def test_probe_of_a_peer_without_verification() -> None:
    """A peer that does not echo says so."""
    with Destination(takes=lambda offer: offer.abstract_syntax == CT) as destination:
        with pytest.raises(PeerFailure, match="Verification"):
            peers.probe(at(destination.port), calling_ae="US", limits=LIMITS)


def test_probe_of_a_peer_that_does_not_allow_it(nodes: Nodes) -> None:
    """The status of a refused echo is told."""
    node = nodes.start(Peer("us", "US", "127.0.0.1", 1, allow=frozenset({"store"})))

    with pytest.raises(PeerFailure, match="0124H"):
        peers.probe(Peer("x", "PACSNODE", "127.0.0.1", node.port), calling_ae="US", limits=LIMITS)
