"""What breaks the protocol ends its association with the right A-ABORT, and nobody else notices (PS3.8 9.2, 9.3.8)."""

from __future__ import annotations

import gc
import logging
import struct
import threading

import pytest

from tests.dimse import images
from tests.dimse.conftest import Nodes, Running, eventually, limits, serving_threads
from tests.dimse.raw_peer import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    C_ECHO,
    C_STORE,
    COMMAND,
    CT,
    DATA_SET_TYPE,
    EXPLICIT,
    MESSAGE_ID,
    NO_DATA_SET,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    SOP_CLASS,
    STUDY_FIND,
    VERIFICATION,
    Aborted,
    Offer,
    RawPeer,
    associate_rq,
    command_set,
    item,
    pdu,
    value,
)

UNRECOGNIZED, UNEXPECTED, UNEXPECTED_PARAMETER, INVALID = 1, 2, 5, 6
ECHO_COMMAND = command_set({SOP_CLASS: VERIFICATION, COMMAND: C_ECHO, MESSAGE_ID: 1, DATA_SET_TYPE: NO_DATA_SET})
STORE_COMMAND = command_set({SOP_CLASS: CT, COMMAND: C_STORE, MESSAGE_ID: 1, DATA_SET_TYPE: 1})
OFFERS = (Offer(1, VERIFICATION), Offer(3, CT, (EXPLICIT,)), Offer(5, STUDY_FIND))


def abort_of(peer: RawPeer) -> tuple[int, int]:
    """Source and reason of the A-ABORT that has to come now, before the end of the connection."""
    with pytest.raises(Aborted) as caught:
        peer.expect(P_DATA)
    peer.read_end()
    return caught.value.source_and_reason


BEFORE_ASSOCIATION = {
    "no DICOM at all": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", UNRECOGNIZED),
    "unknown type": (pdu(8, bytes(4)), UNRECOGNIZED),
    "type 0": (bytes(10), UNRECOGNIZED),
    "answer": (pdu(ASSOCIATE_AC, bytes(68)), UNEXPECTED),
    "rejection": (pdu(ASSOCIATE_RJ, bytes(4)), UNEXPECTED),
    "data": (pdu(P_DATA, value(1, 3, ECHO_COMMAND)), UNEXPECTED),
    "release": (pdu(RELEASE_RQ, bytes(4)), UNEXPECTED),
    "release answer": (pdu(RELEASE_RP, bytes(4)), UNEXPECTED),
    "short release": (pdu(RELEASE_RQ, b""), INVALID),
    "long abort": (pdu(ABORT, bytes(5)), INVALID),
    "4 GiB request": (pdu(ASSOCIATE_RQ, b"", length=0xFFFFFFFF), INVALID),
    "empty request": (pdu(ASSOCIATE_RQ, b""), INVALID),
    "short request": (pdu(ASSOCIATE_RQ, associate_rq(OFFERS)[6:70]), INVALID),
    "item beyond the end": (pdu(ASSOCIATE_RQ, associate_rq(OFFERS)[6:-2]), INVALID),
    "even context id": (associate_rq((Offer(2, VERIFICATION),)), INVALID),
    "empty context": (associate_rq((), items=item(0x20, b"")), INVALID),
    "short role selection": (associate_rq(OFFERS, user_items=item(0x54, b"\0\x09x")), INVALID),
}


@pytest.mark.parametrize(("sent", "reason"), BEFORE_ASSOCIATION.values(), ids=BEFORE_ASSOCIATION.keys())
def test_faults_before_the_association(node: Running, sent: bytes, reason: int) -> None:
    """Whatever comes instead of an A-ASSOCIATE-RQ is answered by an A-ABORT of the service provider, then the end."""
    with RawPeer(node.port) as peer:
        peer.send(sent)
        answer = abort_of(peer)

    assert (2, reason) == answer
    assert node.echoes()


def test_abort_before_the_association_just_ends_it(node: Running) -> None:
    """An A-ABORT is never answered."""
    with RawPeer(node.port) as peer:
        peer.send(pdu(ABORT, bytes(4)))
        peer.read_end()

    assert node.echoes()


