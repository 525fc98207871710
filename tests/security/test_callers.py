"""Who is remembered of those who called."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from pacsnode.security.bindings import Caller
from pacsnode.security.callers import MOST, MOST_OF_AN_ADDRESS, Sightings

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def ticking() -> Callable[[], datetime]:
    """A clock that goes on by a second each time."""
    seconds = iter(range(1_000_000))
    return lambda: NOON + timedelta(seconds=next(seconds))


@pytest.fixture
def sightings() -> Sightings:
    """Nobody was seen."""
    return Sightings(ticking())


def test_first_last_and_how_often(sightings: Sightings) -> None:
    """An AE title at an address is one entry, which tells when it called first and last, and keeps its ID."""
    sightings.note("A", Caller("10.0.0.1"))
    first = sightings.all()[0].id
    sightings.note("B", Caller("10.0.0.1"))
    sightings.note("A", Caller("10.0.0.1"))
    last = sightings.all()[-1]

    assert ("A", 2, first) == (last.ae_title, last.count, last.id)
    assert timedelta(seconds=2) == last.last_seen - last.first_seen
    assert 2 == len({one.id for one in sightings.all()})


def test_one_address_pushes_nobody_out(sightings: Sightings) -> None:
    """Whoever tries title after title takes the places of his own."""
    sightings.note("GOOD", Caller("10.0.0.1"))
    for number in range(10 * MOST):
        sightings.note(f"EVIL{number}", Caller("10.6.6.6"))

    assert "GOOD" == sightings.all()[0].ae_title
    assert 1 + MOST_OF_AN_ADDRESS == len(sightings.all())


def test_bounded(sightings: Sightings) -> None:
    """Many addresses do not fill the memory either: who called longest ago is forgotten."""
    for number in range(2 * MOST):
        sightings.note("X", Caller(f"10.0.{number // 250}.{number % 250}"))

    assert MOST == len(sightings.all())
    assert f"10.0.{(2 * MOST - 1) // 250}.{(2 * MOST - 1) % 250}" == sightings.all()[-1].address


def test_forgotten_when_known(sightings: Sightings) -> None:
    """A title that has become a peer waits no more, at no address."""
    for title, address in (("A", "10.0.0.1"), ("A", "10.0.0.2"), ("B", "10.0.0.1")):
        sightings.note(title, Caller(address))
    sightings.forget({"A"})

    assert ["B"] == [one.ae_title for one in sightings.all()]
