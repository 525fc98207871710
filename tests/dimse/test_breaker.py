"""Destinations that cannot be reached: left alone for a while, tried by one, called by all when they are back."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import pytest

from pacsnode.config import Limits
from pacsnode.dimse.breaker import CircuitBreaker
from pacsnode.dimse.move import MoveService
from pacsnode.errors import PeerFailure, ProtocolViolation
from pacsnode.model import Peer
from pacsnode.wire.command import CommandField
from tests.dimse import images
from tests.dimse.conftest import AE_TITLE, Nodes, Running, Timer, limits
from tests.dimse.destination import Destination
from tests.dimse.raw_peer import C_MOVE, RELEASE_RQ, STUDY_MOVE, Offer, Received, identifier

WHOLE_STUDY = identifier({0x00080052: "STUDY", 0x0020000D: images.STUDY})


@pytest.fixture
def breaker(timer: Timer) -> CircuitBreaker:
    """A breaker on that time."""
    return CircuitBreaker(timer)


def log_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The breaker's events so far."""
    names = [message.partition("event=")[2].partition(" ")[0] for message in caplog.messages]
    return [name for name in names if name in ("destination_left_alone", "destination_back")]


def reached(breaker: CircuitBreaker, *, fails: bool, destination: str = "DEST") -> bool:
    """One attempt: did it get as far as calling the destination?"""
    was_called = False
    try:
        with breaker.attempt(destination):
            was_called = True
            if fails:
                raise PeerFailure("refused")
    except PeerFailure:
        pass
    return was_called


def opened(breaker: CircuitBreaker) -> None:
    """Three failures."""
    for _ in range(3):
        assert reached(breaker, fails=True)


def back_offs(breaker: CircuitBreaker, timer: Timer, count: int) -> Iterator[float]:
    """How long an open circuit stays so, each time that the attempt after it fails; to a quarter of a second."""
    for _ in range(count):
        begin = timer.seconds
        while not reached(breaker, fails=True):
            timer.seconds += 0.25
        yield timer.seconds - begin


def test_two_failures_change_nothing(breaker: CircuitBreaker) -> None:
    """Only failures in a row count."""
    attempts = [reached(breaker, fails=fails) for fails in (True, True, False, True, True, False, False)]

    assert [True] * 7 == attempts


def test_back_off(breaker: CircuitBreaker, timer: Timer) -> None:
    """5 s at first, double after each further failure, never more than 5 min."""
    opened(breaker)

    assert [5, 10, 20, 40, 80, 160, 300, 300] == list(back_offs(breaker, timer, 8))


def test_success_starts_again(breaker: CircuitBreaker, timer: Timer) -> None:
    """One success, and the next failures are the first ones."""
    opened(breaker)
    list(back_offs(breaker, timer, 3))
    timer.seconds += 40
    attempts = [reached(breaker, fails=fails) for fails in (False, True, True, True, True)]

    assert [True, True, True, True, False] == attempts
    assert [5] == list(back_offs(breaker, timer, 1))


def test_one_is_let_through(breaker: CircuitBreaker, timer: Timer) -> None:
    """While one attempt after the back-off is under way, the others fail at once."""
    opened(breaker)
    timer.seconds += 5
    with breaker.attempt("DEST"):
        meanwhile = reached(breaker, fails=False)

    assert (False, True) == (meanwhile, reached(breaker, fails=False))


def test_attempt_that_is_given_up(breaker: CircuitBreaker, timer: Timer) -> None:
    """An error that is not the destination's says nothing of it: the next attempt decides."""
    opened(breaker)
    timer.seconds += 5
    with pytest.raises(ProtocolViolation), breaker.attempt("DEST"):
        raise ProtocolViolation("the requester's")

    assert [True, True] == [reached(breaker, fails=False), reached(breaker, fails=False)]


def test_attempts_that_were_under_way(breaker: CircuitBreaker, timer: Timer) -> None:
    """Attempts that began before the circuit opened do not lengthen the back-off."""
    late = breaker.attempt("DEST")
    late.__enter__()
    opened(breaker)
    was_swallowed = late.__exit__(PeerFailure, PeerFailure("late"), None)

    assert not was_swallowed
    assert [5, 10] == list(back_offs(breaker, timer, 2))


def test_destinations_are_apart(breaker: CircuitBreaker) -> None:
    """One that is off keeps nobody from another one."""
    opened(breaker)

    assert (False, True) == (reached(breaker, fails=False), reached(breaker, fails=False, destination="OTHER"))


def test_one_event_for_each_change(breaker: CircuitBreaker, timer: Timer, caplog: pytest.LogCaptureFixture) -> None:
    """The log tells when it opens and when it closes, and nothing in between."""
    caplog.set_level(logging.INFO, "pacsnode")
    opened(breaker)
    list(back_offs(breaker, timer, 3))
    timer.seconds += 40
    reached(breaker, fails=False)
    reached(breaker, fails=False)

    assert ["destination_left_alone", "destination_back"] == log_of(caplog)


def serving(nodes: Nodes, destination: Destination, timer: Timer, within: Limits) -> Running:
    """A node with the destination as DEST, whose C-MOVE goes by the timer."""
    node = nodes.start(Peer("dest", "DEST", "127.0.0.1", destination.port), limits=within)
    services = node.entity.services
    assert isinstance(services, dict)
    services[CommandField.C_MOVE_RQ] = MoveService(
        node.archive, node.entity.reception.access, ae_title=AE_TITLE, limits=within, monotonic=timer
    )
    node.keep(1, 2)
    return node


def moves(node: Running, count: int) -> list[tuple[int | None, Sequence[int | None]]]:
    """Status and counters of so many C-MOVEs over one association."""
    finals: list[Received] = []
    with node.connect(Offer(1, STUDY_MOVE)) as peer:
        for _ in range(count):
            peer.start_query(1, C_MOVE, STUDY_MOVE, WHOLE_STUDY, destination="DEST")
            finals.append(peer.responses()[-1])
        peer.release()
    return [(final.status, final.counters) for final in finals]


def test_moves_to_a_destination_that_refuses(nodes: Nodes, timer: Timer) -> None:
    """It is called three times, then not until the time has come; A702 with every instance failed all the while."""
    with Destination(rejection=(1, 1, 3)) as destination:
        node = serving(nodes, destination, timer, limits())
        refused = moves(node, 5)
        called = len(destination.titles)
        timer.seconds += 5
        refused += moves(node, 2)
        called_again = len(destination.titles)
        destination.rejection = None
        timer.seconds += 10
        served = moves(node, 2)

    assert [(0xA702, (None, 0, 2, 0))] * 7 == refused
    assert (3, 4) == (called, called_again)
    assert [(0x0000, (None, 2, 0, 0))] * 2 == served
    assert [RELEASE_RQ] * 2 == destination.endings[-2:]


def test_a_failure_after_associating_is_none(nodes: Nodes, timer: Timer) -> None:
    """A destination that associates is there, whatever becomes of the instances."""
    with Destination(answer=lambda number: 0xA700) as destination:
        node = serving(nodes, destination, timer, limits())
        moves(node, 5)

    assert 5 == len(destination.titles)