WITHIN_ASSOCIATION = {
    "unknown type": (pdu(9, bytes(4)), UNRECOGNIZED),
    "second request": (associate_rq(OFFERS), UNEXPECTED),
    "answer": (pdu(ASSOCIATE_AC, bytes(68)), UNEXPECTED),
    "rejection": (pdu(ASSOCIATE_RJ, bytes(4)), UNEXPECTED),
    "release answer": (pdu(RELEASE_RP, bytes(4)), UNEXPECTED),
    "PDU over the hard cap": (pdu(P_DATA, b"", length=(1 << 20) + 1), INVALID),
    "4 GiB PDU": (pdu(P_DATA, b"", length=0xFFFFFFFF), INVALID),
    "PDU without a value": (pdu(P_DATA, b""), INVALID),
    "value longer than its PDU": (pdu(P_DATA, struct.pack(">IBB", 100, 1, 3) + b"12"), INVALID),
    "value without a header": (pdu(P_DATA, struct.pack(">IBB", 1, 1, 3)), INVALID),
    "rest behind a value": (pdu(P_DATA, value(1, 3, ECHO_COMMAND) + b"abc"), INVALID),
    "data set without a command": (pdu(P_DATA, value(1, 2, b"1234")), UNEXPECTED),
    "context that was not accepted": (pdu(P_DATA, value(9, 3, ECHO_COMMAND)), UNEXPECTED_PARAMETER),
    "command in two contexts": (
        pdu(P_DATA, value(1, 1, ECHO_COMMAND[:20]) + value(3, 3, ECHO_COMMAND[20:])),
        UNEXPECTED,
    ),
    "data set within a command": (pdu(P_DATA, value(1, 1, ECHO_COMMAND[:20]) + value(1, 2, b"12")), UNEXPECTED),
    "release within a command": (pdu(P_DATA, value(1, 1, ECHO_COMMAND)) + pdu(RELEASE_RQ, bytes(4)), UNEXPECTED),
    "release within a message": (pdu(P_DATA, value(3, 3, STORE_COMMAND)) + pdu(RELEASE_RQ, bytes(4)), UNEXPECTED),
    "command within a message": (pdu(P_DATA, value(3, 3, STORE_COMMAND) + value(3, 3, ECHO_COMMAND)), UNEXPECTED),
    "data set in another context": (pdu(P_DATA, value(3, 3, STORE_COMMAND) + value(1, 2, b"12")), UNEXPECTED),
    "command that is none": (pdu(P_DATA, value(1, 3, b"rubbish rubbish!")), INVALID),
    "command cut short": (pdu(P_DATA, value(1, 3, ECHO_COMMAND[:-1])), INVALID),
    "empty command": (pdu(P_DATA, value(1, 3, b"")), UNEXPECTED_PARAMETER),
    "command too large": (
        b"".join(pdu(P_DATA, value(1, 1, bytes(16000))) for _ in range(5)),
        INVALID,
    ),
    "command without Message ID": (
        pdu(P_DATA, value(1, 3, command_set({COMMAND: C_ECHO, DATA_SET_TYPE: NO_DATA_SET}))),
        UNEXPECTED_PARAMETER,
    ),
    "unknown Command Field": (
        pdu(P_DATA, value(1, 3, command_set({COMMAND: 0x7777, MESSAGE_ID: 1, DATA_SET_TYPE: NO_DATA_SET}))),
        UNEXPECTED_PARAMETER,
    ),
    "response without a request": (
        pdu(P_DATA, value(1, 3, command_set({COMMAND: 0x8030, MESSAGE_ID: 1, DATA_SET_TYPE: NO_DATA_SET}))),
        UNEXPECTED_PARAMETER,
    ),
    "identifier too large": (
        pdu(P_DATA, value(5, 3, command_set({COMMAND: 0x20, MESSAGE_ID: 1, DATA_SET_TYPE: 1})))
        + b"".join(pdu(P_DATA, value(5, 0, bytes(65536))) for _ in range(17)),
        INVALID,
    ),
}


