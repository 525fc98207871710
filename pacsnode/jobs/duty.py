"""A job with when it runs and what a run may spend: what the roster says of each."""

from __future__ import annotations

from dataclasses import dataclass

from pacsnode.jobs.calendar import Calendar
from pacsnode.jobs.job import Job


@dataclass(frozen=True, slots=True)
class Duty:
    """A job of this node."""

    job: Job
    schedule: str
    """The schedule with its time zone, as text: when it changes, what came before is not missed any more."""
    calendar: Calendar
    is_enabled: bool  # else it runs only when asked for
    longest_run: float = 0.0
    """Seconds; 0 is the time from one run to the next."""
    rate: int = 0
    """Bytes per second; 0 is no limit."""
    gives_way: bool = False
    """Each item waits while anything is received, not only while receiving is slow; up to the same time."""
    by_hand: Job | None = None
    """What runs where somebody asks for it, if that is another thing than what is due."""
