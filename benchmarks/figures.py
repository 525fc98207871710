"""What a benchmark measured: values per round, their median, and how they compare to another's of the same rounds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from benchmarks.senders import Sent
from benchmarks.servers import PACSNODE


class Quantity(Enum):
    """What is measured, with its unit."""

    INSTANCE_RATE = "instances/s"
    ASSOCIATION_RATE = "associations/s"
    MEGABYTE_RATE = "MB/s"
    CORE_RATE = "MB per second of a core"
    SMALLER = "x smaller"
    P50 = "p50 ms"
    P99 = "p99 ms"
    REFUSED = "refused"
    FAILED = "failed"
    MATCHES = "matches"
    CPU = "% of a core"
    PEAK_MEMORY = "peak MiB"
    GROWN_MEMORY = "MiB above idle"
    SUCCESS = "% Success"
    DURATION = "s"
    LEFT_ALONE = "left alone"
    EACH = "µs of a core each"

    @property
    def more_is_better(self) -> bool:
        """Is a larger value the better one?"""
        return self.value.endswith("/s") or self in (Quantity.SUCCESS, Quantity.CORE_RATE, Quantity.SMALLER)

    @property
    def is_failure(self) -> bool:
        """Does it count what should not happen?"""
        return self in (Quantity.REFUSED, Quantity.FAILED)


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantity of one subject in one cell of a benchmark, a value for each round."""

    cell: str  # what was done, e.g. "CT, 4 associations"
    subject: str  # who did it
    quantity: Quantity
    rounds: tuple[float, ...]

    @property
    def value(self) -> float:
        """What stands for all rounds: the median; of failures the sum, since a single one counts."""
        return sum(self.rounds) if self.quantity.is_failure else statistics.median(self.rounds)


class Tally:
    """Collects values while a benchmark runs, in the order in which they come."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str, Quantity], list[float]] = {}

    def add(self, cell: str, subject: str, quantity: Quantity, value: float) -> None:
        """A value of one more round."""
        self._values.setdefault((cell, subject, quantity), []).append(value)

    def add_sent(self, cell: str, subject: str, sent: Sent) -> None:
        """What parallel senders found."""
        self.add(cell, subject, Quantity.INSTANCE_RATE, sent.instances_per_second)
        self.add(cell, subject, Quantity.MEGABYTE_RATE, sent.megabytes_per_second)
        self.add(cell, subject, Quantity.P50, sent.milliseconds(0.50))
        self.add(cell, subject, Quantity.P99, sent.milliseconds(0.99))
        self.add(cell, subject, Quantity.REFUSED, sent.refused)

    def figures(self) -> list[Figure]:
        """Everything so far."""
        return [Figure(*key, tuple(values)) for key, values in self._values.items()]


def find(figures: Iterable[Figure], cell: str, subject: str, quantity: Quantity) -> Figure | None:
    """The figure of this cell, subject and quantity."""
    wanted = (cell, subject, quantity)
    return next((figure for figure in figures if (figure.cell, figure.subject, figure.quantity) == wanted), None)


def times_better(ours: Figure, theirs: Figure) -> float | None:
    """How many times better ours is: the median of the ratios of each round. None where there is nothing to divide by.

    Rounds of different number, as of steps that belong together otherwise, are compared by their medians.
    """
    if len(ours.rounds) == len(theirs.rounds):
        pairs = list(zip(ours.rounds, theirs.rounds, strict=True))
    else:
        pairs = [(ours.value, theirs.value)]
    if not ours.quantity.more_is_better:
        pairs = [(theirs_value, ours_value) for ours_value, theirs_value in pairs]
    if any(denominator == 0 for _, denominator in pairs):
        return None
    return statistics.median(numerator / denominator for numerator, denominator in pairs)


def main_ratio(figures: Sequence[Figure], cell: str, subject: str) -> float | None:
    """How many times better pacsnode is than the subject in the first quantity of the cell."""
    quantity = next(figure.quantity for figure in figures if figure.cell == cell)
    ours = find(figures, cell, PACSNODE, quantity)
    theirs = find(figures, cell, subject, quantity)
    return times_better(ours, theirs) if ours and theirs and subject != PACSNODE else None
