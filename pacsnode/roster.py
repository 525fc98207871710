"""The composition of jobs: Config + Archive → what this node does by itself. Who adds a job adds a builder here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pacsnode.archive import Archive
from pacsnode.compression.job import CompressionJob, may_go_at_once
from pacsnode.compression.policy import policy_of
from pacsnode.config import Config
from pacsnode.housekeeping import Housekeeping
from pacsnode.jobs.calendar import calendar
from pacsnode.jobs.duty import Duty
from pacsnode.jobs.job import Job
from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.runner import Runner
from pacsnode.jobs.zone import zone_named


@dataclass(frozen=True)
class Premises:
    """What jobs are made of. ``folder`` is that of the index: state files go there. ``stack`` closes what they open."""

    config: Config
    archive: Archive
    ledger: Ledger
    folder: Path
    stack: ExitStack


def _housekeeping(premises: Premises) -> Job:
    return Housekeeping(premises.archive, premises.ledger)


def _compression(premises: Premises) -> Job:
    config = premises.config
    policy = policy_of(config.jobs.compression)
    # keep_original: without a backup there is none to wait for.
    return CompressionJob(premises.archive, premises.folder, policy, scratch=config.node.data, may_go=may_go_at_once)


_BUILDERS: Mapping[str, Callable[[Premises], Job]] = {
    "housekeeping": _housekeeping,
    "compression": _compression,
}
"""Each job by its name, which is that of its table in the configuration, ``[jobs.NAME]``."""


def open_ledger(config: Config, folder: Path) -> Ledger:
    """The ledger of runs in the folder of the index; works beside a running node. Raises IndexFailure."""
    return Ledger(folder / "jobs.db", config.node.ae_title)


@contextmanager
def engaged(config: Config, archive: Archive, folder: Path) -> Iterator[Runner]:
    """A runner of all jobs, for which the data folder's lock must be held unless they are only rehearsed.

    Raises IndexFailure, and what the jobs raise when they are made.
    """
    with closing(open_ledger(config, folder)) as ledger, ExitStack() as stack:
        premises = Premises(config, archive, ledger, folder, stack)
        yield Runner([_duty(name, premises) for name in _BUILDERS], ledger, clock=archive.clock)


def _duty(name: str, premises: Premises) -> Duty:
    jobs = premises.config.jobs
    table, zone = jobs.tables[name], zone_named(jobs.time_zone)
    return Duty(
        job=_BUILDERS[name](premises),
        schedule=f"{table.schedule} {zone}",
        calendar=calendar(table.schedule, zone),
        is_enabled=table.enabled,
        longest_run=table.longest_run,
        rate=getattr(table, "rate", 0),
    )
