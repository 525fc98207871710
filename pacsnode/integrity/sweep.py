"""Store and index side by side, in order of their keys: what is there, and what is wrong with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from pacsnode.archive import Archive, Finding
from pacsnode.errors import ObjectDamaged, ObjectNotFound, StoreError
from pacsnode.model import Holding, Instance, Key
from pacsnode.storage import layout

_END = "~"  # sorts behind all keys
_READERS, _AHEAD = 2, 4  # benchmarks/scrub.py: one reads while the other hashes
_TOGETHER, _TOGETHER_BYTES = 64, 1024 * 1024
"""What a reader is given at once: handing over a small object takes longer than reading it (benchmarks/scrub.py)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A key that the store or the index has."""

    key: Key
    row: Holding | None


def sweep(archive: Archive, after: str = "") -> Iterator[Seen]:
    """Every key behind this one. What is done about one does not disturb the sweep."""
    since = after and after + _END
    objects, rows = archive.store.keys(since), archive.index.holdings(since)
    key, row = next(objects, _END), next(rows, None)
    while key != _END or row is not None:
        row_key = _END if row is None else row.stored.key
        if row is not None and row_key <= key:
            yield Seen(row.stored.key, row)
            row = next(rows, None)
        else:
            yield Seen(Key(key), None)
        if key <= row_key:
            key = next(objects, _END)


def examined(
    archive: Archive, after: str = "", told: Callable[[int], None] = lambda size: None
) -> Generator[tuple[Seen, Finding | None], None, None]:
    """Every key behind this one, in order, with what is wrong with the object of its row. Read some keys ahead.

    ``told`` hears of every piece that was read, from threads.
    """
    waiting: deque[tuple[list[Seen], Future[list[Finding | None]]]] = deque()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="scrub") as pool:
        for batch in _batches(sweep(archive, after)):
            waiting.append((batch, pool.submit(_findings, archive, batch, told)))
            if len(waiting) > _AHEAD:
                first, found = waiting.popleft()
                yield from zip(first, found.result(), strict=True)
        for batch, found in waiting:
            yield from zip(batch, found.result(), strict=True)


def _batches(keys: Iterator[Seen]) -> Iterator[list[Seen]]:
    batch: list[Seen] = []
    size = 0
    for seen in keys:
        batch.append(seen)
        size += 0 if seen.row is None else seen.row.stored.size
        if len(batch) == _TOGETHER or size >= _TOGETHER_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _findings(archive: Archive, batch: list[Seen], told: Callable[[int], None]) -> list[Finding | None]:
    return [None if seen.row is None else _finding(archive, seen.row, told) for seen in batch]


def _finding(archive: Archive, row: Holding, told: Callable[[int], None]) -> Finding | None:
    """One quick read says whether all is well; where it does not, ``problem_of`` says what is wrong."""
    key = row.stored.key
    try:
        if archive.is_as_stored(row, told):
            return None
        doubt = Finding(row.arrival.sop_instance_uid, key, f"{key}: two reads gave different bytes", is_certain=False)
    except StoreError:
        doubt = None
    instance = archive.index.at(key)
    finding = None if instance is None else problem_of(archive, instance, told)
    return finding or (doubt if archive.index.holds(key) else None)


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
