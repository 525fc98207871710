"""The composition of jobs: Config + Archive → what this node does by itself. Who adds a job adds a builder here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pacsnode import config as configuration
from pacsnode.archive import Archive
from pacsnode.compression.job import CompressionJob, may_go_at_once, sandboxed
from pacsnode.compression.kept import KeptOriginals
from pacsnode.compression.overview import waiting as compression_waiting
from pacsnode.compression.policy import policy_of
from pacsnode.config import Config
from pacsnode.housekeeping import Housekeeping
from pacsnode.integrity.ledger import Ledger as IntegrityLedger
from pacsnode.integrity.repair import Copies, Repairer
from pacsnode.integrity.scrub import Scrub
from pacsnode.jobs.calendar import calendar
from pacsnode.jobs.duty import Duty
from pacsnode.jobs.job import Job
from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.runner import Runner
from pacsnode.jobs.zone import zone_named
from pacsnode.service.reload import Part

if TYPE_CHECKING:
    from pacsnode.backup.backup import NodeBackup

_GIVE_WAY = frozenset({"compression"})  # what can wait, and takes what receiving needs: processors and the disk
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


def _integrity(premises: Premises) -> Scrub:
    table = premises.config.jobs.integrity
    ledger = premises.stack.enter_context(closing(IntegrityLedger(premises.folder / "integrity.db")))
    places = _places(premises) if table.repair else {}
    repairer = Repairer(premises.archive, places)
    return Scrub(premises.archive, ledger, repairer, full_pass=timedelta(seconds=table.full_pass))


def _places(premises: Premises) -> dict[str, Copies]:
    """Where copies of objects may be had, the best first."""
    config, archive, folder = premises.config, premises.archive, premises.folder
    places: dict[str, Copies] = {"kept original": KeptOriginals(archive, folder, config.node.data, sandboxed)}
    if config.jobs.backup.target:
        from pacsnode.backup.backup import NodeCopies  # obstore takes its time, which most commands need not wait for

        places["backup"] = NodeCopies(node_backup(config, premises.folder))
    if config.jobs.integrity.repair_from:
        from pacsnode.dimse import fetch, tls  # takes half a second, which the offline commands need not wait for

        for name in config.jobs.integrity.repair_from:
            places[f"peer {name}"] = fetch.PeerCopies(
                config.peers[name],
                premises.archive.index.versions,
                ae_title=config.node.ae_title,
                limits=config.limits,
                folder=config.node.data / "spool",
                secure=tls.for_requestor(config.tls) if config.peers[name].tls else None,
            )
    return places


def _backup(premises: Premises) -> Job:
    from pacsnode.backup import jobs  # obstore and pyrage take their time, which most commands need not wait for

    return jobs.BackupJob(node_backup(premises.config, premises.folder), premises.archive)


def _backup_verify(premises: Premises) -> Job:
    from pacsnode.backup import jobs  # as above

    wanted = partial(compression_waiting, premises.folder)
    return jobs.VerifyJob(node_backup(premises.config, premises.folder), premises.archive, wanted)


def _backup_drill(premises: Premises) -> Job:
    from pacsnode.backup import jobs  # as above

    return jobs.DrillJob(node_backup(premises.config, premises.folder), premises.archive)


def _compression(premises: Premises) -> Job:
    config = premises.config
    policy = policy_of(config.jobs.compression)
    keeps = config.jobs.keeps_originals
    may_go = node_backup(config, premises.folder).holding if keeps else may_go_at_once
    return CompressionJob(premises.archive, premises.folder, policy, scratch=config.node.data, may_go=may_go)


_BUILDERS: Mapping[str, Callable[[Premises], Job]] = {
    "housekeeping": _housekeeping,
    "integrity": _integrity,
    "compression": _compression,
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
def engaged(config: Config, archive: Archive, folder: Path) -> Iterator[tuple[Runner, Part]]:
    """A runner of all jobs, for which the data folder's lock must be held unless they are only rehearsed; and what has
    it take another configuration.

    Raises IndexFailure, and what the jobs raise when they are made.
    """
    with closing(open_ledger(config, folder)) as ledger, ExitStack() as stack:
        premises = Premises(config, archive, ledger, folder, stack)
        runner = Runner(_duties(premises), ledger, clock=archive.clock)
        yield runner, Part(["jobs"], _Reloading(runner, premises).prepare)


def _duties(premises: Premises) -> list[Duty]:
    return [_duty(name, premises) for name in _BUILDERS]


class _Reloading:
    """Other jobs for a runner. What the former ones have open is closed with the runner: a run may be under way."""

    def __init__(self, runner: Runner, premises: Premises) -> None:
        self._runner = runner
        self._premises = premises

    def prepare(self, config: Config) -> Callable[[], None]:
        """See Part."""
        before = self._premises.config
        if (config.jobs, config.peers) == (before.jobs, before.peers):
            return lambda: None
        premises = replace(self._premises, config=config)
        duties = _duties(premises)

        def take_effect() -> None:
            self._premises = premises
            self._runner.adopt(duties)

        return take_effect


def _duty(name: str, premises: Premises) -> Duty:
    jobs = premises.config.jobs
    table, zone = jobs.tables[name], zone_named(jobs.time_zone)
    job = _BUILDERS[name](premises)
    return Duty(
        job=job,
        by_hand=job.whole() if isinstance(job, Scrub) else None,
        schedule=f"{table.schedule} {zone}",
        calendar=calendar(table.schedule, zone),
        is_enabled=table.enabled,
        longest_run=table.longest_run,
        rate=getattr(table, "rate", 0),
        gives_way=name in _GIVE_WAY,
    )
