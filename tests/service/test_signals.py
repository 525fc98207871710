"""Signals that are waited for; in this process, whose main thread pytest is."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from pacsnode.service.signals import Signals, ignore_reload

_SECONDS = 5.0
_BURST = 2000  # more than the socket that wakes has room for


@pytest.fixture
def signals() -> Iterator[Signals]:
    """Those of this process, given back afterwards."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    made = Signals()
    yield made
    made.close()
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_what_came_is_told_once(signals: Signals) -> None:
    """A signal is told to who waits, however long ago it came, and then no more."""
    os.kill(os.getpid(), signal.SIGHUP)

    assert signal.SIGHUP == signals.wait(_SECONDS)
    assert signals.wait(0.01) is None


def test_a_burst_hides_no_stop(signals: Signals) -> None:
    """Thousands of SIGHUPs are one, and SIGTERM is told before it."""
    for _ in range(_BURST):
        os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)

    assert [signal.SIGTERM, signal.SIGHUP, None] == [signals.wait(_SECONDS), signals.wait(_SECONDS), signals.wait(0.01)]


def test_sighup_before_and_after(signals: Signals) -> None:
    """Neither a node that starts nor one that has stopped ends by a SIGHUP."""
    signals.close()
    os.kill(os.getpid(), signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    ignore_reload()
    os.kill(os.getpid(), signal.SIGHUP)

    assert signal.SIG_IGN == signal.getsignal(signal.SIGHUP)
