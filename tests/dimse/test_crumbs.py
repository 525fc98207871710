"""Who sends next to nothing without an end, or requests without waiting for answers, waits; nobody else does."""

from __future__ import annotations

import threading
import time

import pytest

from pacsnode.dimse.crumbs import (
    AHEAD_BURST,
    AHEAD_PER_SECOND,
    CRUMBS_PER_SECOND,
    PATIENCE_SECONDS,
    SMALL_BYTES,
    Allowance,
    Allowances,
    Crumbs,
)
from pacsnode.errors import ProtocolViolation
from tests.dimse.conftest import Running, eventually
from tests.dimse.raw_peer import (
    C_ECHO,
    COMMAND,
    DATA_SET_TYPE,
    MESSAGE_ID,
    NO_DATA_SET,
    P_DATA,
    SOP_CLASS,
    VERIFICATION,
    RawPeer,
    command_set,
    pdu,
    value,
)

MANY = 100_000
ECHO = pdu(
    P_DATA,
    value(1, 3, command_set({SOP_CLASS: VERIFICATION, COMMAND: C_ECHO, MESSAGE_ID: 1, DATA_SET_TYPE: NO_DATA_SET})),
)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def send(crumbs: Crumbs, clock: Clock, *, count: int, size: int, per_second: float) -> list[float]:
    """What each of so many fragments has to wait, the waiting done."""
    pauses = []
    for _ in range(count):
        clock.now += 1 / per_second
        pauses.append(crumbs.take(size))
        clock.now += pauses[-1]
    return pauses


def test_an_allowance_bounds_the_rate(clock: Clock) -> None:
    """After a burst everybody waits, one behind the other, so that no more than the rate comes through."""
    allowance = Allowance(100, 10, clock)

    assert 0.0 == allowance.take(10)
    assert 0.5 == pytest.approx(allowance.take(50))
    assert 1.0 == pytest.approx(allowance.take(50))
    clock.now += 1.0
    assert 0.1 == pytest.approx(allowance.take(10))


def test_an_allowance_is_there_again(clock: Clock) -> None:
    """After a time of rest there is one burst, and not more for a longer rest."""
    allowance = Allowance(100, 10, clock)
    allowance.take(20)
    clock.now += 3600.0

    assert 0.0 == allowance.take(10)
    assert 0.0 < allowance.take(1)


@pytest.mark.parametrize("size", [SMALL_BYTES, 1024, 4096, 1 << 18])
def test_fragments_of_some_size_never_wait(clock: Clock, size: int) -> None:
    """However fast they come."""
    crumbs = Crumbs(Allowances(clock))

    assert {0.0} == set(send(crumbs, clock, count=MANY, size=size, per_second=1e9))


@pytest.mark.parametrize("per_second", [1, 100, CRUMBS_PER_SECOND * 0.9])
def test_a_slow_drip_never_waits(clock: Clock, per_second: float) -> None:
    """However small the fragments are."""
    crumbs = Crumbs(Allowances(clock))

    assert {0.0} == set(send(crumbs, clock, count=MANY, size=1, per_second=per_second))


@pytest.mark.parametrize("size", [0, 1, SMALL_BYTES - 1])
def test_a_flood_of_crumbs_is_slowed_down(clock: Clock, size: int) -> None:
    """No more than the rate comes through, and after two seconds nothing."""
    crumbs = Crumbs(Allowances(clock))
    began = clock.now
    most = int(1.1 * CRUMBS_PER_SECOND * PATIENCE_SECONDS)
    with pytest.raises(ProtocolViolation, match="next to nothing"):
        send(crumbs, clock, count=most, size=size, per_second=1e6)

    assert PATIENCE_SECONDS == pytest.approx(clock.now - began, abs=0.2)


def test_all_associations_share_the_rate(clock: Clock) -> None:
    """A hundred floods, each of them slow for want of a processor, are no more than one."""
    allowances = Allowances(clock)
    floods = [Crumbs(allowances) for _ in range(100)]

    pauses = [flood.take(0) for _ in range(256) for flood in floods]

    assert 256 * len(floods) / CRUMBS_PER_SECOND == pytest.approx(max(pauses), rel=0.05)


def test_who_stops_is_forgiven(clock: Clock) -> None:
    """Patience begins anew after fragments that did not have to wait."""
    crumbs = Crumbs(Allowances(clock))
    for _ in range(10):
        slowed = send(crumbs, clock, count=10_000, size=1, per_second=1e6)
        clock.now += 1.0
        assert max(slowed) > 0
        assert 0.0 == max(send(crumbs, clock, count=512, size=1024, per_second=1e6))


def send_for(peer: RawPeer, data: bytes, seconds: float) -> None:
    """The same again and again for so long; raises OSError when the connection has ended."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        peer.send(data)


def test_an_endless_flood_ends_in_an_abort(node: Running, caplog: pytest.LogCaptureFixture) -> None:
    """Empty fragments without an end cost the association, and others are served meanwhile."""
    caplog.set_level("INFO", "pacsnode")
    crumbs = pdu(P_DATA, value(1, 1, b"")) * 1000
    with node.connect() as peer:
        with pytest.raises(OSError, match=r"reset|pipe"):
            send_for(peer, crumbs, 4 * PATIENCE_SECONDS)
        assert node.echoes()

    assert eventually(lambda: 'ended="aborted: endless fragments of next to nothing"' in caplog.text)


def test_requests_ahead_of_their_turn_wait(node: Running) -> None:
    """Whoever sends requests without waiting for the answers gets them all, but no faster than the rate."""
    count = AHEAD_BURST * 2
    began = time.monotonic()
    with node.connect() as peer:
        peer.send(ECHO * count)
        statuses = [peer.read_message().status for _ in range(count)]
        took = time.monotonic() - began

    assert [0] * count == statuses
    assert took > 0.8 * (count - AHEAD_BURST) / AHEAD_PER_SECOND


def echo(peer: RawPeer, count: int) -> None:
    """Ask, wait for the answer, ask again."""
    for _ in range(count):
        assert 0 == peer.echo()
    peer.release()


def test_who_waits_for_answers_never_waits(node: Running) -> None:
    """Fast clients that wait for each response, several at a time, take nothing of the allowance."""
    clients = [threading.Thread(target=echo, args=(node.connect(), AHEAD_BURST)) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()

    assert 0.0 == node.entity.allowances.ahead.take(AHEAD_BURST)


def test_the_node_stops_while_somebody_waits(node: Running) -> None:
    """A rest ends when the association is cut."""
    node.entity.allowances.ahead.take(MANY)  # some minutes
    with node.connect() as peer:
        peer.send(ECHO * 2)
        assert 0 == peer.read_message().status
        began = time.monotonic()
        node.admission.drain(0)

    assert time.monotonic() - began < 1.0
    assert 0 == node.admission.associations
