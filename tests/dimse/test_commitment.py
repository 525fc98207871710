"""Storage Commitment over the wire: the request, the verdict, and the report on the same association or a new one."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from pacsnode.commitment.commitments import Commitments
from pacsnode.commitment.ledger import Ledger
from pacsnode.commitment.verdict import Judge
from pacsnode.config import Commitment as Settings
from pacsnode.dimse.access import Access
from pacsnode.dimse.commitment import CommitmentService
from pacsnode.dimse.report import ReportCaller
from pacsnode.model import CommitmentRequest, Peer, Reference, Uid
from pacsnode.wire.command import CommandField
from tests.dimse import images
from tests.dimse.conftest import AE_TITLE, Nodes, Running, eventually, limits
from tests.dimse.raw_peer import (
    ASSOCIATE_RQ,
    COMMAND,
    CT,
    EXPLICIT,
    MESSAGE_ID,
    MR,
    RESPONDED_TO,
    SOP_CLASS,
    SOP_INSTANCE,
    STATUS,
    VERIFICATION,
    Offer,
    RawPeer,
    Received,
    role,
)

# pynetdicom leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

COMMITMENT = "1.2.840.10008.1.20.1"
INSTANCE = f"{COMMITMENT}.1"
UNKNOWN = "2.25.7001.99"


def sequence(*references: tuple[str, str]) -> bytes:
    """Action information in implicit VR."""
    items = b""
    for sop_class, uid in references:
        body = element(0x00081150, sop_class) + element(0x00081155, uid)
        items += struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body
    return element(0x00081195, "2.25.1") + struct.pack("<HHI", 0x0008, 0x1199, len(items)) + items


def element(tag: int, text: str) -> bytes:
    """A UI element in implicit VR."""
    raw = text.encode() + b"\0" * (len(text) % 2)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(raw)) + raw


@contextmanager
def committing(
    node: Running, folder: Path, *peers: Peer, capacity: int = 10, response: float = 5.0
) -> Iterator[Commitments]:
    """Give the node the service, and its threads."""
    with closing(Ledger(folder / "commitments.db", capacity=capacity)) as ledger:
        commitments = Commitments(
            ledger,
            Judge(node.archive, {Uid(CT), Uid(MR)}),
            ReportCaller(AE_TITLE, limits(response=response)),
            {peer.ae_title: peer for peer in peers},
            settings=Settings(),
            clock=node.archive.clock,
        )
        access = Access(titles=(AE_TITLE,), peers=peers)
        service = CommitmentService(commitments, access, ae_title=AE_TITLE, clock=node.archive.clock)
        node.entity.services[CommandField.N_ACTION_RQ] = service  # type: ignore[index]
        commitments.start()
        try:
            yield commitments
        finally:
            commitments.stop(5)


def request_commitment(
    peer: RawPeer, data: bytes | None, *, action: int = 1, instance: str = INSTANCE, sop_class: str = COMMITMENT
) -> Received:
    """N-ACTION: the response."""
    fields: dict[int, int | str | bytes] = {0x0003: sop_class.encode(), COMMAND: 0x0130, MESSAGE_ID: 1}
    peer.send_command(1, {**fields, 0x1001: instance.encode(), 0x1008: action}, has_data_set=data is not None)
    if data is not None:
        peer.send_data_set(1, data)
    return peer.read_message()


def take_report(peer: RawPeer, report: Received, status: int = 0) -> None:
    """N-EVENT-REPORT response."""
    peer.send_command(report.context_id, {SOP_CLASS: COMMITMENT, COMMAND: 0x8100, STATUS: status,
                                          RESPONDED_TO: report.number(MESSAGE_ID) or 0, SOP_INSTANCE: INSTANCE,
                                          0x1002: report.number(0x1002) or 0})  # fmt: skip


def ask(node: Running, data: bytes | None, **more: Any) -> tuple[int | None, bytes | None]:
    """Status of the N-ACTION, and the report on the same association where there is a Success."""
    with node.connect(Offer(1, COMMITMENT)) as peer:
        status = request_commitment(peer, data, **more).status
        if status:
            peer.release()
            return status, None
        report = peer.read_message()
        take_report(peer, report)
        peer.release()
        return status, report.data_set


Heard = tuple[int, str, str, bytes]
"""Event type, calling AE title, Transaction UID, and the A-ASSOCIATE-RQ as it came."""


def keeping(heard: list[Heard]) -> Any:
    """Handlers of pynetdicom's events that keep what is heard."""
    requests: list[bytes] = [b""]

    def note(event: Any) -> None:
        if event.data[0] == ASSOCIATE_RQ:
            requests.append(event.data)

    def take(event: Any) -> tuple[int, None]:
        uid = event.event_information.TransactionUID
        heard.append((event.event_type, event.assoc.requestor.ae_title, uid, requests[-1]))
        return 0x0000, None

    return [(evt.EVT_N_EVENT_REPORT, take), (evt.EVT_DATA_RECV, note)]