@pytest.mark.parametrize(("sent", "reason"), WITHIN_ASSOCIATION.values(), ids=WITHIN_ASSOCIATION.keys())
def test_faults_within_the_association(node: Running, sent: bytes, reason: int) -> None:
    """Wrong types, lengths and order end the association with the reason of PS3.8 9.3.8; the next one works at once."""
    with node.connect(*OFFERS) as peer:
        peer.send(sent)
        answer = abort_of(peer)

    assert (2, reason) == answer
    assert node.echoes()
    assert [] == node.keys()


def test_abort_is_not_answered(node: Running) -> None:
    """After the peer's A-ABORT there is nothing but the end."""
    with node.connect() as peer:
        peer.send(pdu(ABORT, bytes(4)))
        peer.read_end()

    assert eventually(lambda: node.admission.associations == 0)


HALF = {
    "nothing": b"",
    "half a header": b"\1\0\0",
    "a header": associate_rq(OFFERS)[:6],
    "half a request": associate_rq(OFFERS)[:60],
}


@pytest.mark.parametrize("sent", HALF.values(), ids=HALF.keys())
def test_half_a_request_is_not_waited_for(nodes: Nodes, sent: bytes) -> None:
    """At the deadline of the association the connection ends, whatever is missing."""
    node = nodes.start(limits=limits(association_deadline=0.2))
    with RawPeer(node.port) as peer:
        peer.send(sent)
        peer.read_end()

    assert eventually(lambda: not serving_threads())


def drip(peer: RawPeer, data: bytes) -> None:
    """Send byte by byte, 50 in a second."""
    pause = threading.Event()
    for number in range(len(data)):
        peer.send(data[number : number + 1])
        pause.wait(0.02)


def test_dripping_does_not_help(nodes: Nodes) -> None:
    """A request that comes byte by byte has no more time than one that comes at once."""
    node = nodes.start(limits=limits(association_deadline=0.3, pdu_deadline=60.0))
    with RawPeer(node.port) as peer, pytest.raises(OSError, match=r"reset|pipe"):
        drip(peer, associate_rq(OFFERS)[:100])

    assert node.echoes()


STALLED = {
    "half a header": b"\4\0\0",
    "a header": pdu(P_DATA, b"", length=100),
    "half a value": pdu(P_DATA, value(1, 3, ECHO_COMMAND))[:40],
    "command without its data set": pdu(P_DATA, value(3, 3, STORE_COMMAND)),
    "half a data set": pdu(P_DATA, value(3, 3, STORE_COMMAND) + value(3, 0, b"1234")),
    "half a command": pdu(P_DATA, value(1, 1, ECHO_COMMAND)),
}


@pytest.mark.parametrize("sent", STALLED.values(), ids=STALLED.keys())
def test_a_stalled_peer_is_left(nodes: Nodes, sent: bytes) -> None:
    """What has begun to arrive has to go on, else it is aborted: its deadline is not that of idle associations."""
    node = nodes.start(limits=limits(pdu_deadline=0.2, minimum_rate=1_000_000))
    with node.connect(*OFFERS) as peer:
        peer.send(sent)
        answer = abort_of(peer)

    assert (0, 0) == answer
    assert eventually(lambda: node.admission.associations == 0)
    assert [] == node.keys()


def test_an_idle_association_ends_at_its_deadline(nodes: Nodes) -> None:
    """Without any message an association is aborted after the idle time, and not before."""
    node = nodes.start(limits=limits(idle=0.3, pdu_deadline=0.1))
    with node.connect() as peer:
        for _ in range(3):
            threading.Event().wait(0.15)
            assert 0 == peer.echo()
        answer = abort_of(peer)

    assert (0, 0) == answer


@pytest.mark.parametrize("how", ["close", "reset"])
def test_connection_lost_without_release(node: Running, how: str) -> None:
    """A peer that just goes is as good as one that says goodbye."""
    peer = node.connect()
    assert 0 == peer.echo()
    getattr(peer, how)()

    assert eventually(lambda: node.admission.associations == 0)


