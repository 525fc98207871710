"""Destinations that cannot be reached are left alone for a while, so that nobody waits for a time-out again and again.

Times are seconds of the monotonic clock that is passed in; the state is in memory.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pacsnode import log
from pacsnode.errors import PeerFailure

FAILURES_TO_OPEN = 3  # in a row
FIRST_BACK_OFF_SECONDS = 5.0
LAST_BACK_OFF_SECONDS = 300.0


@dataclass(slots=True)
class _Circuit:
    """What we know of one destination; it is open, that is left alone, while there is a back-off."""

    failures: int = 0
    back_off: float = 0.0
    retry_at: float = 0.0
    is_on_trial: bool = False


class CircuitBreaker:
    """Whether a destination may be called now. Safe to use from several threads.

    After three failures in a row it may not for 5 s, then one attempt decides: its failure doubles the time, up to
    5 min, its success lets everybody through again.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._circuits: dict[str, _Circuit] = {}

    @contextmanager
    def attempt(self, destination: str) -> Iterator[None]:
        """Connect and associate within this block: a PeerFailure counts as a failure, the block's end as success.

        Raises PeerFailure at once while the destination is left alone, which counts as nothing.
        """
        with self._lock:
            circuit = self._circuits.setdefault(destination, _Circuit())
            is_trial = self._admit(circuit)
        try:
            yield
        except PeerFailure:
            self._failed(destination, circuit, is_trial=is_trial)
            raise
        except BaseException:
            with self._lock:
                circuit.is_on_trial = circuit.is_on_trial and not is_trial
            raise
        self._succeeded(destination, circuit)

    def _admit(self, circuit: _Circuit) -> bool:
        """Let an attempt through, or raise PeerFailure; whether it is the one that decides."""
        if not circuit.back_off:
            return False
        left = circuit.retry_at - self._monotonic()
        if left > 0 or circuit.is_on_trial:
            raise PeerFailure(f"not called again yet after {circuit.failures} failures in a row")
        circuit.is_on_trial = True
        return True

    def _failed(self, destination: str, circuit: _Circuit, *, is_trial: bool) -> None:
        with self._lock:
            was_open = circuit.back_off > 0
            circuit.failures += 1
            if is_trial:
                circuit.is_on_trial = False
                circuit.back_off = min(2 * circuit.back_off, LAST_BACK_OFF_SECONDS)
            elif not was_open and circuit.failures >= FAILURES_TO_OPEN:
                circuit.back_off = FIRST_BACK_OFF_SECONDS
            else:
                return  # too few, or an attempt that began before the circuit opened
            circuit.retry_at = self._monotonic() + circuit.back_off
        if not was_open:
            log.event("destination_left_alone", level=logging.WARNING, peer=destination, failures=circuit.failures)

    def _succeeded(self, destination: str, circuit: _Circuit) -> None:
        with self._lock:
            was_open, failures = circuit.back_off > 0, circuit.failures
            circuit.failures, circuit.back_off, circuit.is_on_trial = 0, 0.0, False
        if was_open:
            log.event("destination_back", peer=destination, failures=failures)