@contextmanager
def requester() -> Iterator[tuple[Peer, list[Heard]]]:
    """A pynetdicom listener that takes reports: as a peer, and what it hears."""
    heard: list[Heard] = []
    entity = AE("TESTER")
    entity.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
    listener = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=keeping(heard))
    assert listener is not None
    try:
        yield Peer("tester", "TESTER", "127.0.0.1", listener.server_address[1]), heard
    finally:
        listener.shutdown()
        listener.server_close()


def pynetdicom_association(node: Running, heard: list[Heard] | None = None) -> Any:
    """An association of a pynetdicom requester."""
    entity = AE("TESTER")
    entity.add_requested_context(COMMITMENT)
    handlers = keeping(heard if heard is not None else [])
    return entity.associate("127.0.0.1", node.port, ae_title=AE_TITLE, evt_handlers=handlers)


def pynetdicom_request(association: Any, uid: str) -> int:
    """N-ACTION by pynetdicom: the status."""
    item, information = Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, uid
    information.TransactionUID, information.ReferencedSOPSequence = "2.25.1", [item]
    status, _ = association.send_n_action(information, 1, COMMITMENT, INSTANCE)
    return int(status.Status)


def test_all_is_here(nodes: Nodes, tmp_path: Path) -> None:
    """An instance that is stored is committed, and the report names it."""
    node = nodes.start()
    node.keep(1)
    with committing(node, tmp_path):
        status, report = ask(node, sequence((CT, images.uid_of(1))))

    assert 0 == status
    assert images.uid_of(1).encode() in (report or b"")
    assert struct.pack("<HH", 0x0008, 0x1198) not in (report or b"")


@pytest.mark.parametrize(
    ("sop_class", "uid", "reason"),
    [(CT, UNKNOWN, 0x0112), (MR, images.uid_of(1), 0x0119), ("1.2.3", UNKNOWN, 0x0122), (CT, images.uid_of(2), 0x0110)],
)
def test_failure_reasons(nodes: Nodes, tmp_path: Path, sop_class: str, uid: str, reason: int) -> None:
    """What is not here, of another class, of no storage class or damaged is reported as failed, with the reason."""
    node = nodes.start()
    node.keep(1, 2)
    store = node.archive.store
    current = node.archive.index.current(Uid(images.uid_of(2)))
    assert current is not None
    content = store.objects[current.stored.key]  # type: ignore[attr-defined]
    store.objects[current.stored.key] = content[:-1] + b"\xff"  # type: ignore[attr-defined]
    with committing(node, tmp_path):
        status, report = ask(node, sequence((sop_class, uid)))

    assert 0 == status
    assert struct.pack("<HHIH", 0x0008, 0x1197, 2, reason) in (report or b"")


@pytest.mark.parametrize(
    ("data", "more", "status"),
    [
        (sequence((CT, UNKNOWN)), {"action": 2}, 0x0123),
        (sequence((CT, UNKNOWN)), {"instance": "1.2.3"}, 0x0112),
        (sequence((CT, UNKNOWN)), {"sop_class": "1.2.840.10008.1.1"}, 0x0118),
        (sequence(), {}, 0x0115),
        (element(0x00081195, "2.25.1"), {}, 0x0115),
        (sequence((CT, UNKNOWN))[18:], {}, 0x0115),
        (sequence((CT, UNKNOWN))[:-1], {}, 0x0115),
        (sequence((CT, UNKNOWN), (MR, UNKNOWN)), {}, 0x0115),
        (None, {}, 0x0115),
        (bytes(2_000_000), {}, 0x0213),
    ],
)
def test_refusals(nodes: Nodes, tmp_path: Path, data: bytes | None, more: dict[str, Any], status: int) -> None:
    """A wrong action, instance or class, missing attributes, and too many references are refused at once, and the
    association goes on."""
    node = nodes.start()
    with committing(node, tmp_path) as commitments:
        assert (status, None) == ask(node, data, **more)
        assert 0 == commitments.count


def test_no_right(nodes: Nodes, tmp_path: Path) -> None:
    """A configured peer without the right "commit" is refused."""
    node = nodes.start()
    with committing(node, tmp_path, Peer("tester", "TESTER", "127.0.0.1", 104, allow=frozenset({"store"}))):
        assert (0x0124, None) == ask(node, sequence((CT, UNKNOWN)))


def test_full_ledger(nodes: Nodes, tmp_path: Path) -> None:
    """When too many transactions are open a further one is refused for now."""
    node = nodes.start()
    with committing(node, tmp_path, capacity=1), node.connect(Offer(1, COMMITMENT)) as peer:
        assert 0 == request_commitment(peer, sequence((CT, UNKNOWN))).status
        report = peer.read_message()  # not taken yet
        assert (0x0213, None) == ask(node, sequence((MR, UNKNOWN)))
        take_report(peer, report)
        peer.release()


