"""The composition of jobs: Config + Archive → what this node does by itself. Who adds a job adds a builder here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pacsnode import config as configuration
from pacsnode.archive import Archive
from pacsnode.config import Config
from pacsnode.housekeeping import Housekeeping
from pacsnode.jobs.calendar import calendar
from pacsnode.jobs.duty import Duty
from pacsnode.jobs.job import Job
from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.runner import Runner
from pacsnode.jobs.zone import zone_named

if TYPE_CHECKING:
    from pacsnode.backup.backup import NodeBackup

_STATE_FILES = ("jobs.db", "compression.db", "integrity.db")  # what lies beside the index and is not made of it


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


def _backup(premises: Premises) -> Job:
    from pacsnode.backup import jobs  # obstore and pyrage take their time, which most commands need not wait for

    return jobs.BackupJob(node_backup(premises.config, premises.folder), premises.archive)


def _backup_verify(premises: Premises) -> Job:
    from pacsnode.backup import jobs  # as above

    return jobs.VerifyJob(node_backup(premises.config, premises.folder), premises.archive)


def _backup_drill(premises: Premises) -> Job:
    from pacsnode.backup import jobs  # as above

    return jobs.DrillJob(node_backup(premises.config, premises.folder), premises.archive)


_BUILDERS: Mapping[str, Callable[[Premises], Job]] = {
    "housekeeping": _housekeeping,
    "backup": _backup,
    "backup_verify": _backup_verify,
    "backup_drill": _backup_drill,
}
"""Each job by its name, which is that of its table in the configuration, ``[jobs.NAME]``."""


def node_backup(config: Config, folder: Path) -> NodeBackup:
    """The backup of this node; opens nothing. ``folder`` is that of the index."""
    from pacsnode.backup import backup  # as above

    state = (config.node.data / "commitments.db", *(folder / name for name in _STATE_FILES))
    return backup.from_config(config, folder, state, configuration.toml(config))


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
