"""The tables of the jobs. A job has a table ``[jobs.NAME]``: a field of that name in ``Jobs``, of its own class."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator

from pacsnode.config.schedule import ScheduleText, parse
from pacsnode.config.table import Table
from pacsnode.config.values import DurationOrNone


def _zone(name: str) -> str:
    if name and name not in available_timezones():
        raise ValueError(
            'not a time zone; a name of the IANA database such as "Europe/Brussels", or "" for the machine\'s'
        )
    return name


class JobTable(Table):
    """What all jobs have in common. A subclass gives the defaults; it needs a default for every key."""

    enabled: bool = True
    """true: it runs by its schedule; false: only by `pacsnode job run`."""
    schedule: ScheduleText = parse("every 1 h")
    """When it runs: "every 5 min", or minute, hour, day, month and day of the week as of cron: "0 2 * * *"."""
    longest_run: DurationOrNone = 0.0
    """Time after which a run ends, and the next one goes on; "0 s" is the time from one run to the next."""


class Housekeeping(JobTable):
    """The job that checks the file of the index and forgets old runs of all jobs."""

    schedule: ScheduleText = parse("30 3 * * *")
    """When it runs: "every 5 min", or minute, hour, day, month and day of the week as of cron: "0 2 * * *"."""
    longest_run: DurationOrNone = 300.0
    """Time after which a run ends, and the next one goes on; "0 s" is the time from one run to the next."""


class Jobs(Table):
    """What is done by itself; see the chapter of jobs in docs/operations.md. Each job has a table of its own below."""

    time_zone: Annotated[str, AfterValidator(_zone)] = ""
    """Time zone of schedules such as "0 2 * * *": a name such as "Europe/Brussels"; "" is the machine's."""
    housekeeping: Housekeeping = Housekeeping()

    @property
    def tables(self) -> dict[str, JobTable]:
        """The table of each job by the job's name."""
        fields = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {name: value for name, value in fields if isinstance(value, JobTable)}
