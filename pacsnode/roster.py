"""The composition of jobs: Config + Archive → what this node does by itself. Who adds a job adds a builder here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pacsnode import config as configuration
from pacsnode.archive import Archive
from pacsnode.audit import opening as audit
from pacsnode.audit.recorder import Recorder
from pacsnode.compression.database import STATE_FILE as COMPRESSION_FILE
from pacsnode.compression.database import CompressionState
from pacsnode.compression.job import CompressionJob, may_go_at_once, sandboxed
from pacsnode.compression.kept import KeptOriginals
from pacsnode.compression.overview import waiting as compression_waiting
from pacsnode.compression.policy import policy_of
from pacsnode.config import Config, rules
from pacsnode.housekeeping import Housekeeping
from pacsnode.integrity.ledger import Ledger as IntegrityLedger
from pacsnode.integrity.repair import Copies, Repairer
from pacsnode.integrity.scrub import Scrub
from pacsnode.jobs import deadline
from pacsnode.jobs.calendar import Calendar, calendar
from pacsnode.jobs.duty import Duty
from pacsnode.jobs.job import Job
from pacsnode.jobs.ledger import Ledger
from pacsnode.jobs.runner import Runner
from pacsnode.jobs.zone import zone_named
from pacsnode.model import Key
from pacsnode.retention.deletions import Deletions, take_objects
from pacsnode.retention.job import IsSafe, RetentionJob
from pacsnode.retention.ledger import NAME as RETENTION_FILE
from pacsnode.retention.ledger import Ledger as RetentionLedger
from pacsnode.retention.witness import AuditWitness, Witness, nobody
from pacsnode.service.reload import Part
from pacsnode.storage.filesystem import FilesystemStore

if TYPE_CHECKING:
    from pacsnode.backup.backup import NodeBackup

_GIVE_WAY = frozenset({"compression"})  # what can wait, and takes what receiving needs: processors and the disk
_STATE_FILES = (
    "jobs.db",
    "compression.db",
    "integrity.db",
    RETENTION_FILE,
)  # what lies beside the index and is not made of it


@dataclass(frozen=True)
class Premises:
    """What jobs are made of. ``folder`` is that of the index: state files go there. ``stack`` closes what they open."""

    config: Config
    archive: Archive
    ledger: Ledger
    folder: Path
    stack: ExitStack
    audit: Recorder


def _housekeeping(premises: Premises) -> Job:
    return Housekeeping(premises.archive, premises.ledger)


def _integrity(premises: Premises) -> Scrub:
    table = premises.config.jobs.integrity
    ledger = premises.stack.enter_context(closing(IntegrityLedger(premises.folder / "integrity.db")))
    places = _places(premises) if table.repair else {}
    repairer = Repairer(premises.archive, places)
    full_pass = timedelta(seconds=table.full_pass)
    return Scrub(premises.archive, ledger, repairer, full_pass=full_pass, audit=premises.audit)


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


def _retention(premises: Premises) -> Job:
    config, table = premises.config, premises.config.jobs.retention
    return RetentionJob(
        premises.archive,
        premises.stack.enter_context(
            deletions(config, premises.archive, premises.folder, AuditWitness(premises.audit))
        ),
        [rules.parse(text) for text in table.rules],
        requires_backup=table.require_backup,
        opened_backup=lambda: _opened_backup(premises),
    )


@contextmanager
def _opened_backup(premises: Premises) -> Iterator[IsSafe | None]:
    if not premises.config.jobs.backup.target:
        yield None
        return
    from pacsnode.backup.copies import BackupCopies  # as above

    with node_backup(premises.config, premises.folder).opened() as (knowledge, vault):
        yield BackupCopies(knowledge, vault).is_sound


_BUILDERS: Mapping[str, Callable[[Premises], Job]] = {
    "housekeeping": _housekeeping,
    "integrity": _integrity,
    "compression": _compression,
    "backup": _backup,
    "backup_verify": _backup_verify,
    "backup_drill": _backup_drill,
    "retention": _retention,
}
"""Each job by its name, which is that of its table in the configuration, ``[jobs.NAME]``."""


def node_backup(config: Config, folder: Path) -> NodeBackup:
    """The backup of this node; opens nothing. ``folder`` is that of the index."""
    from pacsnode.backup import backup  # as above

    state = (config.node.data / "commitments.db", *(folder / name for name in _STATE_FILES))
    return backup.from_config(config, folder, state, configuration.toml(config))


@contextmanager
def deletions(config: Config, archive: Archive, folder: Path, witness: Witness = nobody) -> Iterator[Deletions]:
    """What deletes studies of this node; for what changes anything the lock must be held. Raises IndexFailure."""
    with closing(RetentionLedger(folder / RETENTION_FILE)) as ledger, ExitStack() as stack:
        yield Deletions(
            archive,
            FilesystemStore(config.node.data, read_only=True).trash,
            ledger,
            folder,
            grace=timedelta(seconds=config.jobs.retention.grace),
            original_of=_original_of(folder, stack),
            witness=witness,
        )


def _original_of(folder: Path, stack: ExitStack) -> Callable[[Key], Key | None]:
    opened: list[CompressionState] = []

    def original_of(key: Key) -> Key | None:
        if not opened and (folder / COMPRESSION_FILE).exists():
            opened.append(stack.enter_context(closing(CompressionState(folder / COMPRESSION_FILE))))
        return opened[0].original_of(key) if opened else None

    return original_of


def settle_deletions(config: Config, archive: Archive, folder: Path) -> None:
    """Complete the deletions that a process was killed over, before anybody looks at store and index."""
    with ExitStack() as stack:
        if (folder / RETENTION_FILE).exists() and stack.enter_context(
            deletions(config, archive, folder)
        ).ledger.under_way():
            recorder = stack.enter_context(audit.commanded(config, archive.clock))
            stack.enter_context(deletions(config, archive, folder, AuditWitness(recorder))).settle()


def grace_part(deletions: Deletions) -> Part:
    """What has deletions take another grace."""

    def prepare(config: Config) -> Callable[[], None]:
        return lambda: setattr(deletions, "grace", timedelta(seconds=config.jobs.retention.grace))

    return Part(["jobs.retention.grace"], prepare)


def take_deleted(config: Config, folder: Path) -> None:
    """Let no object of a deletion that was cut short be among the others, without a look at the index."""
    if (folder / RETENTION_FILE).exists():
        with closing(RetentionLedger(folder / RETENTION_FILE)) as ledger:
            take_objects(FilesystemStore(config.node.data, read_only=True).trash, ledger)


def open_ledger(config: Config, folder: Path) -> Ledger:
    """The ledger of runs in the folder of the index; works beside a running node. Raises IndexFailure."""
    return Ledger(folder / "jobs.db", config.node.ae_title)


@contextmanager
def engaged(config: Config, archive: Archive, folder: Path, recorder: Recorder) -> Iterator[tuple[Runner, Part]]:
    """A runner of all jobs, for which the data folder's lock must be held unless they are only rehearsed; and what has
    it take another configuration.

    Raises IndexFailure, and what the jobs raise when they are made.
    """
    with closing(open_ledger(config, folder)) as ledger, ExitStack() as stack:
        premises = Premises(config, archive, ledger, folder, stack, recorder)
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


def due_by(config: Config, name: str, success: datetime) -> datetime:
    """From when on the job, last done well then, is overdue by its schedule."""
    table = config.jobs.tables[name]
    return deadline.due_by(_calendar(config, name), table.longest_run, success, None)


def _calendar(config: Config, name: str) -> Calendar:
    return calendar(config.jobs.tables[name].schedule, zone_named(config.jobs.time_zone))


def _duty(name: str, premises: Premises) -> Duty:
    jobs = premises.config.jobs
    table, zone = jobs.tables[name], zone_named(jobs.time_zone)
    job = _BUILDERS[name](premises)
    return Duty(
        job=job,
        by_hand=job.whole() if isinstance(job, Scrub) else None,
        schedule=f"{table.schedule} {zone}",
        calendar=_calendar(premises.config, name),
        is_enabled=table.enabled,
        longest_run=table.longest_run,
        rate=getattr(table, "rate", 0),
        gives_way=name in _GIVE_WAY,
    )
