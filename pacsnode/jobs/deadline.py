"""By when a job is to be done, by its own schedule. Pure: no clock, no I/O."""

from __future__ import annotations

from datetime import datetime, timedelta

from pacsnode.jobs.duty import Duty
from pacsnode.jobs.record import Run


def due_by(duty: Duty, since: datetime, under_way: Run | None) -> datetime:
    """The moment after which a success is overdue; ``since``: when it was last done, or first expected to run.

    The first period since then is to be done. That may take as long as a run does, and so may the run under way.
    """
    end = _end(duty, duty.calendar.after(since))
    return end if under_way is None else max(end, _end(duty, under_way.started))


def _end(duty: Duty, start: datetime) -> datetime:
    """When a run that begins then has to end."""
    if duty.longest_run:
        return start + timedelta(seconds=duty.longest_run)
    first = duty.calendar.after(start)
    return start + (duty.calendar.after(first) - first)
