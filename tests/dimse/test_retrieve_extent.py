"""Retrieves at their limits: destinations that die anywhere, many contexts, more than the counters hold."""

from __future__ import annotations

import itertools
import random
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from pacsnode.dimse.move import MoveService
from pacsnode.dimse.retrieve import SubOperations
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Instance, Peer, Query, Uid
from pacsnode.wire.command import CommandField, Element
from tests.dimse import images
from tests.dimse.conftest import AE_TITLE, Nodes, Running, limits
from tests.dimse.destination import Destination
from tests.dimse.raw_peer import (
    C_MOVE,
    CT,
    EXPLICIT,
    MR,
    SOP_INSTANCE,
    STUDY_GET,
    STUDY_MOVE,
    Offer,
    RawPeer,
    Received,
    associate_rq,
    identifier,
    parse_elements,
    role,
)

WHOLE_STUDY = identifier({0x00080052: "STUDY", 0x0020000D: images.STUDY})
FAILED_LIST = 0x00080058
COUNT = 200


def node_for(nodes: Nodes, destination: Destination) -> Running:
    """A node that knows the destination as DEST."""
    return nodes.start(Peer("dest", "DEST", "127.0.0.1", destination.port))


def move(node: Running) -> list[Received]:
    """Every response to a C-MOVE of the study to DEST."""
    with node.connect(Offer(1, STUDY_MOVE)) as peer:
        peer.start_query(1, C_MOVE, STUDY_MOVE, WHOLE_STUDY, destination="DEST")
        responses = peer.responses()
        peer.release()
    return responses


def failed_uids(response: Received) -> list[str]:
    """Failed SOP Instance UID List, in order."""
    raw = parse_elements(response.data_set or b"").get(FAILED_LIST, b"")
    return raw.decode().rstrip("\0").split("\\") if raw else []


def answer(number: int) -> int:
    """A destination that likes some instances less, and some not at all."""
    if number % 5 == 0:
        return 0xA700
    return 0xB000 if number % 7 == 0 else 0x0000


def test_a_thousand_failed_uids(nodes: Nodes) -> None:
    """The list has as many UIDs as explicit VR has room for (VR UI); the counters tell of all."""
    with Destination(answer=lambda number: 0xA700) as destination:
        node = node_for(nodes, destination)
        node.keep(*range(1, 1011))
        final = move(node)[-1]

    assert (0xA702, (None, 0, 1010, 0)) == (final.status, final.counters)
    assert [images.uid_of(number) for number in range(1, 1001)] == failed_uids(final)


@pytest.mark.parametrize("seed", range(6))
def test_destination_dies_at_any_instance(nodes: Nodes, seed: int) -> None:
    """Completed, failed and warning add up, and the list holds what the destination did not keep, no more."""
    dies_at = random.Random(seed).randint(1, COUNT)
    with Destination(answer=answer, dies_at=dies_at) as destination:
        node = node_for(nodes, destination)
        node.keep(*range(1, COUNT + 1))
        final = move(node)[-1]
    answers = [answer(number) for number in range(1, dies_at)]
    failed = [images.uid_of(number) for number in range(1, COUNT + 1) if number >= dies_at or not number % 5]

    assert dies_at - 1 == len(destination.received)
    assert (None, answers.count(0), len(failed), answers.count(0xB000)) == final.counters
    assert failed == failed_uids(final)


def test_more_pairs_than_contexts(nodes: Nodes) -> None:
    """At most 128 contexts for each association: one follows the other until every instance is there.

    The native syntaxes are proposed, too, for every one of them.
    """
    with Destination() as destination:
        node = node_for(nodes, destination)
        for number in range(1, 301):
            node.keep(number, sop_class=f"2.25.7002.{number}")
        final = move(node)[-1]
    sent = [received.text(SOP_INSTANCE) for received in destination.received]

    assert [128, 128, 128, 128, 2 * 44] == [len(offers) for offers in destination.proposals]
    assert (0x0000, (None, 300, 0, 0)) == (final.status, final.counters)
    assert sorted(images.uid_of(number) for number in range(1, 301)) == sorted(sent)


def test_pending_responses_after_a_second(nodes: Nodes) -> None:
    """Where a sub-operation takes a second, the requester hears of each."""
    seconds = itertools.count()
    with Destination() as destination:
        node = node_for(nodes, destination)
        services = node.entity.services
        assert isinstance(services, dict)
        services[CommandField.C_MOVE_RQ] = MoveService(
            node.archive, node.entity.access, ae_title=AE_TITLE, limits=limits(), monotonic=lambda: next(seconds)
        )
        node.keep(*range(1, 6))
        *pending, _ = move(node)

    assert [(4, 1, 0, 0), (3, 2, 0, 0), (2, 3, 0, 0), (1, 4, 0, 0)] == [response.counters for response in pending]


class LargeIndex(SqliteIndex):
    """An index that has 66,000 further instances of a class before those of the study."""

    further = 66_000

    def count_instances(self, query: Query) -> int:
        return self.further + super().count_instances(query)

    def instances(self, query: Query) -> Generator[Instance, None, None]:
        first = next(super().instances(query))
        for number in range(self.further):
            header = replace(first.header, sop_class_uid=Uid(MR), sop_instance_uid=Uid(f"2.25.7003.{number}"))
            yield replace(first, header=header)
        yield from super().instances(query)


def test_more_instances_than_the_counters_hold(nodes: Nodes, tmp_path: Path) -> None:
    """Counters stay at 65,535 (VR US), and what comes after so many instances is sent all the same.

    The many are of a class that the requester has no context for: to send them takes longer than a test may.
    """
    node = nodes.start(index=LargeIndex(tmp_path / "large.db"))
    node.keep(1, 2, 3)
    with RawPeer(node.port) as peer:
        request = associate_rq((Offer(1, STUDY_GET), Offer(3, CT, (EXPLICIT,))), user_items=role(CT, scu=0, scp=1))
        peer.associate(request=request)
        instances, (first, *_, final) = peer.get(1, STUDY_GET, WHOLE_STUDY)
        peer.release()

    assert (0xFFFF, 0, 1, 0) == first.counters
    assert (0xB000, (None, 3, 0xFFFF, 0)) == (final.status, final.counters)
    assert [images.uid_of(number) for number in (1, 2, 3)] == [found.text(SOP_INSTANCE) for found in instances]
    assert [f"2.25.7003.{number}" for number in range(1000)] == failed_uids(final)


@pytest.mark.parametrize(
    ("code", "element"),
    [
        (0x0000, Element.COMPLETED_SUBOPERATIONS),
        (0xA700, Element.FAILED_SUBOPERATIONS),
        (0xB000, Element.WARNING_SUBOPERATIONS),
    ],
)
def test_every_counter_is_clamped(code: int, element: Element) -> None:
    """No counter goes beyond what an US value holds, nor begins again at zero."""
    counts = SubOperations(70_000)
    for _ in range(70_000):
        counts.record(Uid("1.2.3"), code)

    assert 0xFFFF == counts.fields(with_remaining=True)[element]
    assert 0 == counts.fields(with_remaining=True)[Element.REMAINING_SUBOPERATIONS]