def test_two_requests_under_one_uid(nodes: Nodes, tmp_path: Path) -> None:
    """Other references under the UID of an open transaction are reported as failed, with the reason 0131H."""
    node = nodes.start()
    node.keep(1)
    with committing(node, tmp_path), node.connect(Offer(1, COMMITMENT)) as peer:
        assert 0 == request_commitment(peer, sequence((MR, UNKNOWN))).status
        report = peer.read_message()
        status, second = ask(node, sequence((CT, images.uid_of(1))))
        take_report(peer, report)
        peer.release()

    assert 0 == status
    assert struct.pack("<HHIH", 0x0008, 0x1197, 2, 0x0131) in (second or b"")


def test_crossing_requests(nodes: Nodes, tmp_path: Path) -> None:
    """While a report is not answered, what the peer asks on its association is served as ever."""
    node = nodes.start()
    with committing(node, tmp_path) as commitments, node.connect(Offer(1, COMMITMENT), Offer(3, VERIFICATION),
                                                                 Offer(5, CT, (EXPLICIT,))) as peer:  # fmt: skip
        assert 0 == request_commitment(peer, sequence((CT, UNKNOWN))).status
        report = peer.read_message()
        assert 0 == peer.echo(3)
        assert 0 == peer.store(5, CT, images.uid_of(4), images.image(4)).status
        assert 1 == commitments.count
        take_report(peer, report)
        assert eventually(lambda: not commitments.count)
        assert 0 == peer.echo(3)
        peer.release()


def test_released_before_the_report_was_taken(nodes: Nodes, tmp_path: Path) -> None:
    """A requester that releases while its report is under way is called, if we know where it is."""
    node = nodes.start()
    with requester() as (peer, heard), committing(node, tmp_path, peer) as commitments:
        with node.connect(Offer(1, COMMITMENT)) as connection:
            assert 0 == request_commitment(connection, sequence((CT, UNKNOWN))).status
            connection.read_message()
            connection.release()
        assert eventually(lambda: not commitments.count)

    assert [(2, AE_TITLE, "2.25.1")] == [one[:3] for one in heard]


def test_a_report_the_peer_refuses(nodes: Nodes, tmp_path: Path) -> None:
    """A requester that answers the report with a failure, and that we cannot call, is given up."""
    node = nodes.start()
    with committing(node, tmp_path) as commitments, node.connect(Offer(1, COMMITMENT)) as peer:
        assert 0 == request_commitment(peer, sequence((CT, UNKNOWN))).status
        take_report(peer, peer.read_message(), status=0x0110)
        assert eventually(lambda: not commitments.count)
        peer.release()


def test_a_dead_requester_keeps_nobody_waiting(nodes: Nodes, tmp_path: Path) -> None:
    """While a requester that takes connections and says nothing is called, others get their verdicts and reports."""
    node = nodes.start()
    with socket.create_server(("127.0.0.1", 0)) as silent, requester() as (peer, heard):
        dead = Peer("dead", "DEAD", "127.0.0.1", silent.getsockname()[1])
        with closing(Ledger(tmp_path / "commitments.db", capacity=10)) as ledger:
            for uid, calling_ae in (("2.25.2", "DEAD"), ("2.25.1", "TESTER")):
                references = (Reference(Uid(CT), Uid(UNKNOWN)),)
                ledger.enter(CommitmentRequest(Uid(uid), references, calling_ae, AE_TITLE, node.archive.clock()))
        with committing(node, tmp_path, dead, peer, response=60.0) as commitments:
            called, _ = silent.accept()
            with called:
                assert eventually(lambda: 1 == commitments.count)
                status, report = ask(node, sequence((CT, UNKNOWN)))
                assert eventually(lambda: 1 == commitments.count)

    assert 0 == status
    assert UNKNOWN.encode() in (report or b"")
    assert [(2, AE_TITLE, "2.25.1")] == [one[:3] for one in heard]


def test_report_on_an_association_of_ours(nodes: Nodes, tmp_path: Path) -> None:
    """A pynetdicom requester that has gone is called, under the title it called, with us as SCP by role selection."""
    node = nodes.start()
    node.keep(1)
    with requester() as (peer, heard), committing(node, tmp_path, peer) as commitments:
        association = pynetdicom_association(node)
        assert 0 == pynetdicom_request(association, images.uid_of(1))
        association.abort()
        assert eventually(lambda: not commitments.count)

    ((event, calling, uid, asked),) = heard[-1:]
    assert (1, AE_TITLE, "2.25.1") == (event, calling, uid)
    assert role(COMMITMENT, scu=0, scp=1) in asked


def test_report_to_pynetdicom_on_its_association(nodes: Nodes, tmp_path: Path) -> None:
    """A pynetdicom requester that waits on its association hears there."""
    node = nodes.start()
    node.keep(1)
    heard: list[Heard] = []
    with committing(node, tmp_path) as commitments:
        association = pynetdicom_association(node, heard)
        assert 0 == pynetdicom_request(association, images.uid_of(1))
        assert eventually(lambda: not commitments.count)
        association.release()

    assert [(1, "TESTER", "2.25.1")] == [one[:3] for one in heard]
