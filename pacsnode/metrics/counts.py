"""Counters of what peers do, kept as plain numbers: an operation costs a lock that nobody holds long."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import islice

MOST_TITLES = 200
"""AE titles that have a label of their own: configured peers alone, so that no stranger makes one."""
OTHER = "other"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)
"""Upper bounds of the buckets of durations."""
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Upper bounds of the buckets of what is made durable together."""
_OPERATIONS = {
    0x0001: "C-STORE",
    0x0010: "C-GET",
    0x0020: "C-FIND",
    0x0021: "C-MOVE",
    0x0030: "C-ECHO",
    0x0100: "N-EVENT-REPORT",
    0x0130: "N-ACTION",
}
OPERATIONS = (*_OPERATIONS.values(), OTHER)
_REASONS = {
    (1, 1, 2): "application_context",
    (1, 1, 3): "calling_ae",
    (1, 1, 7): "called_ae",
    (1, 2, 1): "user",
    (1, 2, 2): "protocol_version",
    (2, 3, 1): "congestion",
    (2, 3, 2): "limit",
}
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})
_CANCEL = 0xFE00


class Histogram:
    """Counts by upper bound, and their sum. Not locked: its owner is."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """One more."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """For each bound how many were not above it, the last one without a bound."""
        total, found = 0, []
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Counts:
    """What was counted since the start. Safe to use from several threads; keeps what ``dimse.observer`` promises."""

    def __init__(self, titles: Collection[str] = ()) -> None:
        """``titles``: AE titles of the configured peers."""
        self.lock = threading.Lock()
        """To be held by who reads several of these at once."""
        self.operations: Counter[tuple[str, str, str]] = Counter()  # operation, class of its status, AE title
        self.durations = {name: Histogram() for name in OPERATIONS}
        self.commits = Histogram()
        self.batches = Histogram(BATCHES)
        self.transactions = Histogram()
        self.received_bytes = 0
        self.associations: Counter[tuple[str, str]] = Counter()  # result, reason
        self.violations: Counter[str] = Counter()
        self.suboperations: Counter[tuple[str, str]] = Counter()
        self._titles: frozenset[str] = frozenset()
        self.adopt(titles)

    def adopt(self, titles: Collection[str]) -> None:
        """Tell these apart from now on; the first 200 of them, in order."""
        self._titles = frozenset(islice(sorted(titles), MOST_TITLES - 1))

    def opened(self) -> None:
        """See Observer."""
        with self.lock:
            self.associations["accepted", "none"] += 1

    def rejected(self, result: int, source: int, reason: int) -> None:
        """See Observer."""
        with self.lock:
            self.associations["rejected", _REASONS.get((result, source, reason), OTHER)] += 1

    def violated(self, kind: str) -> None:
        """See Observer."""
        with self.lock:
            self.violations[kind] += 1

    def answered(
        self, command_field: int, calling_ae: str, status: int, seconds: float, kept: tuple[int, float] | None = None
    ) -> None:
        """See Observer."""
        operation = _OPERATIONS.get(command_field, OTHER)
        title = calling_ae if calling_ae in self._titles else OTHER
        of = (operation, status_class(status), title)
        with self.lock:
            self.operations[of] = self.operations.get(of, 0) + 1
            self.durations[operation].observe(seconds)
            if kept is not None:
                self.received_bytes += kept[0]
                self.commits.observe(kept[1])

    def committed(self, changes: int, seconds: float) -> None:
        """See Index.observe."""
        with self.lock:
            self.batches.observe(changes)
            self.transactions.observe(seconds)

    def sent(self, operation: str, *, completed: int, failed: int, warning: int) -> None:
        """See Observer."""
        with self.lock:
            for result, count in (("completed", completed), ("failed", failed), ("warning", warning)):
                self.suboperations[operation, result] += count


def status_class(status: int) -> str:
    """Success, warning, cancel or failure (PS3.7 Annex C)."""
    if status == 0:
        return "success"
    if status == _CANCEL:
        return "cancel"
    return "warning" if status in _WARNINGS or 0xB000 <= status <= 0xBFFF else "failure"
