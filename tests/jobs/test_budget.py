"""What a run may spend."""

from __future__ import annotations

import math
import threading

import pytest

from pacsnode.jobs.budget import RunBudget
from pacsnode.jobs.latency import Latency


class Watch:
    """A clock that goes on while one waits, and counts what was waited for."""

    def __init__(self) -> None:
        self.seconds = 100.0
        self.waited = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.seconds += seconds
        self.waited += seconds


@pytest.mark.parametrize("size", [1, 10_000, 1_000_000, 30_000_000])
@pytest.mark.parametrize("rate", [1_000_000, 50 * 2**20])
def test_rate_is_kept(size: int, rate: int) -> None:
    """Whatever the size of the items, as many bytes as the rate allows are spent, to a tenth."""
    watch = Watch()
    budget = RunBudget(rate=rate, monotonic=watch.monotonic, wait=watch.wait)
    count = max(20 * rate // size, 10) if size > 1 else 1000
    work_seconds = min(size / rate / 3, 0.01)  # what an item itself takes is part of the time
    for _ in range(count):
        watch.seconds += work_seconds
        budget.spend(size)

    spent_seconds = watch.seconds - 100.0
    assert size * count / rate == pytest.approx(spent_seconds, rel=0.1)


def test_rate_is_kept_by_several_threads_together() -> None:
    """The rate is that of the run, not of each of its threads."""
    budget = RunBudget(rate=1_000_000)

    def spend() -> None:
        for _ in range(10):
            budget.spend(20_000)

    threads = [threading.Thread(target=spend) for _ in range(3)]
    began = budget._monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 0.45 < budget._monotonic() - began < 0.9


def test_rest_is_not_saved_up() -> None:
    """After an hour without spending, no hour's worth of bytes is spent at once."""
    watch = Watch()
    budget = RunBudget(rate=1000, monotonic=watch.monotonic, wait=watch.wait)
    watch.seconds += 3600
    for _ in range(10):
        budget.spend(1000)

    assert 9.5 < watch.waited


def test_time_is_kept() -> None:
    """A run has expired when its time is over, and does not wait beyond it."""
    watch = Watch()
    budget = RunBudget(seconds=5, rate=10, monotonic=watch.monotonic, wait=watch.wait)
    before = budget.expired()
    budget.spend(1_000_000)

    assert (False, True) == (before, budget.expired())
    assert 5 == pytest.approx(watch.waited)


def test_stop_ends_the_waiting() -> None:
    """Who waits for the rate when the node stops goes on at once, and sees that the run has expired."""
    stopping, done = threading.Event(), threading.Event()
    budget = RunBudget(rate=1, stopping=stopping)

    def spend() -> None:
        budget.spend(1_000_000)
        done.set()

    thread = threading.Thread(target=spend)
    thread.start()
    stopping.set()

    assert done.wait(5)
    assert budget.expired()
    thread.join()


def test_pause_while_receiving_is_slow() -> None:
    """An item waits until receiving is as usual again, and two seconds at most."""
    watch = Watch()
    until = 101.0
    budget = RunBudget(is_slow=lambda: watch.seconds < until, monotonic=watch.monotonic, wait=watch.wait)
    budget.spend(1)
    first = watch.waited
    until = math.inf
    budget.spend(1)

    assert [1.0, 2.0] == pytest.approx([first, watch.waited - first], abs=0.06)


def test_beats_every_ten_seconds() -> None:
    """The heartbeat goes on while the job advances, and is not written for each item."""
    watch = Watch()
    beats: list[float] = []
    budget = RunBudget(monotonic=watch.monotonic, wait=watch.wait, beat=lambda: beats.append(watch.seconds))
    for number in range(100):
        watch.seconds += 0.5
        budget.advance(number, None)

    assert [110.0, 120.0, 130.0, 140.0, 150.0] == beats


def test_a_stream_is_felt_between_its_instances() -> None:
    """Something is received from one instance on until none came for a tenth of a second; not before the first."""
    watch = Watch()
    latency = Latency(watch.monotonic)
    assert not latency.is_receiving()
    for _ in range(3):
        latency.note(0.001)
        assert latency.is_receiving()
        watch.seconds += 0.08
        assert latency.is_receiving()
    watch.seconds += 0.03

    assert not latency.is_receiving()


def test_latency_against_what_is_usual() -> None:
    """Receiving is slow when it takes half as long again as usual; a slow disk alone is usual."""
    watch = Watch()
    latency = Latency(watch.monotonic)

    def commits(seconds: float, count: int = 320) -> bool:
        for _ in range(count):
            latency.note(seconds)
        return latency.is_high()

    assert not latency.is_high()
    assert [False, True, False, False] == [commits(0.020), commits(0.040), commits(0.020), commits(0.024)]
    commits(0.040)
    watch.seconds += 6

    assert not latency.is_high(), "nothing was received lately"


def test_fast_commits_are_not_called_slow() -> None:
    """A fraction of a millisecond more is nobody's trouble."""
    latency = Latency()
    for seconds in (0.0005, 0.0015):
        for _ in range(320):
            latency.note(seconds)

    assert not latency.is_high()
