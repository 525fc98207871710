"""Storage Commitment as who asks: reports on the same association and on new ones, of ours and of pynetdicom."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt

from pacsnode.commitment.inquiries import Inquiries
from pacsnode.commitment.ledger import Ledger
from pacsnode.dicom.commitment import parse_request
from pacsnode.dimse.association import Association, Message
from pacsnode.dimse.inquiry import Inquirer, ReportService
from pacsnode.errors import PeerFailure, ProtocolViolation
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Inquiry, Peer, Reference, Uid
from pacsnode.wire.command import CommandField, Element
from tests.dimse import images
from tests.dimse.conftest import AE_TITLE, STARTED, Nodes, Running, eventually, limits
from tests.dimse.raw_peer import (
    COMMAND,
    CT,
    IMPLICIT,
    MESSAGE_ID,
    MR,
    RESPONDED_TO,
    SOP_CLASS,
    SOP_INSTANCE,
    Offer,
    RawPeer,
    Received,
    associate_rq,
    role,
)
from tests.dimse.test_commitment import COMMITMENT, INSTANCE, UNKNOWN, committing, request_commitment, sequence

# pynetdicom leaves sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")

WE = "ALIAS"
"""Our AE title, of those that a listener of the tests answers to."""
HERE = images.uid_of(1)
ASKED = [Reference(Uid(CT), Uid(HERE)), Reference(Uid(CT), Uid(UNKNOWN))]
OUTCOME = {HERE: 0, UNKNOWN: 0x0112}


@contextmanager
def kept(folder: Path) -> Iterator[Inquiries]:
    """What we ask, in a file."""
    with closing(Ledger(folder / "ours.db", capacity=1)) as ledger:
        yield ledger.inquiries


def inquirer(inquiries: Inquiries, wait_seconds: float) -> Inquirer:
    """Asks, and waits so long."""
    return Inquirer(inquiries, ae_title=WE, limits=limits(), wait_seconds=wait_seconds, clock=lambda: STARTED)


def outcome(inquiry: Inquiry | None) -> dict[str, int | None]:
    """What was told, by SOP Instance UID."""
    assert inquiry is not None
    return {one.sop_instance_uid: why for one, why in zip(inquiry.references, inquiry.reasons, strict=True)}


def listening(nodes: Nodes, folder: Path, inquiries: Inquiries) -> Running:
    """A listener of ours that takes reports."""
    node = nodes.start(index=SqliteIndex(folder / "ours-index.db"))
    node.entity.services[CommandField.N_EVENT_REPORT_RQ] = ReportService(  # type: ignore[index]
        inquiries, lambda: STARTED
    )
    return node


def test_our_own_provider_on_the_same_association(nodes: Nodes, tmp_path: Path) -> None:
    """What is there is committed, what is not has failed with the reason; nothing is left to tell."""
    node = nodes.start()
    node.keep(1)
    provider = Peer("provider", AE_TITLE, "127.0.0.1", node.port)
    with committing(node, tmp_path) as commitments, kept(tmp_path) as inquiries:
        inquiry = inquirer(inquiries, 5.0).inquire(provider, [*ASKED, ASKED[0]])
        assert eventually(lambda: not commitments.count)

    assert OUTCOME == outcome(inquiry)
    assert (1, 1, 0, STARTED) == (inquiry.committed, inquiry.failed, inquiry.unanswered, inquiry.reported_at)


def test_our_own_provider_on_a_new_association(nodes: Nodes, tmp_path: Path) -> None:
    """Who does not wait hears on its listener, to which the provider comes as SCP: all of it, or nothing yet."""
    node = nodes.start()
    node.keep(1)
    provider = Peer("provider", AE_TITLE, "127.0.0.1", node.port)
    with kept(tmp_path) as inquiries:
        ours = listening(nodes, tmp_path, inquiries)
        us = Peer("us", WE, "127.0.0.1", ours.port)
        with committing(node, tmp_path, us) as commitments:
            asked = inquirer(inquiries, 0.0).inquire(provider, ASKED)
            assert eventually(lambda: not commitments.count)
        found = inquiries.find(asked.transaction_uid)

    assert outcome(asked) in ({HERE: None, UNKNOWN: None}, OUTCOME)  # a quick report comes while we are releasing
    assert OUTCOME == outcome(found)


def report_of(information: Dataset) -> Dataset:
    """The report that the first instance is committed, and others are not."""
    report = Dataset()
    report.TransactionUID = information.TransactionUID
    first, *others = information.ReferencedSOPSequence
    for one in others:
        one.FailureReason = 0x0112
    report.ReferencedSOPSequence, report.FailedSOPSequence = [first], others
    return report


@contextmanager
def pynetdicom_provider(our_port: int | None) -> Iterator[tuple[Peer, list[int], list[str]]]:
    """A pynetdicom SCP that reports on the association of the request, or to our port; what it is answered, and how
    associations with it end."""
    answers: list[int] = []
    ends: list[str] = []
    with ExitStack() as stack:

        def report(association: Any, information: Dataset) -> None:
            if our_port is None:
                status, _ = association.send_n_event_report(report_of(information), 2, COMMITMENT, INSTANCE)
            else:
                caller = AE("PROVIDER")
                caller.add_requested_context(COMMITMENT)
                roles: Any = [build_role(COMMITMENT, scp_role=True)]
                called = caller.associate("127.0.0.1", our_port, ae_title=WE, ext_neg=roles)
                status, _ = called.send_n_event_report(report_of(information), 2, COMMITMENT, INSTANCE)
                called.release()
            answers.append(int(status.Status))

        def act(event: Any) -> tuple[int, None]:
            thread = threading.Thread(target=report, args=(event.assoc, event.action_information))
            thread.start()
            stack.callback(thread.join)
            return 0x0000, None

        entity = AE("PROVIDER")
        entity.add_supported_context(COMMITMENT)
        handlers: Any = [
            (evt.EVT_N_ACTION, act),
            (evt.EVT_RELEASED, lambda event: ends.append("released")),
            (evt.EVT_ABORTED, lambda event: ends.append("aborted")),
        ]
        listener: Any = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        try:
            yield Peer("provider", "PROVIDER", "127.0.0.1", listener.server_address[1]), answers, ends
        finally:
            listener.shutdown()
            listener.server_close()


def test_pynetdicom_on_the_same_association(tmp_path: Path) -> None:
    """A pynetdicom provider that reports where it was asked is heard there, and gets Success."""
    with kept(tmp_path) as inquiries, pynetdicom_provider(None) as (provider, answers, ends):
        inquiry = inquirer(inquiries, 5.0).inquire(provider, [Reference(Uid(CT), Uid(HERE))])
        assert eventually(lambda: bool(answers and ends))

    assert {HERE: 0} == outcome(inquiry)
    assert ([0], ["released"]) == (answers, ends)


def test_pynetdicom_on_a_new_association(nodes: Nodes, tmp_path: Path) -> None:
    """A pynetdicom provider that opens an association for its report is heard there, failures too."""
    with kept(tmp_path) as inquiries:
        ours = listening(nodes, tmp_path, inquiries)
        with pynetdicom_provider(ours.port) as (provider, answers, ends):
            asked = inquirer(inquiries, 0.0).inquire(provider, sorted(ASKED, key=lambda one: one.sop_instance_uid))
            assert eventually(lambda: bool(answers and ends))
        found = inquiries.find(asked.transaction_uid)

    assert ([0], ["released"]) == (answers, ends)
    assert found is not None
    assert {0, 0x0112} == set(found.reasons)


class Eager:
    """Reports before it answers the request."""

    def __init__(self) -> None:
        self.answers: list[int] = []

    def serve(self, association: Association, request: Message) -> None:
        """See Service."""
        uid, references = parse_request(request.data_set(100_000), request.context.transfer_syntax)
        data = sequence(*((one.sop_class_uid, one.sop_instance_uid) for one in references))
        fields: dict[Element, int | str | bytes] = {
                  Element.AFFECTED_SOP_CLASS_UID: COMMITMENT, Element.COMMAND_FIELD: CommandField.N_EVENT_REPORT_RQ,
                  Element.MESSAGE_ID: 7, Element.AFFECTED_SOP_INSTANCE_UID: INSTANCE,
                  Element.EVENT_TYPE_ID: 1}  # fmt: skip
        association.send(request.context.context_id, fields, data.replace(element_of("2.25.1"), element_of(uid), 1))
        self.answers.append(association.next_response(7).number(Element.STATUS))
        association.respond(request, 0)


def element_of(uid: str) -> bytes:
    """A Transaction UID in implicit VR."""
    raw = uid.encode() + b"\0" * (len(uid) % 2)
    return b"\x08\0\x95\x11" + len(raw).to_bytes(4, "little") + raw


def test_a_report_before_the_answer(nodes: Nodes, tmp_path: Path) -> None:
    """A provider that reports first and answers the request then is understood."""
    node, eager = nodes.start(), Eager()
    node.entity.services[CommandField.N_ACTION_RQ] = eager  # type: ignore[index]
    with kept(tmp_path) as inquiries:
        found = inquirer(inquiries, 0.0).inquire(Peer("eager", AE_TITLE, "127.0.0.1", node.port), ASKED)

    assert [0] == eager.answers
    assert {HERE: 0, UNKNOWN: 0} == outcome(found)


class Leaving:
    """Takes requests over, and ends the association at once."""

    def serve(self, association: Association, request: Message) -> None:
        """See Service."""
        request.drain()
        association.respond(request, 0)
        raise ProtocolViolation("had enough")


def test_a_provider_that_leaves_after_its_answer(nodes: Nodes, tmp_path: Path) -> None:
    """When the association breaks after the request was taken over, the report may still come another way."""
    node = nodes.start()
    node.entity.services[CommandField.N_ACTION_RQ] = Leaving()  # type: ignore[index]
    with kept(tmp_path) as inquiries:
        found = inquirer(inquiries, 5.0).inquire(Peer("leaving", AE_TITLE, "127.0.0.1", node.port), ASKED)

    assert (2, None) == (found.unanswered, found.refusal)


class Refusing:
    """Takes no request over."""

    def __init__(self) -> None:
        self.asked = Uid("")

    def serve(self, association: Association, request: Message) -> None:
        """See Service."""
        self.asked, _ = parse_request(request.data_set(100_000), request.context.transfer_syntax)
        association.respond(request, 0x0213)


def test_a_request_that_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    """A peer that answers the request with a failure: PeerFailure with the status, which is kept."""
    node, refusing = nodes.start(), Refusing()
    node.entity.services[CommandField.N_ACTION_RQ] = refusing  # type: ignore[index]
    with kept(tmp_path) as inquiries:
        with pytest.raises(PeerFailure, match="status 0213H"):
            inquirer(inquiries, 5.0).inquire(Peer("refusing", AE_TITLE, "127.0.0.1", node.port), ASKED)
        found = inquiries.find(refusing.asked)

    assert found is not None
    assert (0x0213, 2) == (found.refusal, found.unanswered)


def send_report(
    peer: RawPeer, data: bytes | None, *, event: int = 1, instance: str = INSTANCE, sop_class: str = COMMITMENT
) -> Received:
    """N-EVENT-REPORT: the response."""
    fields: dict[int, int | str | bytes] = {SOP_CLASS: sop_class, COMMAND: 0x0100, MESSAGE_ID: 9}
    peer.send_command(1, {**fields, SOP_INSTANCE: instance, 0x1002: event}, has_data_set=data is not None)
    if data is not None:
        peer.send_data_set(1, data)
    return peer.read_message()


@contextmanager
def reporter(port: int, *, calling: bytes = b"TESTER", scu: int = 0, scp: int = 1) -> Iterator[RawPeer]:
    """A peer with these roles."""
    with RawPeer(port) as peer:
        roles = role(COMMITMENT, scu=scu, scp=scp)
        accepted = peer.associate(
            request=associate_rq([Offer(1, COMMITMENT)], calling=calling, user_items=roles if scp else b"")
        )
        assert (0, IMPLICIT) == accepted.results[1]
        assert ((scu, scp) if scp else None) == accepted.roles.get(COMMITMENT)
        yield peer
        peer.release()


GOOD = sequence((CT, HERE))


def ask_tester(inquiries: Inquiries) -> None:
    """What TESTER is to report on."""
    inquiries.enter(Uid("2.25.1"), "TESTER", ASKED, STARTED)


def test_reports_that_are_taken(nodes: Nodes, tmp_path: Path) -> None:
    """A report is answered with its own numbers and UIDs, and may come twice; the rest may be told later."""
    with kept(tmp_path) as inquiries:
        ours = listening(nodes, tmp_path, inquiries)
        ask_tester(inquiries)
        with reporter(ours.port, scu=1) as peer:
            answers = [send_report(peer, GOOD), send_report(peer, GOOD)]
        first = outcome(inquiries.find(Uid("2.25.1")))
        with reporter(ours.port) as peer:
            answers.append(send_report(peer, sequence((CT, UNKNOWN), (MR, "1.2.3")), event=2))
        last = outcome(inquiries.find(Uid("2.25.1")))

    assert {HERE: 0, UNKNOWN: None} == first
    assert {HERE: 0, UNKNOWN: 0} == last
    assert [0, 0, 0] == [one.status for one in answers]
    assert [1, 1, 2] == [one.number(0x1002) for one in answers]
    assert {(0x8100, 9, COMMITMENT, INSTANCE)} == {
        (one.number(COMMAND), one.number(RESPONDED_TO), one.text(SOP_CLASS), one.text(SOP_INSTANCE)) for one in answers
    }


@pytest.mark.parametrize(
    ("data", "more", "calling", "status"),
    [
        (GOOD, {"event": 3}, b"TESTER", 0x0113),
        (GOOD, {"instance": "1.2.3"}, b"TESTER", 0x0112),
        (GOOD, {"sop_class": "1.2.840.10008.1.1"}, b"TESTER", 0x0118),
        (GOOD.replace(element_of("2.25.1"), element_of("2.25.2")), {}, b"TESTER", 0x0115),
        (GOOD, {}, b"SOMEBODY", 0x0124),
        (sequence(), {}, b"TESTER", 0x0115),
        (GOOD[:-1], {}, b"TESTER", 0x0115),
        (None, {}, b"TESTER", 0x0115),
        (bytes(2_000_000), {}, b"TESTER", 0x0213),
    ],
)
def test_reports_that_are_refused(
    nodes: Nodes, tmp_path: Path, data: bytes | None, more: dict[str, Any], calling: bytes, status: int
) -> None:
    """What is wrong, of nobody's request, or not from who was asked changes nothing, and the association goes on."""
    with kept(tmp_path) as inquiries:
        ours = listening(nodes, tmp_path, inquiries)
        ask_tester(inquiries)
        with reporter(ours.port, calling=calling) as peer:
            assert status == send_report(peer, data, **more).status
        found = inquiries.find(Uid("2.25.1"))

    assert {HERE: None, UNKNOWN: None} == outcome(found)
    assert found is not None
    assert found.reported_at is None


