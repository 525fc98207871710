"""Is the backup still what was put there? Every byte is read again: chain, lists, snapshots, and every object.

A slice at a time, so that all of it is read within a configured time; or all at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice

from pacsnode import log
from pacsnode.backup import chain, manifest, retention
from pacsnode.backup.database import Knowledge
from pacsnode.backup.manifest import Copied, Piece
from pacsnode.backup.settings import Settings
from pacsnode.backup.vault import Vault
from pacsnode.errors import BackupDamaged, NotInBackup
from pacsnode.jobs.job import Budget
from pacsnode.model import Clock, Key

_BATCH = 64


@dataclass(frozen=True, slots=True)
class BackupFinding:
    """Something wrong in the target."""

    name: str
    problem: str


@dataclass(slots=True)
class Verified:
    """What was read, and what is wrong with it."""

    checked: int = 0  # files of the backup
    size: int = 0  # bytes of objects
    findings: list[BackupFinding] = field(default_factory=list)
    finished: bool = True  # a pass is complete, or all was read


class Verification:
    """Reads what ``knowledge`` says is in the target. Objects damaged there are copied again by the next run."""

    def __init__(self, knowledge: Knowledge, vault: Vault, settings: Settings, clock: Clock) -> None:
        self._knowledge = knowledge
        self._vault = vault
        self._settings = settings
        self._clock = clock
        self._done = Verified()

    def everything(self, budget: Budget) -> Verified:
        """Read all of it. Raises BackupFailure where the target cannot be read."""
        self._read_chain(budget)
        self._read_objects("", None, budget)
        self._done.finished = not budget.expired()
        return self._done

    def slice(self, budget: Budget, wanted: Iterable[Key] = ()) -> Verified:
        """Read as much as is due for a whole pass in the configured time; the next slice goes on there.

        ``wanted``: somebody waits for these; their copies are read before, as far as they were not yet.
        """
        self._read_wanted(iter(wanted), budget)
        aside = self._done.size
        told, now = self._knowledge.fact("pass"), self._clock()
        if told is None:
            told = {"began": now.isoformat(), "read": 0, "after": ""}
            self._read_chain(budget)
        _, total = self._knowledge.totals()
        passed = (now - datetime.fromisoformat(told["began"])).total_seconds()
        share = min(1.0, (passed + _slack(self._settings)) / self._settings.verify_pass)
        after = self._read_objects(told["after"], max(0, round(total * share) - told["read"]), budget)
        told |= {"read": told["read"] + self._done.size - aside, "after": after}
        self._done.finished = after == "~"
        if self._done.finished:
            self._knowledge.keep(verified_at=now.isoformat())
        self._knowledge.keep(**{"pass": None if self._done.finished else told})
        return self._done

    def _read_chain(self, budget: Budget) -> None:
        """All manifests that are there, newest first: each has to be what the next one says it was.

        Where anything is damaged, the next run makes a new snapshot, which needs none of it.
        """
        kept = {one.number: one for one in retention.snapshots(self._knowledge)}
        expected, number = self._knowledge.fact("digest"), self._knowledge.fact("number") or 0
        oldest = min(kept, default=1)
        while number >= oldest and not budget.expired():
            found = self._manifest(number, expected, budget)
            if found is not None:
                pieces = [found.changes] if found.changes else []
                if found.snapshot is not None and number in kept:
                    snapshot = found.snapshot
                    pieces += [snapshot.index, snapshot.objects, *snapshot.state.values()]
                    pieces += [snapshot.answers] if snapshot.answers else []
                self._read(pieces, budget, partial(self._is_of_kept, number))
            expected = found.previous if found is not None else None
            number -= 1
        try:
            if chain.owner_of(self._vault) != self._knowledge.fact("node"):
                self._found(manifest.OWNER, f"backup: {self._vault.target.url} belongs to another node")
        except (BackupDamaged, NotInBackup) as error:
            self._found(manifest.OWNER, str(error))
        if self._done.findings:
            self._knowledge.keep(snapshot_wanted=True)

    def _manifest(self, number: int, expected: str | None, budget: Budget) -> manifest.Manifest | None:
        """``expected``: its digest, where that is known: the one behind it may be damaged."""
        self._done.checked += 1
        budget.advance(self._done.checked, None)
        try:
            point = chain.read(self._vault, number)
        except (BackupDamaged, NotInBackup) as error:
            if self._is_kept(number):
                self._found(manifest.name_of(number), str(error))
            return None
        if expected is not None and point.digest != expected:
            self._found(manifest.name_of(number), f"backup: {manifest.name_of(number)} is not the one that was written")
        return point.manifest

    def _read_objects(self, after: str, size: int | None, budget: Budget) -> str:
        """From behind this key on, about so many bytes: the key it came to; "~" is the end."""
        objects = self._knowledge.objects(after)
        begun = self._done.size
        while batch := list(islice(objects, _BATCH)):
            self._read_copies(batch, budget)
            after = batch[-1].key
            if budget.expired() or (size is not None and self._done.size - begun >= size):
                return after
        return "~"

    def _read_wanted(self, wanted: Iterator[Key], budget: Budget) -> None:
        while not budget.expired() and (keys := list(islice(wanted, _BATCH))):
            self._read_copies(self._knowledge.not_read_back(keys), budget)

    def _read_copies(self, batch: list[Copied], budget: Budget) -> None:
        pieces = [entry.piece for entry in batch]
        damaged = self._read(pieces, budget, lambda piece: bool(self._knowledge.of_digest(piece.digest)))
        self._done.size += sum(entry.piece.size for entry in batch)
        for piece in damaged:
            self._knowledge.copy_again(piece.digest)
        self._knowledge.read_back(entry for entry in batch if entry.piece not in damaged)

    def _is_of_kept(self, number: int, _: Piece) -> bool:
        return self._is_kept(number)

    def _is_kept(self, number: int) -> bool:
        """A run beside us may have found that this manifest is of the past."""
        return number >= min((one.number for one in retention.snapshots(self._knowledge)), default=1)

    def _read(self, pieces: list[Piece], budget: Budget, is_kept: Callable[[Piece], bool]) -> list[Piece]:
        """Those that are damaged or missing, and still to be there."""
        check = partial(self._vault.problem_of, spend=budget.spend)
        with ThreadPoolExecutor(self._settings.transfers, thread_name_prefix="backup-verify") as pool:
            problems = list(pool.map(check, pieces))
        self._done.checked += len(pieces)
        budget.advance(self._done.checked, None)
        damaged = [(piece, told) for piece, told in zip(pieces, problems, strict=True) if told and is_kept(piece)]
        for piece, problem in damaged:
            self._found(piece.name, problem)
        return [piece for piece, _ in damaged]

    def _found(self, name: str, problem: str) -> None:
        log.event("backup_damaged", level=logging.ERROR, name=name, problem=problem)
        self._done.findings.append(BackupFinding(name, problem))


def _slack(settings: Settings) -> float:
    """A pass is ahead of its time by a twentieth: the last slice must not come late."""
    return settings.verify_pass / 20
