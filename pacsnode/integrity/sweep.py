"""Store and index side by side, in order of their keys: what is there, and what is wrong with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pacsnode.archive import Archive, Finding
from pacsnode.errors import ObjectDamaged, ObjectNotFound, StoreError
from pacsnode.model import Instance, Key
from pacsnode.storage import layout

_END = "~"  # sorts behind all keys
_READERS, _AHEAD = 2, 4  # benchmarks/scrub.py: one reads while the other hashes


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


def examined(
    archive: Archive, after: str = "", told: Callable[[int], None] = lambda size: None
) -> Generator[tuple[Seen, Finding | None], None, None]:
    """Every key behind this one, in order, with what is wrong with the object of its row. Read a few keys ahead.

    ``told`` hears of every piece that was read, from threads.
    """
    waiting: deque[tuple[Seen, Future[Finding | None]]] = deque()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="scrub") as pool:
        for seen in sweep(archive, after):
            waiting.append((seen, pool.submit(_finding, archive, seen, told)))
            if len(waiting) > _AHEAD:
                first, found = waiting.popleft()
                yield first, found.result()
        for seen, found in waiting:
            yield seen, found.result()


def _finding(archive: Archive, seen: Seen, told: Callable[[int], None]) -> Finding | None:
    return None if seen.row is None else problem_of(archive, seen.row, told)


def problem_of(archive: Archive, row: Instance, told: Callable[[int], None] = lambda size: None) -> Finding | None:
    """As ``Archive.problem_of``; an object that cannot be opened may be another time.

    Nothing where the row went while it was looked at: an object may be removed or replaced, its row first.
    """
    try:
        finding = archive.problem_of(row, told)
    except StoreError as error:
        uid, key = row.header.sop_instance_uid, row.stored.key
        finding = Finding(uid, key, str(error), is_certain=False)
    return finding if finding is None or archive.index.holds(finding.key) else None


def is_settled(archive: Archive, key: Key) -> bool:
    """Did this arrive so long ago that an object without a row is no instance on its way in?"""
    return key < layout.new_key(archive.settled(), bytes(layout.RANDOM_BYTES))


def stray_of(archive: Archive, key: Key) -> Finding | None:
    """What is to be said of an object that had no row; nothing where it went, or has one now."""
    try:
        arrival, digest = archive.store.arrival(key), archive.store.info(key).digest
        uid = arrival.sop_instance_uid
        is_second = archive.index.knows(uid, digest)
    except ObjectNotFound:
        return None
    except ObjectDamaged as error:
        return Finding("", key, f"orphan: not in the index, and {error}")
    if archive.index.holds(key):
        return None
    if is_second:
        return Finding(uid, key, f"orphan: {key} is a second copy of what the index has elsewhere; harmless")
    if archive.holding(uid, arrival.original.digest if arrival.original else digest) is not None:
        return None  # compression keeps what it replaced for a while, and what it is about to replace
    return Finding(uid, key, f"orphan: {key} is not in the index; the integrity job or pacsnode reindex adds it")
