"""The backup of one node, as it is configured. The target is opened when it is needed: it may be away for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from pacsnode.backup import bucket, chain, encryption
from pacsnode.backup.copies import BackupCopies
from pacsnode.backup.database import Knowledge
from pacsnode.backup.folder import FolderTarget
from pacsnode.backup.settings import Settings, Sources
from pacsnode.backup.target import Target
from pacsnode.backup.vault import Vault
from pacsnode.config import Config
from pacsnode.config.jobs import Backup as Table
from pacsnode.errors import BackupDamaged, BackupFailure, ConfigError, NotInBackup
from pacsnode.model import Key, Uid

_SCRATCH = "backup"


@dataclass(frozen=True, slots=True)
class Figures:
    """How the backup stands, as this node knows it. Times are None where there is none yet."""

    as_of: datetime | None  # everything that was stored before is in the backup
    lag_seconds: float | None  # the age of that
    verified_at: datetime | None  # all of it was read again
    drilled_at: datetime | None  # a drill found nothing wrong
    failure: str  # of the last run; "" where it did not fail
    skipped: int  # objects that are damaged here, and are not in the backup
    is_stale: bool


@dataclass(frozen=True, slots=True)
class Restorable:
    """A state that ``restore --at`` can bring back."""

    number: int
    at: datetime
    has_snapshot: bool
    pending: int  # objects that were not copied yet


class NodeBackup:
    """See above. ``folder``: where the node keeps its databases."""

    def __init__(self, table: Table, folder: Path, *, sources: Sources, verify_pass: float, drill_objects: int) -> None:
        self.table = table
        self.sources = sources
        self.settings = Settings(
            snapshot_every=table.snapshot_every,
            keep_daily=table.keep_daily,
            keep_weekly=table.keep_weekly,
            deletion_grace=table.deletion_grace,
            verify_pass=verify_pass,
            drill_objects=drill_objects,
            stale_after=table.stale_after,
            transfers=table.transfers,
        )
        self._folder = folder

    @contextmanager
    def opened(self) -> Iterator[tuple[Knowledge, Vault]]:
        """What is known of the target, and the target. Raises ConfigError, BackupFailure, IndexFailure."""
        with self.vault(self._folder / _SCRATCH) as vault, closing(self.knowledge()) as knowledge:
            yield knowledge, vault

    @contextmanager
    def vault(self, scratch: Path) -> Iterator[Vault]:
        """The target alone, with a scratch folder, which is created."""
        scratch.mkdir(mode=0o750, parents=True, exist_ok=True)
        table = self.table
        key_file = Path(table.key_file) if table.key_file else None
        with closing(open_target(table)) as target:
            yield Vault(target, encryption.load(key_file), scratch)

    def can_open(self) -> bool:
        """Can this node read what it sealed? Raises ConfigError."""
        return encryption.load(Path(self.table.key_file) if self.table.key_file else None).can_open

    def knowledge(self) -> Knowledge:
        """What is known of the target. Raises IndexFailure."""
        return Knowledge(self._folder / "backup.db")

    @contextmanager
    def holding(self) -> Iterator[Callable[[Key], bool]]:
        """Is an object, by its key, in the target for sure? No to all while that cannot be opened. Reads nothing there.

        Raises IndexFailure.
        """
        with closing(self.knowledge()) as knowledge:
            is_this_one = knowledge.fact("url") == self._url()
            yield lambda key: is_this_one and knowledge.holds(key)

    def restorable(self, scratch: Path) -> list[Restorable]:
        """What can be brought back, oldest first. Raises as ``opened``, NotInBackup where there is no backup."""
        with self.vault(scratch) as vault:
            chain.owner_of(vault)
            there = set(vault.target.names("snapshots"))
            found: list[Restorable] = []
            for number in chain.numbers(vault):
                try:
                    told = chain.read(vault, number).manifest
                except (BackupDamaged, NotInBackup):
                    continue
                has_snapshot = told.snapshot is not None and told.snapshot.index.name in there
                if has_snapshot or found:
                    found.append(Restorable(number, told.at, has_snapshot, told.pending))
        return found

    def _url(self) -> str:
        try:
            with closing(open_target(self.table)) as target:
                return target.url
        except (BackupFailure, ConfigError):  # such as a mount that is missing; the backup's own runs complain
            return ""

    def figures(self, now: datetime) -> Figures:
        """How it stands, without a look at the target. Creates nothing. Raises IndexFailure."""
        if not (self._folder / "backup.db").exists():
            return Figures(None, None, None, None, "", 0, is_stale=self.table.enabled)
        with closing(self.knowledge()) as knowledge:
            as_of, verified, drilled = (_moment(knowledge.fact(n)) for n in ("as_of", "verified_at", "drilled_at"))
            lag = (now - as_of).total_seconds() if as_of else None
            return Figures(
                as_of=as_of,
                lag_seconds=lag,
                verified_at=verified,
                drilled_at=drilled,
                failure=knowledge.fact("failure") or "",
                skipped=len(knowledge.problems()),
                is_stale=self.table.enabled and (lag is None or lag > self.settings.stale_after),
            )


class NodeCopies:
    """Where a damaged object can be had again: the backup, opened for each; nothing where none is configured."""

    def __init__(self, backup: NodeBackup) -> None:
        self._backup = backup

    @contextmanager
    def fetch(self, uid: Uid, digest: str) -> Iterator[BinaryIO | None]:
        """See BackupCopies.fetch. Raises as ``NodeBackup.opened``."""
        if not self._backup.table.target:
            yield None
            return
        with self._backup.opened() as (knowledge, vault), BackupCopies(knowledge, vault).fetch(uid, digest) as found:
            yield found


def from_config(config: Config, folder: Path, state: tuple[Path, ...], text: str) -> NodeBackup:
    """The backup of the node with this configuration. ``folder``: of ``index.db`` and ``backup.db``; ``state``: further
    databases that a snapshot is to hold; ``text``: the configuration as TOML."""
    jobs = config.jobs
    return NodeBackup(
        jobs.backup,
        folder,
        sources=Sources(folder / "index.db", state, text),
        verify_pass=jobs.backup_verify.full_pass,
        drill_objects=jobs.backup_drill.objects,
    )


def open_target(table: Table) -> Target:
    """The configured target. Raises ConfigError, BackupFailure."""
    scheme, place = urlsplit(table.target).scheme, urlsplit(table.target)
    if not table.target:
        raise ConfigError('[jobs.backup] target: none is set; such as "file:///mnt/backup" or "s3://bucket/prefix"')
    if scheme == "file" and place.path.startswith("/") and not place.netloc:
        return FolderTarget(Path(unquote(place.path)))
    if scheme not in bucket.SCHEMES or not place.netloc:
        raise ConfigError(
            f"[jobs.backup] target = {table.target!r}: not a place for a backup; file:///…, s3://…, gs://… or az://…"
        )
    credentials = Path(table.credentials_file) if table.credentials_file else None
    options = bucket.options(scheme, endpoint=table.endpoint, region=table.region, credentials=credentials)
    return bucket.BucketTarget(table.target, options)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
