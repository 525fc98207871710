"""Puts verified encodings in the place of their originals, so that a kill at any point loses and doubles nothing.

Order: what is intended → the new object → the row → the old object. Whatever of it a crash leaves undone, ``settle``
does or takes back.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pacsnode.archive import Archive
from pacsnode.compression.database import CompressionState, Replacement
from pacsnode.compression.reader import Reader
from pacsnode.errors import ObjectDamaged, ObjectNotFound
from pacsnode.model import Arrival, Instance, Key, Original, StoredObject, Uid
from pacsnode.storage import layout
from pacsnode.storage.store import Upload

_PAGE = 100


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a verified encoding is before anybody but us can see it."""

    upload: Upload
    before: Instance
    new: Key
    size: int  # bytes of the data set
    codec: str


def begin(archive: Archive, before: Instance, transfer_syntax_uid: Uid) -> tuple[Upload, Key]:
    """An upload that is to take the place of the instance's object, and its key. Raises StoreError."""
    arrival = arrival_of(before, transfer_syntax_uid)
    return archive.store.begin(arrival), layout.sibling(before.stored.key, secrets.token_bytes(layout.RANDOM_BYTES))


def arrival_of(before: Instance, transfer_syntax_uid: Uid) -> Arrival:
    """How the object arrived that takes this one's place: as this one did, and what it was."""
    stored = before.stored
    return Arrival(
        before.header.sop_class_uid,
        before.header.sop_instance_uid,
        transfer_syntax_uid,
        before.calling_ae,
        before.called_ae,
        before.received_at,
        original=Original(stored.digest, stored.size, stored.transfer_syntax_uid),
    )


class Replacer:
    """Replaces objects, and removes those that were replaced when ``may_go`` says so of the new one's key."""

    def __init__(self, archive: Archive, state: CompressionState, may_go: Callable[[Key], bool]) -> None:
        self._archive = archive
        self._state = state
        self._reader = Reader(archive.store)
        self._may_go = may_go

    def replace(self, batch: Sequence[Encoded]) -> list[Replacement]:
        """Put them in place, durably; those that are. Raises StoreError, IndexFailure; then ``settle`` goes on."""
        if not batch:
            return []
        intended = [_replacement(encoded) for encoded in batch]
        self._state.intend(intended)
        placed = [encoded.upload.place(encoded.new) for encoded in batch]
        self._archive.store.settle([stored.key for stored in placed])
        whole = {
            stored.key: replace(encoded.before, stored=stored)
            for encoded, stored in zip(batch, placed, strict=True)
            if self._is_whole(stored)
        }
        moves = [(encoded.before.stored, whole[encoded.new]) for encoded in batch if encoded.new in whole]
        moved = {
            new.stored.key
            for (_, new), is_so in zip(moves, self._archive.index.relocate_all(moves), strict=True)
            if is_so
        }
        in_place = [one for one in intended if one.new in moved]
        moot = [one for one in intended if one.new not in moved]
        self._state.count(in_place)
        gone = [one for one in in_place if self._may_remove_original(one)]
        self._archive.store.delete_all([*(one.old for one in gone), *(one.new for one in moot)])
        self._state.forget([*gone, *moot])
        return in_place

    def settle(self, is_over: Callable[[], bool]) -> None:
        """Finish or take back what was begun, and remove originals that are not needed any more."""
        done: list[Replacement] = []
        needless: list[Key] = []
        for one in self._state.replacements():
            if is_over():
                break
            keys = self._needless(one)
            if keys is not None:
                done.append(one)
                needless += keys
            if len(done) == _PAGE:
                self._clear(done, needless)
        self._clear(done, needless)

    def _clear(self, done: list[Replacement], needless: list[Key]) -> None:
        self._archive.store.delete_all(needless)
        self._state.forget(done)
        done.clear()
        needless.clear()

    def _is_whole(self, stored: StoredObject) -> bool:
        """Read it once more, from the disk."""
        try:
            self._reader.check(stored)
        except (ObjectDamaged, ObjectNotFound):
            return False
        return True

    def _needless(self, one: Replacement) -> list[Key] | None:
        """The objects of it that are to go; None while there is something to wait for."""
        archive = self._archive
        if archive.index.holds(one.new):
            if not one.is_in_place:
                self._state.count([one])
            return [one.old] if self._may_remove_original(one) else None
        if archive.index.holds(one.old):
            return [one.new]
        # The row has neither: the instance was removed, or lost and perhaps sent again, or its new object repaired.
        held = archive.holding(one.uid, one.digest)
        if held is None:
            archive.store.set_aside(one.old, "its compressed form is not in the archive any more")
            return [one.new]
        if held.stored.digest != one.digest and not self._may_go(held.stored.key):
            return None
        return [one.old, one.new]

    def _may_remove_original(self, one: Replacement) -> bool:
        return self._may_go(one.new) and not self._archive.index.holds(one.old)


def _replacement(encoded: Encoded) -> Replacement:
    before = encoded.before
    return Replacement(
        new=encoded.new,
        old=before.stored.key,
        uid=before.header.sop_instance_uid,
        digest=before.stored.digest,
        codec=encoded.codec,
        modality=before.header.modality,
        bytes_before=before.stored.size,
        bytes_after=encoded.size,
    )
