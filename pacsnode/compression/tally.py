"""What a run did, counted: by codec and modality what was gained, by reason what was left alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pacsnode.jobs.job import JobReport

_MAX_REASONS = 50  # in one report


@dataclass(slots=True)
class Tally:
    """Counts of one run."""

    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    instances: Counter[tuple[str, str]] = field(default_factory=Counter)  # codec and modality
    before: Counter[tuple[str, str]] = field(default_factory=Counter)
    after: Counter[tuple[str, str]] = field(default_factory=Counter)

    def gained(self, codec: str, modality: str, *, before: int, after: int) -> None:
        """An instance was compressed."""
        kind = codec, modality
        self.instances[kind] += 1
        self.before[kind] += before
        self.after[kind] += after

    def left(self, reason: str, *, has_failed: bool = False) -> None:
        """An instance was left alone; ``has_failed``: it should have been possible."""
        self.reasons[reason] += 1
        self.failed += has_failed

    @property
    def saved(self) -> int:
        """Bytes."""
        return self.before.total() - self.after.total()

    @property
    def seen(self) -> int:
        """How many instances were looked into."""
        return self.instances.total() + self.reasons.total()

    def report(self, *, finished: bool, more: Iterable[tuple[str, int | float | str]] = ()) -> JobReport:
        """All of it."""
        details: dict[str, int | float | str] = dict(more)
        for kind, count in sorted(self.instances.items()):
            name = " ".join(filter(None, kind))
            details[f"{name} instances"] = count
            details[f"{name} bytes before"] = self.before[kind]
            details[f"{name} bytes after"] = self.after[kind]
            details[f"{name} ratio"] = ratio(self.before[kind], self.after[kind])
        for reason, count in self.reasons.most_common(_MAX_REASONS):
            details[f"left alone: {reason}"] = count
        return JobReport(
            done=self.instances.total(),
            skipped=self.reasons.total() - self.failed,
            failed=self.failed,
            bytes_before=self.before.total(),
            bytes_after=self.after.total(),
            finished=finished,
            details=details,
        )


def ratio(before: int, after: int) -> float:
    """How many times smaller, to two digits; 0 where there is nothing."""
    return round(before / after, 2) if after else 0.0
