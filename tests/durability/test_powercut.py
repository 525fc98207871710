"""Power cuts in a real machine, a few: ``make powercut`` does more of them and fetches what they need."""

from __future__ import annotations

import pytest

from tests.durability import guest
from tests.durability.load import Missing
from tests.durability.powercut import Case, Outcome, perform, verdict


@pytest.fixture
def machine() -> None:
    """Skips where a machine cannot be built: nothing is fetched by a test."""
    if lacks := guest.missing():
        pytest.skip(f"the machine lacks {', '.join(lacks)}; run: make powercut")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("machine")
def test_acknowledged_instances_survive_power_cuts() -> None:
    """On a drive that loses unflushed writes everything acknowledged is found and sent back bit for bit."""
    ((_, outcome),) = perform([Case(disk="loses")], cuts=2, seed=7)

    assert "" == outcome.failed
    assert (0, 0, 0, 0) == (outcome.lost, len(outcome.altered), outcome.bad_rows, outcome.refused)
    assert outcome.acknowledged > 10


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("machine")
def test_a_missing_sync_is_seen() -> None:
    """Without the sync of an object's bytes one cut is enough to lose instances: the proof can fail."""
    ((_, outcome),) = perform([Case(mutant="no-file-sync", disk="loses")], cuts=1, seed=7)

    assert not outcome.failed
    assert outcome.lost > 0


def test_losses_are_counted_once() -> None:
    """An instance that is missing in several ways and at several checks is one loss, of one cut."""
    outcome = Outcome()
    nothing: frozenset[str] = frozenset()
    outcome.add(Missing(frozenset({"1"}), frozenset({"1", "2"}), nothing))
    outcome.add(Missing(frozenset({"1"}), nothing, frozenset({"3"})))
    outcome.add(Missing(frozenset({"1"}), nothing, nothing))
    outcome.add(Missing(nothing, nothing, nothing))

    assert (3, 2) == (outcome.lost, outcome.cuts_with_losses)


@pytest.mark.parametrize(
    ("case", "outcome", "expected"),
    [
        (Case(), Outcome(acknowledged=5), 0),
        (Case(), Outcome(acknowledged=5, not_found={"1"}), 1),
        (Case(), Outcome(acknowledged=5, altered={"1"}), 1),
        (Case(), Outcome(acknowledged=5, bad_rows=1), 1),
        (Case(), Outcome(acknowledged=5, refused=1), 1),
        (Case(), Outcome(acknowledged=5, failed="late"), 1),
        (Case(mutant="no-file-sync"), Outcome(acknowledged=5, not_sent={"1"}), 0),
        (Case(mutant="no-file-sync"), Outcome(acknowledged=5), 1),
        (Case(server="orthanc"), Outcome(acknowledged=5, not_sent={"1"}), 0),
    ],
)
def test_the_exit_code_tells(case: Case, outcome: Outcome, expected: int) -> None:
    """0 where pacsnode loses nothing, and where a fault put in is found; peers are only reported."""
    assert expected == verdict([(case, outcome)])
