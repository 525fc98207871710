"""Deletes studies, brings them back, and lets them go for good, so that a kill at any point loses nothing.

Deleting: what is intended → the rows → the objects, to the trash. Restoring: the objects → the rows → the trash.
Whatever of it a crash leaves undone, ``settle`` completes.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pacsnode import encodings, log
from pacsnode.archive import Archive
from pacsnode.dicom import part10
from pacsnode.errors import ObjectDamaged, ObjectNotFound, PacsNodeError, StoreError, StudyHeld, StudyNotKept
from pacsnode.model import Instance, Key, Uid
from pacsnode.retention.ledger import Ledger
from pacsnode.retention.records import Deletion, Hold, Item, State
from pacsnode.retention.witness import Witness, nobody
from pacsnode.storage import layout
from pacsnode.storage.trash import NAME_BYTES, Trash

_BATCH = 500  # rows that go or come in one transaction, which receiving waits for
_LOCK = "deletion.lock"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Preview:
    """What deleting a study would take away."""

    study_uid: Uid
    instances: int
    versions: int
    size: int


@dataclass(slots=True)
class Restored:
    """What became of the objects of a deletion that was undone."""

    versions: int = 0  # back in the archive
    second_copies: int = 0  # the archive had got the same meanwhile
    damaged: int = 0  # set aside
    missing: int = 0  # not in the trash any more


def no_original(key: Key) -> Key | None:
    """Nothing is kept beside any object."""
    del key
    return None


class Deletions:
    """See above. ``folder`` is that of the ledger. Safe to use from several threads and processes, one at a time."""

    def __init__(
        self,
        archive: Archive,
        trash: Trash,
        ledger: Ledger,
        folder: Path,
        *,
        grace: timedelta,
        original_of: Callable[[Key], Key | None] = no_original,
        witness: Witness = nobody,
    ) -> None:
        """``grace``: how long what is deleted can be brought back.

        ``original_of``: the object without a row that compression keeps beside the one under a key.
        """
        self.ledger = ledger
        self.grace = grace
        self._archive = archive
        self._trash = trash
        self._folder = folder
        self._original_of = original_of
        self._witness = witness

    def delete(self, study_uid: Uid, reason: str, who: str, known: Collection[Key] | None = None) -> Deletion:
        """Take all versions of all instances of a study out of the archive, into the trash; durable when it returns.

        What gets its row from now on stays. ``known``: the keys that somebody has judged; nothing is done where the
        study has others. Raises StudyHeld, StudyNotKept, IndexFailure, StoreError; after the
        last two ``settle`` completes it.
        """
        with self._alone():
            self._refuse_held(study_uid)
            self._settle(study_uid)
            now = self._archive.clock()
            name = secrets.token_hex(NAME_BYTES)
            begun = Deletion(name, study_uid, reason, who, now, now + self.grace, State.DELETING, 0, 0, "", None)
            rows = self._archive.index.of_study(study_uid)
            if not rows or (known is not None and {row.stored.key for row in rows} != set(known)):
                raise StudyNotKept(f"no study {study_uid} is stored here; see: pacsnode study list")
            self.ledger.begin(begun, self._items(rows))
            return self._delete(begun, rows)

    def undelete(self, study_uid: Uid) -> Restored:
        """Bring back what is in the trash of a study, under the same keys; durable when it returns.

        Raises StudyNotKept where nothing is; IndexFailure, StoreError: then ``settle`` completes it.
        """
        with self._alone():
            self._settle(study_uid)
            found = self.ledger.in_trash(study_uid)
            if not found:
                raise StudyNotKept(f"no study {study_uid} is in the trash; see: pacsnode study deletions")
            done = Restored()
            for deletion in found:
                self.ledger.move_on(deletion.name, State.DELETED, State.RESTORING)
                self._restore(deletion, done)
            return done

    def purge(self, deletion: Deletion) -> bool:
        """Let the objects of a deletion go for good; False where it is not in the trash (any more), or held.

        Raises IndexFailure, StoreError; then ``settle`` completes it.
        """
        with self._alone():
            self._refuse_bare()
            is_held = self.ledger.hold_on(deletion.study_uid) is not None
            if is_held or not self.ledger.move_on(deletion.name, State.DELETED, State.PURGING):
                return False
            self._purge(deletion)
            return True

    def hold(self, study_uid: Uid, reason: str, who: str) -> Hold:
        """Put a legal hold on a study, which need not be here (yet)."""
        with self._alone():
            hold = Hold(study_uid, reason, who, self._archive.clock())
            self.ledger.hold(hold)
        log.event("study_held", study=study_uid, who=who)
        return hold

    def unhold(self, study_uid: Uid, who: str) -> None:
        """Take the hold off. Raises StudyNotKept where there is none."""
        with self._alone():
            if not self.ledger.unhold(study_uid):
                raise StudyNotKept(f"no hold is on study {study_uid}")
        log.event("study_released", study=study_uid, who=who)

    def settle(self) -> None:
        """Complete what was under way when a process was killed, or when something failed.

        What cannot be completed now is told in the log, and left to the next time. Raises IndexFailure.
        """
        with self._alone():
            for deletion in self.ledger.under_way():
                try:
                    self._complete(deletion)
                except PacsNodeError as error:
                    log.event("deletion_unfinished", level=logging.ERROR, study=deletion.study_uid,
                              state=deletion.state.value, reason=error)  # fmt: skip

    def _settle(self, study_uid: Uid) -> None:
        for deletion in self.ledger.under_way():
            if deletion.study_uid == study_uid:
                self._complete(deletion)

    def _complete(self, deletion: Deletion) -> None:
        if deletion.state is State.PURGING:
            self._purge(deletion)
            return
        self._refuse_bare()
        if deletion.state is State.DELETING:
            self._delete(deletion, [])
        else:
            self._restore(deletion, Restored())

    def _delete(self, deletion: Deletion, rows: Sequence[Instance]) -> Deletion:
        """``rows``: those of its items; none where a process was killed over them."""
        while True:
            items = self.ledger.items(deletion.name)
            for batch in _batches([item.key for item in items if not item.is_original]):
                self._archive.index.strike_many(batch)
            more = self._reencoded(deletion, items)
            if not more:
                break
            self.ledger.add(deletion.name, self._items(more))
            rows = [*rows, *more] if rows else rows
        self._trash.take(deletion.name, [item.key for item in items], _note(deletion, items))
        self.ledger.move_on(deletion.name, State.DELETING, State.DELETED)
        done = self.ledger.deletion(deletion.name)
        log.event("study_deleted", study=done.study_uid, who=done.who, reason=done.reason, versions=done.versions,
                  bytes=done.size, due=done.due.isoformat(timespec="seconds"))  # fmt: skip
        self._witness.deleted(done, rows or list(self._in_trash(done, items)))
        return done

    def _restore(self, deletion: Deletion, done: Restored) -> None:
        items = self.ledger.items(deletion.name)
        for batch in _batches(sorted(items, key=lambda item: item.is_original)):  # an original by itself is a version
            self._bring_back(deletion, batch, done)
        self._trash.drop(deletion.name)
        self.ledger.move_on(deletion.name, State.RESTORING, State.RESTORED, self._archive.clock())
        log.event("study_undeleted", study=deletion.study_uid, versions=done.versions, second_copies=done.second_copies,
                  damaged=done.damaged, missing=done.missing)  # fmt: skip
        keys = {item.key for item in items}
        rows = self._archive.index.of_study(deletion.study_uid)
        self._witness.restored(deletion, [row for row in rows if row.stored.key in keys])

    def _bring_back(self, deletion: Deletion, items: Sequence[Item], done: Restored) -> None:
        """Read in the trash, so that no object waits for its row for long."""
        index, sound, seconds = self._archive.index, list[Instance](), list[Instance]()
        for item in items:
            if index.holds(item.key):  # of a call that was killed
                done.versions += 1
                continue
            try:
                instance, origin = self._described(deletion, item)
            except ObjectNotFound:
                done.missing += 1
                continue
            except ObjectDamaged as error:
                done.damaged += 1
                self._trash.give_back(deletion.name, [item.key])
                self._archive.store.set_aside(item.key, str(error))
                continue
            is_second = self._archive.holding(item.uid, origin) is not None
            (seconds if is_second or item.is_original else sound).append(instance)
        self._trash.give_back(deletion.name, [instance.stored.key for instance in (*sound, *seconds)])
        index.put_back(sound)
        done.versions += len(sound)
        for instance in seconds:
            self._settle_second(instance, done)

    def _in_trash(self, deletion: Deletion, items: Sequence[Item]) -> Iterator[Instance]:
        """What can be read of the versions that were deleted."""
        for item in items:
            if not item.is_original:
                with suppress(ObjectDamaged, ObjectNotFound):
                    yield self._described(deletion, item)[0]

    def _described(self, deletion: Deletion, item: Item) -> tuple[Instance, str]:
        """The instance of an object in the trash, and the digest of the data set that came."""
        with self._trash.open(deletion.name, item.key) as source:
            instance = self._archive.describe_source(source, item.key)
            if instance.stored.digest != item.digest and not item.is_original:
                raise ObjectDamaged(f"{item.key}: the object is not the one that was deleted")
            source.seek(0)
            original = part10.read_head(source).arrival.original
        return instance, instance.stored.digest if original is None else original.digest

    def _settle_second(self, copy: Instance, done: Restored) -> None:
        """The same came again meanwhile: what is there stays, if it is sound."""
        archive, key = self._archive, copy.stored.key
        digest = encodings.digest_of_origin(archive.store, copy.stored)
        first = archive.holding(copy.header.sop_instance_uid, digest)
        if first is None:
            archive.index.put_back([copy])
            done.versions += 1
        elif archive.problem_of(first) is None:
            archive.store.delete(key)
            done.second_copies += 1
        elif archive.index.relocate(first.stored, copy):
            archive.store.set_aside(first.stored.key, "damaged; the same instance was undeleted and took its place")
            done.versions += 1

    def _purge(self, deletion: Deletion) -> None:
        self._trash.drop(deletion.name)
        self.ledger.move_on(deletion.name, State.PURGING, State.PURGED, self._archive.clock())
        log.event("study_purged", study=deletion.study_uid, versions=deletion.versions, bytes=deletion.size)
        self._witness.purged(replace(deletion, state=State.PURGED))

    def _reencoded(self, deletion: Deletion, items: Sequence[Item]) -> list[Instance]:
        """Versions that compression gave another key just before theirs was struck."""
        struck = {layout.arrival_part(item.key) for item in items}
        rows = self._archive.index.of_study(deletion.study_uid)
        return [row for row in rows if layout.arrival_part(row.stored.key) in struck]

    def _items(self, rows: Sequence[Instance]) -> list[Item]:
        items = [Item(row.stored.key, row.header.sop_instance_uid, row.stored.digest, row.stored.size) for row in rows]
        for row in rows:
            original = self._original_of(row.stored.key)
            if original is not None:
                items.append(Item(original, row.header.sop_instance_uid, "", 0, is_original=True))
        return items

    def _refuse_held(self, study_uid: Uid) -> None:
        hold = self.ledger.hold_on(study_uid)
        if hold is not None:
            raise StudyHeld(
                f"study {study_uid} is under a hold of {hold.who} since {hold.at:%Y-%m-%d}: {hold.reason}; "
                "to delete it, first: pacsnode study unhold"
            )

    def _refuse_bare(self) -> None:
        """What is not there now because its file system is not mounted must not be taken for gone."""
        if self._archive.store.is_bare():
            raise StoreError("there is neither an object nor any trash; mount their file system")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for others who delete, restore, or put a hold on something."""
        descriptor = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def take_objects(trash: Trash, ledger: Ledger) -> None:
    """Let no object of a deletion that was cut short be among the others: for who makes an index of all that are."""
    for deletion in ledger.under_way():
        items = ledger.items(deletion.name)
        if deletion.state is State.DELETING:
            trash.take(deletion.name, [item.key for item in items], _note(deletion, items))


def previewed(study_uid: Uid, rows: Sequence[Instance]) -> Preview:
    """What is there of a study. Raises StudyNotKept where nothing is."""
    if not rows:
        raise StudyNotKept(f"no study {study_uid} is stored here; see: pacsnode study list")
    instances = len({row.header.sop_instance_uid for row in rows})
    return Preview(study_uid, instances, len(rows), sum(row.stored.size for row in rows))


def _note(deletion: Deletion, items: Sequence[Item]) -> dict[str, object]:
    return {
        "study_uid": deletion.study_uid,
        "reason": deletion.reason,
        "who": deletion.who,
        "at": deletion.at.isoformat(),
        "due": deletion.due.isoformat(),
        "keys": [item.key for item in items],
    }


def _batches(values: Sequence[T]) -> Iterator[list[T]]:
    rest = iter(values)
    while batch := list(islice(rest, _BATCH)):
        yield batch