@pytest.fixture
def unlogged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without log records, which pytest would keep."""
    monkeypatch.setattr(logging.getLogger("pacsnode"), "disabled", True)


_STRAY_OBJECTS = 20  # made at first use; a leak would be one at least for each of a hundred


def ours() -> int:
    """How many objects there are of what a connection is made of."""
    gc.collect()
    rooms = ("pacsnode", "pynetdicom", "threading", "socket", "mmap")
    kinds = [type(found) for found in gc.get_objects()]
    return sum(str(kind.__module__).startswith(rooms) or kind is memoryview for kind in kinds)


@pytest.mark.usefixtures("unlogged")
def test_port_checks_leave_nothing(node: Running) -> None:
    """Connecting and closing, as load balancers do, costs neither a thread nor memory nor a place."""
    assert node.echoes()
    before = ours()
    for _ in range(100):
        RawPeer(node.port).close()

    assert eventually(lambda: not serving_threads() and ours() < before + _STRAY_OBJECTS)
    assert 0 == node.admission.associations
    assert node.echoes()


def break_both(node: Running) -> None:
    """A fault within an association, and a connection that is reset before it."""
    with node.connect(*OFFERS) as peer:
        peer.send(pdu(P_DATA, value(1, 2, b"1234")))
    RawPeer(node.port).reset()


@pytest.mark.usefixtures("unlogged")
def test_a_hundred_broken_associations_leave_nothing(node: Running) -> None:
    """Neither does a burst of faults, and the next good association does not wait for anything."""
    assert node.echoes()
    before = ours()
    for _ in range(50):
        break_both(node)

    assert eventually(lambda: not serving_threads() and ours() < before + _STRAY_OBJECTS)
    assert node.echoes()


def test_two_values_in_one_pdu(node: Running) -> None:
    """PS3.8 E.1: command and data set may share a PDU, and a command may come in pieces, empty ones too."""
    data = images.image()
    command = command_set({SOP_CLASS: CT, COMMAND: C_STORE, MESSAGE_ID: 5, DATA_SET_TYPE: 1, 0x1000: images.uid_of(1)})
    values = [
        value(3, 1, command[:7]),
        value(3, 1, b""),
        value(3, 3, command[7:]),
        value(3, 0, b""),
        value(3, 0, data[:100]),
        value(3, 0xFC, data[100:]),  # PS3.8 E.2: the upper six bits are not checked
        value(3, 2, b""),
    ]
    with node.connect(*OFFERS) as peer:
        peer.send(pdu(P_DATA, b"".join(values)))
        status = peer.read_message().status

    assert 0 == status
    assert 1 == len(node.keys())


def test_reserved_bytes_are_not_tested(node: Running) -> None:
    """PS3.8 9.3.1: reserved fields are not looked at."""
    request = bytearray(associate_rq(OFFERS))
    request[1] = 0xFF
    request[42:74] = b"\xff" * 32
    with RawPeer(node.port) as peer:
        peer.associate(request=bytes(request))
        peer.send(b"\x05\xff" + struct.pack(">I", 4) + b"\xff" * 4)
        kind, _ = peer.read_pdu()

    assert RELEASE_RP == kind


def test_pdus_larger_than_announced_are_taken(node: Running) -> None:
    """Some peers exceed our Maximum Length: up to the hard cap it does no harm."""
    data = images.image(pixels=bytes(2 << 20))
    with node.connect(*OFFERS) as peer:
        peer.start_store(3, CT, images.uid_of(1))
        peer.send_data_set(3, data, piece=(1 << 20) - 6)
        status = peer.read_message().status

    assert 0 == status


def test_message_at_the_speed_of_a_slow_line(nodes: Nodes) -> None:
    """A PDU that arrives at the minimum rate has the time it needs, beyond the deadline."""
    node = nodes.start(limits=limits(pdu_deadline=0.1, minimum_rate=10_000))
    data = images.image(pixels=bytes(6000))
    whole = pdu(P_DATA, value(3, 2, data))
    with node.connect(*OFFERS) as peer:
        peer.start_store(3, CT, images.uid_of(1))
        for start in range(0, len(whole), 1000):
            peer.send(whole[start : start + 1000])
            threading.Event().wait(0.05)
        status = peer.read_message().status

    assert 0 == status


def test_fifty_at_once(node: Running) -> None:
    """Many peers with faults do not delay the good one among them."""
    broken = [node.connect(*OFFERS) for _ in range(25)]
    for peer in broken:
        peer.send(b"\4\0\0\0")
    worked = node.echoes()
    for peer in broken:
        peer.close()

    assert worked
