"""What the ledger knows of runs, and what it complains about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from pacsnode.jobs.job import JobReport


class Result(Enum):
    """What became of a run."""

    DONE = "done"
    FAILED = "failed"  # it raised an error
    STOPPED = "stopped"  # with the node, before its budget was spent; the next start goes on
    ABANDONED = "abandoned"  # its process ended under it; seen at the next start, which runs the period again, once


class AlarmKind(Enum):
    """Why a period has no run that is done."""

    MISSED = "missed"  # periods that passed while the node was down or busy; the newest one was run instead
    FAILED = "failed"
    ABANDONED = "abandoned"
    CLOCK = "clock"  # the clock was set back behind the moment since which the job is known
    NOT_STARTED = "not_started"  # the scheduler could not begin a run


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job."""

    job: str
    scheduled_for: datetime  # of one asked for by hand, when that was
    is_by_hand: bool
    node: str
    attempt: int  # 1, or more where an earlier one was cut off
    started: datetime
    heartbeat: datetime
    finished: datetime | None = None
    result: Result | None = None  # None: under way, or nobody knows yet
    report: JobReport | None = None
    reason: str = ""  # of a failure


@dataclass(frozen=True, slots=True)
class Alarm:
    """Periods of a job that have no run that is done, or something else that should not be so."""

    job: str
    kind: AlarmKind
    since: datetime
    until: datetime  # the last one
    periods: int
    noticed: datetime
    reason: str = ""
