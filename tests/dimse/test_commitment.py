"""Storage Commitment over the wire: the request, the verdict, and the report on the same association or a new one."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
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
from tests.dimse.raw_peer import COMMAND, CT, MESSAGE_ID, MR, RESPONDED_TO, SOP_CLASS, SOP_INSTANCE, STATUS, Offer

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
def committing(node: Running, folder: Path, *peers: Peer) -> Iterator[Commitments]:
    """Give the node the service, and its thread."""
    with closing(Ledger(folder / "commitments.db", capacity=10)) as ledger:
        commitments = Commitments(
            ledger,
            Judge(node.archive, {Uid(CT), Uid(MR)}),
            ReportCaller(AE_TITLE, limits()),
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


def ask(node: Running, data: bytes, *, action: int = 1, instance: str = INSTANCE) -> tuple[int | None, bytes | None]:
    """Status of the N-ACTION, and the report on the same association where there is a Success."""
    with node.connect(Offer(1, COMMITMENT)) as peer:
        fields: dict[int, int | str | bytes] = {0x0003: COMMITMENT, COMMAND: 0x0130, MESSAGE_ID: 1}
        peer.send_command(1, {**fields, 0x1001: instance.encode(), 0x1008: action}, has_data_set=True)
        peer.send_data_set(1, data)
        status = peer.read_message().status
        if status:
            return status, None
        report = peer.read_message()
        peer.send_command(1, {SOP_CLASS: COMMITMENT, COMMAND: 0x8100, RESPONDED_TO: report.number(MESSAGE_ID) or 0,
                              STATUS: 0, SOP_INSTANCE: INSTANCE})  # fmt: skip
        peer.release()
        return status, report.data_set


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
    ("data", "action", "instance", "status"),
    [
        (sequence((CT, UNKNOWN)), 2, INSTANCE, 0x0123),
        (sequence((CT, UNKNOWN)), 1, "1.2.3", 0x0112),
        (sequence(), 1, INSTANCE, 0x0115),
        (element(0x00081195, "2.25.1"), 1, INSTANCE, 0x0115),
    ],
)
def test_refusals(nodes: Nodes, tmp_path: Path, data: bytes, action: int, instance: str, status: int) -> None:
    """A wrong action, a wrong instance and missing attributes are refused at once."""
    node = nodes.start()
    with committing(node, tmp_path):
        assert (status, None) == ask(node, data, action=action, instance=instance)


# pynetdicom leaves a socket to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_report_on_an_association_of_ours(nodes: Nodes, tmp_path: Path) -> None:
    """After a restart a pynetdicom requester that has gone is called, with us as SCP, under the title it called."""
    heard: list[tuple[int, str, str]] = []
    arrived = threading.Event()

    def take(event: Any) -> tuple[int, None]:
        heard.append((event.event_type, event.assoc.requestor.ae_title, event.event_information.TransactionUID))
        arrived.set()
        return 0x0000, None

    node = nodes.start()
    node.keep(1)
    entity = AE("TESTER")
    entity.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
    listener = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    assert listener is not None
    try:
        with closing(Ledger(tmp_path / "commitments.db", capacity=10)) as ledger:
            references = (Reference(Uid(CT), Uid(images.uid_of(1))),)
            ledger.enter(CommitmentRequest(Uid("2.25.1"), references, "TESTER", AE_TITLE, node.archive.clock()))
        peer = Peer("tester", "TESTER", "127.0.0.1", listener.server_address[1])
        with committing(node, tmp_path, peer) as commitments:
            assert arrived.wait(10)
            assert eventually(lambda: not commitments.count)
    finally:
        listener.shutdown()
        listener.server_close()

    assert [(1, AE_TITLE, "2.25.1")] == heard
