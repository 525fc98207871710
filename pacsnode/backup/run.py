"""One run of the backup: what came and went since the last one. Objects first, then the snapshot, then the manifest.

It may be killed anywhere: what is in the target is written once and by digest, what is known of it is in ``backup.db``.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pacsnode import __version__, log
from pacsnode.archive import Archive
from pacsnode.backup import adoption, chain, manifest, retention
from pacsnode.backup.database import Knowledge
from pacsnode.backup.manifest import Copied, Manifest, Snapshot
from pacsnode.backup.settings import Settings, Sources
from pacsnode.backup.snapshot import Drafts
from pacsnode.backup.vault import Vault
from pacsnode.errors import IndexFailure, NodeRunning, ObjectDamaged, ObjectNotFound
from pacsnode.jobs.job import Budget
from pacsnode.model import Instance, Key

_BATCH = 64  # objects; what is known is made durable after each
_LINES = 50_000  # entries of a list, at most; more go with another manifest


@dataclass(slots=True)
class Done:
    """What a run did."""

    copied: int = 0
    copied_bytes: int = 0
    failed: int = 0  # objects that are damaged here, and were not copied
    dropped: int = 0  # objects that left the backup, long after they went here
    refused: int = 0  # those the target does not let us remove
    point: int = 0  # number of the newest manifest
    finished: bool = True


class Run:
    """A run over an archive that may be in use."""

    def __init__(
        self, archive: Archive, knowledge: Knowledge, vault: Vault, settings: Settings, *, sources: Sources
    ) -> None:
        self._archive = archive
        self._knowledge = knowledge
        self._vault = vault
        self._settings = settings
        self._sources = sources
        self._done = Done()
        self._failed: set[Key] = set()

    def run(self, budget: Budget) -> Done:
        """Bring the target up to date, as far as the budget goes.

        Raises BackupFailure, IndexFailure; NodeRunning while another run goes on.
        """
        with alone(self._vault.scratch):
            self._begin()
            as_of = self._archive.clock()  # what is acknowledged by now is in the index
            self._copy(budget)
            try:
                snapshot = self._snapshot(budget) if self._is_snapshot_due() and not budget.expired() else None
            except IndexFailure:  # such as a disk that is too full for a copy: what was copied counts all the same
                self._publish(as_of, None)
                raise
            self._publish(as_of, snapshot)
            if not budget.expired():
                self._tidy()
            self._note(as_of, is_through=not budget.expired())
        self._done.failed = len(self._failed)
        self._done.point = self._knowledge.fact("number") or 0
        self._done.finished = not budget.expired()
        return self._done

    def rehearse(self) -> int:
        """How many objects a run would copy; changes nothing in the target."""
        with alone(self._vault.scratch):
            self._follow()
            return self._knowledge.pending_count()

    def _begin(self) -> None:
        """Make sure that the target is ours and we know what it has; finish what a run that was killed began."""
        if self._knowledge.fact("url") != self._vault.target.url:
            self._knowledge.take_over(
                (), self._archive.clock(), node=self._knowledge.fact("node") or secrets.token_hex(16)
            )
        node = str(self._knowledge.fact("node"))
        chain.claim(self._vault, node, self._archive.clock())
        if self._knowledge.fact("url") is None:
            if chain.numbers(self._vault):
                adoption.adopt(self._knowledge, self._vault, self._archive.clock())
            self._knowledge.keep(url=self._vault.target.url)
        self._vault.target.sweep()
        self._append()

    def _follow(self) -> None:
        """Take in what came and went in the index: at a cost of just that, unless the index is another one."""
        index, now = self._archive.index, self._archive.clock()
        place = self._knowledge.place()
        while place is not None:
            found = index.changes(place)
            if found is None:
                break
            if found.place != place:
                self._knowledge.follow(found.gone, found.come, found.place, now=now)
            place = found.place
            if not found.has_more:
                return
        self._knowledge.compare(index.keys(), index.here(), now=now)

    def _copy(self, budget: Budget) -> None:
        """Copy what is pending, oldest first; what came meanwhile, too."""
        self._follow()
        after, total = "", self._knowledge.pending_count()
        with ThreadPoolExecutor(self._settings.transfers, thread_name_prefix="backup") as pool:
            while not budget.expired() and (keys := self._knowledge.pending(after, _BATCH)):
                results = list(pool.map(self._copied, keys))
                copied = [found for found in results if isinstance(found, Copied)]
                problems = [(key, found) for key, found in zip(keys, results, strict=True) if isinstance(found, str)]
                vanished = [key for key, found in zip(keys, results, strict=True) if found is None]
                self._knowledge.settle(copied, vanished, problems)
                self._done.copied += len(copied)
                self._done.copied_bytes += sum(entry.piece.size for entry in copied)
                self._failed.update(key for key, _ in problems)
                budget.spend(sum(entry.piece.size for entry in copied))
                budget.advance(self._done.copied, total)
                after = keys[-1]

    def _copied(self, key: Key) -> Copied | str | None:
        """Copy an object; None where it is gone, a text where it cannot be copied as it is."""
        instance = self._archive.index.at(key)
        if instance is None:
            return None
        try:
            return self._kept(instance)
        except (ObjectDamaged, ObjectNotFound) as error:
            if self._archive.index.at(key) != instance:
                return None
            log.event("backup_skipped", level=logging.ERROR, key=key, problem=error)
            return str(error)

    def _kept(self, instance: Instance) -> Copied:
        with self._archive.store.open(instance.stored.key) as source:
            piece = self._vault.keep_object(source, instance)
        return Copied(instance.stored.key, instance.stored.digest, piece)

    def _is_snapshot_due(self) -> bool:
        snapshots = retention.snapshots(self._knowledge)
        if not snapshots or self._knowledge.fact("snapshot_wanted"):
            return True
        age = (self._archive.clock() - snapshots[-1].at).total_seconds()
        has_changed = self._knowledge.fact("number") != snapshots[-1].number or bool(self._knowledge.lines(1))
        return has_changed and age >= self._settings.snapshot_every

    def _snapshot(self, budget: Budget) -> Snapshot | None:
        """Put the index there as it is now; what it knows is copied before. None where the budget ends first."""
        with Drafts(self._vault, self._sources) as drafts:
            drafts.draw()
            self._copy(budget)
            if budget.expired():
                return None
            return drafts.keep(self._knowledge)

    def _publish(self, as_of: datetime, snapshot: Snapshot | None) -> None:
        """Add manifests until all that was done is told; the last one names the snapshot."""
        while lines := self._knowledge.lines(_LINES):
            changes = chain.keep_list(self._vault, (text for _, text in lines))
            is_last = len(lines) < _LINES
            self._tell(as_of, changes, snapshot if is_last else None, through=lines[-1][0])
            if is_last:
                return
        if snapshot is not None:
            self._tell(as_of, None, snapshot, through=0)

    def _tell(
        self, as_of: datetime, changes: manifest.Piece | None, snapshot: Snapshot | None, *, through: int
    ) -> None:
        """Note the next manifest durably, then add it: a run that is killed between leaves it to the next."""
        number = int(self._knowledge.fact("number") or 0) + 1
        told = Manifest(
            number=number,
            node=str(self._knowledge.fact("node")),
            at=as_of,
            previous=self._knowledge.fact("digest") or "",
            program=__version__,
            pending=self._knowledge.pending_count(),
            changes=changes,
            snapshot=snapshot,
        )
        self._knowledge.keep(unpublished=[number, manifest.encode(told).decode("ascii"), through])
        self._append()

    def _append(self) -> None:
        unpublished = self._knowledge.fact("unpublished")
        if unpublished is None:
            return
        number, text, through = unpublished
        content = text.encode("ascii")
        chain.append(self._vault, content, number)
        told = manifest.decode(content, number)
        if told.snapshot is not None:
            self._knowledge.keep(snapshot_wanted=None)
        facts = retention.facts_of(self._knowledge, chain.Point(told, manifest.digest_of(content)))
        self._knowledge.publish(through, unpublished=None, **facts)

    def _tidy(self) -> None:
        done = retention.tidy(self._knowledge, self._vault, self._settings, self._archive.clock())
        self._done.dropped, self._done.refused = done.dropped, done.refused

    def _note(self, as_of: datetime, *, is_through: bool) -> None:
        now = self._archive.clock().isoformat()
        facts: dict[str, object] = {"ran_at": now, "failure": None}
        if is_through and not self._failed:
            facts["as_of"] = as_of.isoformat()
        self._knowledge.keep(**facts)


@contextmanager
def alone(scratch: Path) -> Iterator[None]:
    """Hold the backup of this node alone, with an empty scratch folder. Raises NodeRunning while somebody does."""
    scratch.mkdir(mode=0o750, parents=True, exist_ok=True)
    descriptor = os.open(scratch / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NodeRunning("backup: another run is under way; wait for it") from error
        for leftover in scratch.iterdir():
            if leftover.name != "lock" and not leftover.is_dir():  # a drill has its folder there
                leftover.unlink()
        yield
    finally:
        os.close(descriptor)
