"""What is read when somebody asks, besides what is counted. Whoever runs the node gathers it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pacsnode.model import Totals


@dataclass(frozen=True, slots=True)
class JobFacts:
    """Of a job; None where it was never done."""

    failures: int  # since the start of the node
    last_success: datetime | None = None
    last_seconds: float | None = None  # that its last run took
    due: datetime | None = None  # from when on a success is overdue; of a job that runs by a schedule
    failed_items: int = 0  # of its last run


@dataclass(frozen=True, slots=True)
class BackupFacts:
    """Of a backup that is configured; None where it was never done."""

    as_of: datetime | None  # what was stored before is in it
    lag_seconds: float | None
    verified: datetime | None
    drilled: datetime | None  # and nothing was wrong
    drill_due: datetime | None  # from when on a drill is overdue
    is_failing: bool
    is_stale: bool
    damaged: int  # objects that are damaged here, and not in it


@dataclass(frozen=True, slots=True)
class AuditFacts:
    """Of the audit trail; None where there is no collector."""

    waiting: int  # messages not written yet
    lost: int
    is_failing: bool
    undelivered: int | None
    is_collector_failing: bool | None


@dataclass(frozen=True, slots=True)
class Facts:
    """How the node is now. None is what could not be read."""

    associations: int
    is_accepting: bool  # may instances be stored?
    free_bytes: Mapping[str, int]  # by what is there: "objects", "index"
    totals: Totals | None
    index_bytes: int
    wal_bytes: int
    quarantined: int
    commitments: int  # that are not reported yet
    commitment_seconds: float  # the age of the oldest
    jobs: Mapping[str, JobFacts] = field(default_factory=dict)
    findings: Mapping[str, int] = field(default_factory=dict)  # open ones, by kind
    closed_findings: Mapping[str, int] = field(default_factory=dict)  # by outcome
    last_full_scrub: datetime | None = None
    certificates: Mapping[str, datetime] = field(default_factory=dict)  # when they expire, by key of [tls]
    degraded: int = 0  # reasons that `status` names
    backup: BackupFacts | None = None
    audit: AuditFacts | None = None
    trash: tuple[int, int] = (0, 0)  # studies, bytes
    compressed: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # bytes before and after, by codec
