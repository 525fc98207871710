"""What a job is. It works in slices between which it asks its budget, and may be killed anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class Budget(Protocol):
    """What a run may spend, and whether it is still wanted. Safe to use from several threads."""

    def expired(self) -> bool:
        """Is the time used up, or is the node about to stop? To be asked between two items; then the run ends."""

    def spend(self, size: int) -> None:
        """Tell of bytes read or written; waits as long as the rate asks for, and while receiving is slow.

        Returns at once when the budget has expired.
        """

    def advance(self, done: int, total: int | None) -> None:
        """Tell how far the run is, for who watches; keeps the heartbeat of the ledger going."""


@dataclass(frozen=True, slots=True)
class JobReport:
    """What a run did. Counts are of items (instances, objects, snapshots: the job says which), sizes in bytes."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    finished: bool = True  # else the budget ended it, and the next run goes on
    details: Mapping[str, int | float | str] = field(default_factory=dict)  # no patient data


class Job(Protocol):
    """Safe to run again, from wherever a run was killed: nothing half-done is visible, and the next run goes on."""

    @property
    def name(self) -> str:
        """How configuration, commands and ledger call it."""

    def run(self, budget: Budget) -> JobReport:
        """Do what is due until the budget has expired. Raises PacsNodeError where nothing can be done at all."""

    def rehearse(self, budget: Budget) -> JobReport:
        """Say what ``run`` would do, as far as can be told without doing it; changes nothing."""