def test_roles_are_kept(nodes: Nodes, tmp_path: Path) -> None:
    """Who is SCU only cannot report, who is SCP only cannot ask: 0118."""
    node = nodes.start()
    with kept(tmp_path) as inquiries, committing(node, tmp_path) as commitments:
        ours = listening(nodes, tmp_path, inquiries)
        ask_tester(inquiries)
        with reporter(ours.port, scu=1, scp=0) as peer:
            assert 0x0118 == send_report(peer, GOOD).status
        with reporter(node.port) as peer:
            assert 0x0118 == request_commitment(peer, GOOD).status
        assert 2 == sum(one is None for one in outcome(inquiries.find(Uid("2.25.1"))).values())
        assert 0 == commitments.count


def test_a_report_that_cannot_be_kept(nodes: Nodes, tmp_path: Path) -> None:
    """When the disk fails the peer hears 0110, so that it reports again."""
    with kept(tmp_path) as inquiries:
        ask_tester(inquiries)
    ours = listening(nodes, tmp_path, inquiries)
    with reporter(ours.port) as peer:
        assert 0x0110 == send_report(peer, GOOD).status


def test_a_restart_in_between(nodes: Nodes, tmp_path: Path) -> None:
    """What was asked before a restart is known after it, and so is what was told."""
    with kept(tmp_path) as inquiries:
        ask_tester(inquiries)
    with kept(tmp_path) as inquiries:
        ours = listening(nodes, tmp_path, inquiries)
        with reporter(ours.port) as peer:
            assert 0 == send_report(peer, GOOD).status
    with kept(tmp_path) as inquiries:
        assert {HERE: 0, UNKNOWN: None} == outcome(inquiries.find(Uid("2.25.1")))
