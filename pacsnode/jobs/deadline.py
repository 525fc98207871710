"""By when a job is to be done, by its own schedule. Pure: no clock, no I/O."""

from __future__ import annotations

from datetime import datetime, timedelta

from pacsnode.jobs.calendar import Calendar


def due_by(calendar: Calendar, longest_run: float, since: datetime, under_way: datetime | None) -> datetime:
    """The moment after which a success is overdue; ``since``: when it was last done, or first expected to run.

    The first period since then is to be done. That may take as long as a run does (``longest_run`` seconds, or from one
    period to the next), and so may a run that is under way since its moment.
    """
    end = _end(calendar, longest_run, calendar.after(since))
    return end if under_way is None else max(end, _end(calendar, longest_run, under_way))


def _end(calendar: Calendar, longest_run: float, start: datetime) -> datetime:
    """When a run that begins then has to end."""
    if longest_run:
        return start + timedelta(seconds=longest_run)
    first = calendar.after(start)
    return start + (calendar.after(first) - first)
