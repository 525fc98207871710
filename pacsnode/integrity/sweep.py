"""Store and index side by side, in order of their keys: what is there, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pacsnode.archive import Archive, Finding
from pacsnode.errors import ObjectDamaged, ObjectNotFound
from pacsnode.model import Instance, Key
from pacsnode.storage import layout

_END = "~"  # sorts behind all keys


@dataclass(frozen=True, slots=True)
class Seen:
    """A key that the store or the index has."""

    key: Key
    row: Instance | None
    has_object: bool


def sweep(archive: Archive, after: str = "") -> Iterator[Seen]:
    """Every key behind this one. What is done about one does not disturb the sweep."""
    since = after and after + _END
    objects, rows = archive.store.keys(since), archive.index.everything(since)
    key, row = next(objects, _END), next(rows, None)
    while key != _END or row is not None:
        row_key = _END if row is None else row.stored.key
        if row is not None and row_key <= key:
            yield Seen(row.stored.key, row, has_object=row_key == key)
            row = next(rows, None)
        else:
            yield Seen(Key(key), None, has_object=True)
        if key <= row_key:
            key = next(objects, _END)


def problem_of(archive: Archive, row: Instance, told: Callable[[int], None] = lambda size: None) -> Finding | None:
    """As ``Archive.problem_of``; nothing where the row went while it was looked at.

    An object may be removed or replaced meanwhile, its row first.
    """
    finding = archive.problem_of(row, told)
    return finding if finding is None or archive.index.holds(finding.key) else None


def is_settled(archive: Archive, key: Key) -> bool:
    """Did this arrive so long ago that an object without a row is no instance on its way in?"""
    return key < layout.new_key(archive.settled(), bytes(layout.RANDOM_BYTES))


def stray_of(archive: Archive, key: Key) -> Finding | None:
    """What is to be said of an object that had no row; nothing where it went, or has one now."""
    try:
        uid = archive.store.arrival(key).sop_instance_uid
        is_second = archive.index.knows(uid, archive.store.info(key).digest)
    except ObjectNotFound:
        return None
    except ObjectDamaged as error:
        return Finding("", key, f"orphan: not in the index, and {error}")
    if archive.index.holds(key):
        return None
    if is_second:
        return Finding(uid, key, f"orphan: {key} is a second copy of what the index has elsewhere; harmless")
    return Finding(uid, key, f"orphan: {key} is not in the index; the integrity job or pacsnode reindex adds it")
