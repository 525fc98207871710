"""Which snapshots stay, and when what was removed here leaves the backup. What may not be removed stays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pacsnode import log
from pacsnode.backup import chain, manifest
from pacsnode.backup.chain import Point
from pacsnode.backup.database import Knowledge
from pacsnode.backup.manifest import Manifest, Snapshot
from pacsnode.backup.settings import Settings
from pacsnode.backup.vault import Vault
from pacsnode.errors import BackupDamaged, NotInBackup

_TIDY_EVERY = timedelta(hours=1)
_TIDY_AGAIN = timedelta(days=1)  # where the target has refused
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot that is in the target: its manifest's number and time, and the names of its own pieces."""

    number: int
    at: datetime
    names: tuple[str, ...]


@dataclass(slots=True)
class Tidied:
    """What left the backup, and what should have."""

    dropped: int = 0
    refused: int = 0


def snapshots(knowledge: Knowledge) -> list[Kept]:
    """Those in the target, oldest first."""
    told = knowledge.fact("snapshots") or []
    return [Kept(number, datetime.fromisoformat(at), tuple(names)) for number, at, names in told]


def facts_of(knowledge: Knowledge, point: Point) -> dict[str, object]:
    """What is to be kept of a manifest that was added."""
    found = point.manifest
    facts: dict[str, object] = {"number": found.number, "digest": point.digest, "published_at": found.at.isoformat()}
    if found.snapshot is not None:
        facts["snapshots"] = told([*snapshots(knowledge), kept_of(found, found.snapshot)])
    return facts


def kept_of(found: Manifest, snapshot: Snapshot) -> Kept:
    """What is to be known of a snapshot."""
    pieces = [snapshot.index, *snapshot.state.values(), *([snapshot.answers] if snapshot.answers else [])]
    return Kept(found.number, found.at, (*(piece.name for piece in pieces), snapshot.objects.name))


def told(kept: Iterable[Kept]) -> list[list[object]]:
    """As a fact."""
    return [[one.number, one.at.isoformat(), list(one.names)] for one in kept]


def to_stay(kept: list[Kept], settings: Settings) -> list[Kept]:
    """The newest of each of the last days and weeks, as many as are asked for; the newest of all in any case."""
    staying = {one.number for one in kept[-1:]}
    periods: tuple[tuple[int, Callable[[datetime], object]], ...] = (
        (settings.keep_daily, lambda at: at.date()),
        (settings.keep_weekly, lambda at: at.isocalendar()[:2]),
    )
    for count, period_of in periods:
        newest = {period_of(one.at): one.number for one in kept}  # later ones replace earlier ones
        staying.update(list(newest.values())[-count:] if count else [])
    return [one for one in kept if one.number in staying]


def tidy(knowledge: Knowledge, vault: Vault, settings: Settings, now: datetime) -> Tidied:
    """Remove what is due; at most once an hour, and once a day where the target does not let us."""
    done = Tidied()
    due_at = knowledge.fact("tidy_at")
    if due_at is not None and now < datetime.fromisoformat(due_at):
        return done
    _drop_snapshots(knowledge, vault, settings, done)
    _drop_objects(knowledge, vault, now - timedelta(seconds=settings.deletion_grace), done)
    if done.refused:
        log.event("backup_kept", level=logging.WARNING, refused=done.refused, target=vault.target.url)
    knowledge.keep(tidy_at=(now + (_TIDY_AGAIN if done.refused else _TIDY_EVERY)).isoformat())
    return done


def _drop_snapshots(knowledge: Knowledge, vault: Vault, settings: Settings, done: Tidied) -> None:
    """Their own pieces; and the manifests before the oldest that stays, with their lists."""
    kept = snapshots(knowledge)
    staying = to_stay(kept, settings)
    if not staying:
        return
    needed = {name for one in staying for name in one.names}
    for name in vault.target.names("snapshots"):
        if name not in needed:
            _delete(vault, name, done)
    for one in kept:
        if one not in staying and one.names[-1] not in needed:
            _delete(vault, one.names[-1], done)
    for number in chain.numbers(vault):
        if number >= staying[0].number:
            break
        try:
            changes = chain.read(vault, number).manifest.changes
        except (BackupDamaged, NotInBackup):
            changes = None
        if changes is not None and changes.name not in needed:
            _delete(vault, changes.name, done)
        _delete(vault, manifest.name_of(number), done)
    knowledge.keep(snapshots=told(staying))


def _drop_objects(knowledge: Knowledge, vault: Vault, before: datetime, done: Tidied) -> None:
    while batch := knowledge.long_gone(before, _BATCH):
        gone = {entry.key for entry in batch}
        for entry in batch:
            # The same bytes may be wanted under another key.
            if all(other.key in gone for other in knowledge.of_digest(entry.piece.digest)):
                done.dropped += _delete(vault, entry.piece.name, done)
        knowledge.drop(gone)


def _delete(vault: Vault, name: str, done: Tidied) -> bool:
    is_gone = vault.target.delete(name)
    done.refused += not is_gone
    return is_gone
