"""The load generator and the sink, against a node in this process and against each other."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import sink
from benchmarks.associate import Offer, associate_ac, associate_rq, read_associate_ac
from benchmarks.connection import Writing
from benchmarks.dataset import EXPLICIT, TINY, Plan
from benchmarks.loadgen import (
    IMPLICIT,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Association,
    Called,
    Papers,
    Refused,
    answers,
)
from benchmarks.senders import Batch, send_batch
from benchmarks.servers import free_port
from pacsnode.config import Tls
from pacsnode.dimse import tls
from pacsnode.model import Peer
from tests.certificates import Trust
from tests.dimse.conftest import Nodes, Running

COUNT = 6
OFFERS = (
    Offer(VERIFICATION, IMPLICIT),
    Offer(STUDY_FIND, IMPLICIT),
    Offer(STUDY_MOVE, IMPLICIT),
    Offer(STUDY_GET, IMPLICIT),
    Offer(TINY.sop_class_uid, EXPLICIT, as_scp=True),
)
LEVEL, STUDY_UID = 0x00080052, 0x0020000D


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Starts listeners in this process, over a store in memory."""
    with ExitStack() as stack:
        yield Nodes(tmp_path, stack)


def called(node: Running) -> Called:
    """The node as the load generator calls it."""
    return Called(node.port, "PACSNODE")


def study(plan: Plan) -> dict[int, str]:
    """Keys for the first study of a plan."""
    return {LEVEL: "STUDY", STUDY_UID: plan.study_uid(0)}


@pytest.mark.parametrize("writing", Writing)
def test_everything_is_stored(nodes: Nodes, writing: Writing) -> None:
    """Every instance is answered with Success and kept, however the bytes are given to the socket."""
    node = nodes.start()
    plan = Plan(TINY, "2.25.1")

    part = send_batch(called(node), Batch(plan, 0, COUNT), writing)

    assert (0, COUNT) == (part.refused, len(part.latencies))
    assert COUNT == len(node.keys())
    assert part.data_bytes == sum(data_set.size for data_set in plan.data_sets(0, COUNT))


def test_query_and_retrieve(nodes: Nodes) -> None:
    """What was stored is found, and comes back to the last byte by C-GET and C-MOVE."""
    plan = Plan(TINY, "2.25.1")
    with sink.running() as destination:
        node = nodes.start(Peer("SINK", sink.AE_TITLE, "127.0.0.1", destination.port))
        sent = send_batch(called(node), Batch(plan, 0, COUNT), Writing.GATHERED)
        with Association(called(node), OFFERS) as association:
            association.echo()
            found = association.find(study(plan))
            got = association.get(study(plan))
            moved = association.move(study(plan), sink.AE_TITLE)
        arrived = destination.take_counts()

    assert 1 == found
    assert (COUNT, 0, sent.data_bytes) == (got.instances, got.failed, got.data_bytes)
    assert (COUNT, 0) == (moved.instances, moved.failed)
    assert (COUNT, sent.data_bytes) == arrived


def test_refusals_are_errors(nodes: Nodes) -> None:
    """A benchmark cannot go on with a context or a destination that was refused."""
    node = nodes.start()
    with Association(called(node), OFFERS[1:3]) as association:
        with pytest.raises(Refused, match="not accepted"):
            association.echo()
        with pytest.raises(Refused, match="A801"):
            association.move({LEVEL: "STUDY", STUDY_UID: "2.25.9"}, "NOBODY")


def test_a_server_that_is_not_there() -> None:
    """Nobody listens: that is an answer, while a server starts."""
    assert not answers(Called(free_port(), "PACSNODE"))


def test_sink_accepts_what_is_offered() -> None:
    """The sink's A-ASSOCIATE-AC accepts every context of a request."""
    request = associate_rq("SINK", "BENCH", OFFERS, 16384)

    accepted = read_associate_ac(associate_ac(request, 65536))

    assert frozenset({1, 3, 5, 7, 9}) == accepted.context_ids
    assert 65536 == accepted.maximum_bytes


def test_everything_is_stored_by_tls(nodes: Nodes, tmp_path: Path) -> None:
    """By TLS the same instances arrive, whole messages at a time; the protocol is TLS 1.3."""
    trust = Trust.made(tmp_path / "tls")
    trust.issue("node")
    trust.issue("modality")
    files = [str(trust.folder / name) for name in ("node.pem", "node.key", "ca.pem")]
    node = nodes.start(
        tls=tls.for_acceptor(Tls(certificate=files[0], key=files[1], client_ca=files[2])), storage=[TINY.sop_class_uid]
    )
    papers = Papers(trust.folder / "ca.pem", trust.folder / "modality.pem", trust.folder / "modality.key")
    part = send_batch(Called(node.port, "PACSNODE", papers), Batch(Plan(TINY, "2.25.7"), 0, COUNT), Writing.GATHERED)
    with (
        socket.create_connection(("127.0.0.1", node.port)) as plain,
        papers.context().wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        version = secured.version()

    assert (0, COUNT) == (part.refused, len(node.keys()))
    assert "TLSv1.3" == version
