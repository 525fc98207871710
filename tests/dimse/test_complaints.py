"""Faults are told a few times and then counted; good work is always told."""

from __future__ import annotations

import threading

import pytest

from pacsnode.dimse.association import Association, Message
from pacsnode.dimse.complaints import LINES, MAX_ENTRIES, WINDOW_SECONDS, Complaints
from pacsnode.wire.command import CommandField
from tests.dimse import images
from tests.dimse.conftest import Nodes, Timer, eventually
from tests.dimse.raw_peer import (
    C_FIND,
    CT,
    EXPLICIT,
    P_DATA,
    STUDY_FIND,
    Aborted,
    Closed,
    Offer,
    RawPeer,
    Rejected,
    associate_rq,
    identifier,
    pdu,
    value,
)


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "pacsnode")


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    """The event's lines so far."""
    return [message for message in caplog.messages if message.startswith(f"event={event} ")]


def allowed(complaints: Complaints, count: int, *, event: str = "refused", address: str = "192.0.2.1") -> int:
    """How many of so many are let through."""
    return sum(complaints.allows(event, address) for _ in range(count))


def test_a_flood_is_counted(timer: Timer, caplog: pytest.LogCaptureFixture) -> None:
    """Ten lines, then the rest as one number when the time is over, whoever complains next."""
    complaints = Complaints(timer)

    assert LINES == allowed(complaints, 1_000)
    timer.seconds += WINDOW_SECONDS
    assert 1 == allowed(complaints, 1, address="192.0.2.2")
    assert ["event=suppressed of=refused address=192.0.2.1 count=990"] == lines(caplog, "suppressed")
    assert LINES == allowed(complaints, 1_000)


def test_each_address_and_event_has_its_own(timer: Timer) -> None:
    """Whoever floods takes no lines from the others, nor from other events."""
    complaints = Complaints(timer)
    allowed(complaints, 1_000)

    assert LINES == allowed(complaints, 50, address="192.0.2.2")
    assert LINES == allowed(complaints, 50, event="association_rejected")


def test_few_are_all_logged(timer: Timer, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is said of windows that had room for everything."""
    complaints = Complaints(timer)
    for _ in range(5):
        assert LINES == allowed(complaints, LINES)
        timer.seconds += WINDOW_SECONDS

    assert [] == lines(caplog, "suppressed")


def test_the_table_is_bounded(timer: Timer, caplog: pytest.LogCaptureFixture) -> None:
    """However many addresses there are, no count is lost, and the memory does not grow."""
    complaints = Complaints(timer)
    allowed(complaints, LINES + 5)
    for number in range(2 * MAX_ENTRIES):
        complaints.allows("refused", f"2001:db8::{number:x}")

    assert ["event=suppressed of=refused address=192.0.2.1 count=5"] == lines(caplog, "suppressed")
    assert len(complaints._windows) <= MAX_ENTRIES


def rejected(port: int) -> None:
    """An association under a called AE title that is not ours."""
    with RawPeer(port) as peer, pytest.raises(Rejected):
        peer.associate(request=associate_rq((), called=b"NOBODY"))


def test_rejections_do_not_fill_the_log(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """A peer that asks again and again is told of ten times."""
    node = nodes.start()
    for _ in range(3 * LINES):
        rejected(node.port)

    assert LINES == len(lines(caplog, "association_rejected"))


def test_empty_associations_do_not_fill_the_log(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """Neither does one that associates for nothing; every association that did something is there."""
    node = nodes.start()
    for _ in range(3 * LINES):
        node.connect().release()
    for _ in range(2 * LINES):
        assert node.echoes()

    assert eventually(lambda: node.admission.associations == 0)
    found = lines(caplog, "association")
    assert LINES == sum(" operations=0 " in line for line in found)
    assert 2 * LINES == sum(" operations=1 " in line for line in found)


def test_broken_connections_do_not_fill_the_log(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """Neither do connections that bring no association request."""
    node = nodes.start()
    for _ in range(3 * LINES):
        with RawPeer(node.port) as peer, pytest.raises(Aborted):
            peer.associate(request=pdu(P_DATA, value(1, 3, b"")))

    assert LINES == len(lines(caplog, "connection_ended"))


def test_refused_instances_do_not_fill_the_log(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """A peer that sends again and again what cannot be stored is answered each time, and told of ten times."""
    node = nodes.start()
    with node.connect(Offer(1, CT, (EXPLICIT,))) as peer:
        statuses = {peer.store(1, CT, images.uid_of(1), b"no data set").status for _ in range(3 * LINES)}
        peer.release()

    assert {0xC000} == statuses
    assert LINES == len(lines(caplog, "refused"))


def test_failing_queries_do_not_fill_the_log(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """Nor one that asks for what nobody understands."""
    node = nodes.start()
    with node.connect(Offer(1, STUDY_FIND)) as peer:
        for _ in range(3 * LINES):
            peer.start_query(1, C_FIND, STUDY_FIND, identifier({}))
            peer.responses()
        peer.release()

    assert LINES == len(lines(caplog, "query_failed"))


class CrashingService:
    """A defect."""

    def serve(self, association: Association, request: Message) -> None:
        """Fail in a way that nobody expects."""
        raise RuntimeError("a defect")


def test_crashes_do_not_fill_the_log(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    """A defect that a peer can cause ends its connections, and is told of ten times."""
    node = nodes.start()
    node.entity.services[CommandField.C_ECHO_RQ] = CrashingService()  # type: ignore[index]
    for _ in range(3 * LINES):
        with node.connect() as peer, pytest.raises((Aborted, Closed)):
            peer.echo()

    assert eventually(lambda: node.admission.associations == 0)
    assert LINES == len(lines(caplog, "connection_crashed"))


def test_missing_threads_do_not_fill_the_log(
    nodes: Nodes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system gives no thread, connections are closed, ten of them are told of, and it may go on later."""
    node = nodes.start()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(3 * LINES):
            with RawPeer(node.port) as peer, pytest.raises(Closed):
                peer.associate()

    assert LINES == len(lines(caplog, "connection_refused"))
    assert node.echoes()
