"""Between a stop that was not clean and the first association: store and index are made to agree again.

The mark of the data folder says from when on they may not agree. A node moves it on while it runs, so that what has to
be looked at is minutes of arrivals, not years.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pacsnode import encodings, log
from pacsnode.archive import Archive
from pacsnode.errors import DuplicateRefused, IndexFailure, ObjectDamaged, ObjectNotFound, ObjectUnreadable, StoreError
from pacsnode.index.index import Index
from pacsnode.model import Instance, Key, Outcome
from pacsnode.storage import layout
from pacsnode.storage.atomic import write_atomically

CHECK_SECONDS = 3.0
"""How long the index file is checked at most; together with the next, so that a start takes 10 s at most."""
VERIFY_SECONDS = 4.0
"""How long the newest objects are read again at most, the newest first."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known of the data folder: all that arrived before ``settled`` has object and row, or neither."""

    settled: datetime | None = None  # None: nothing is known
    is_clean: bool = False  # nothing was written after it


class MarkFile:
    """The mark on the disk. Missing or unreadable, it says that nothing is known."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Mark:
        """What was written last."""
        try:
            told = json.loads(self._path.read_bytes())
            return Mark(datetime.fromisoformat(told["settled"]).astimezone(UTC), told["clean"] is True)
        except (OSError, ValueError, KeyError, TypeError):
            return Mark()

    def move_on(self, archive: Archive) -> None:
        """Note how far the archive, which is in use, is settled."""
        self._write(archive.settled(), is_clean=False)

    def finish(self, archive: Archive) -> None:
        """Note that the archive is closed."""
        self._write(archive.settled(), is_clean=archive.arrivals.are_settled)

    def _write(self, settled: datetime, *, is_clean: bool) -> None:
        told = {"settled": settled.isoformat(), "clean": is_clean}
        try:
            write_atomically(self._path, json.dumps(told).encode())
        except StoreError as error:  # an older mark only makes the next recovery look at more
            log.event("mark_not_written", level=logging.WARNING, reason=error)


@dataclass(slots=True)
class Recovery:
    """What was found and done."""

    adopted: int = 0  # objects without a row that have one now
    removed: int = 0  # second copies of what is stored elsewhere
    set_aside: int = 0  # objects nobody was told Success for, which cannot be adopted, or are damaged
    lost: int = 0  # rows whose object is missing or damaged
    verified: int = 0  # objects that were read again


@contextmanager
def kept_settled(archive: Archive, mark: MarkFile, *, leftovers: int) -> Iterator[None]:
    """Recover where the last stop was not clean; then keep the mark until the archive is closed.

    ``leftovers`` were swept out of the spool. Raises IndexFailure for a damaged index, StoreError.
    """
    before, began = mark.read(), time.monotonic()
    if not before.is_clean:
        _refuse_damaged(archive.index)
        done = recover(archive, before)
        if before.settled is not None or leftovers or any(asdict(done).values()):
            ms = round((time.monotonic() - began) * 1000)
            log.event("recovered", level=logging.WARNING, leftovers=leftovers, **asdict(done), ms=ms)
    mark.move_on(archive)
    yield
    mark.finish(archive)


def recover(
    archive: Archive, mark: Mark, *, seconds: float = VERIFY_SECONDS, monotonic: Callable[[], float] = time.monotonic
) -> Recovery:
    """Make store and index agree about what arrived since the mark; nobody else may use them.

    Objects without a row are adopted or set aside; rows without a sound object are struck, so that the instance can
    be stored again. What was acknowledged has both, unless the disk lost what it promised to keep.

    Raises StoreError where none of the rows has its object: then the objects are not where they should be.
    """
    since = "" if mark.settled is None else _first_key(mark.settled)
    done = Recovery()
    refuse_missing_objects(archive, since)
    for difference in archive.compare(since):
        if difference.has_object:
            adopt(archive, difference.key, done)
        else:
            _strike(archive, difference.key, "the object is missing", done)
    deadline = monotonic() + seconds
    for key in reversed(list(archive.index.keys(since))):
        if monotonic() > deadline:
            break
        _verify(archive, key, done)
    return done


def _refuse_damaged(index: Index) -> None:
    problems = index.problems(CHECK_SECONDS)
    if problems:
        raise IndexFailure(f"the index is damaged ({problems[0]}); rebuild it by: pacsnode reindex")


def _first_key(settled: datetime) -> str:
    return layout.new_key(settled, bytes(layout.RANDOM_BYTES))


def refuse_missing_objects(archive: Archive, since: str = "") -> None:
    """Raises StoreError where there are rows from this key on, but not a single object."""
    rows = archive.index.keys(since)
    if next(rows, None) is not None and archive.store.is_bare():
        raise StoreError(
            "the index knows objects, but there is none in objects/; mount their file system, or rebuild the index by: "
            "pacsnode reindex"
        )


def adopt(archive: Archive, key: Key, done: Recovery) -> None:
    """Give an object without a row one, if it is whole and wanted, or set it aside; ``done`` says what.

    One that the disk does not give back is left where it is.
    """
    try:
        instance = archive.describe(key)
        digest = encodings.digest_of_origin(archive.store, instance.stored)
        outcome = archive.record(instance, digest)
    except ObjectNotFound:
        return
    except ObjectUnreadable as error:
        _leave(key, str(error))
        return
    except (ObjectDamaged, DuplicateRefused) as error:
        _set_aside(archive, key, str(error), done)
        return
    if outcome is Outcome.ALREADY_THERE:
        _settle_second_copy(archive, instance, digest, done)
    elif outcome is Outcome.KEPT_FIRST:
        _set_aside(archive, key, "the instance is here with other content, which came first", done)
    else:
        done.adopted += 1


def _settle_second_copy(archive: Archive, copy: Instance, digest: str, done: Recovery) -> None:
    """Keep the copy that is sound; ``digest`` is that of the data set that came, which either may hold encoded anew."""
    first = archive.holding(copy.header.sop_instance_uid, digest)
    if first is None:
        return
    finding = archive.problem_of(first)
    if finding is None and copy.stored.digest == digest != first.stored.digest:
        return  # the original of what was compressed, which compression keeps for a while
    if finding is None:
        archive.store.delete(copy.stored.key)
        done.removed += 1
        return
    if not finding.is_certain:
        _leave(first.stored.key, finding.problem)
        return
    archive.index.relocate(first.stored, copy)
    _set_aside(archive, first.stored.key, finding.problem, done)


def _verify(archive: Archive, key: Key, done: Recovery) -> None:
    instance = archive.index.at(key)
    if instance is None:
        return
    finding = archive.problem_of(instance)
    done.verified += 1
    if finding is not None and not finding.is_certain:
        _leave(key, finding.problem)
    elif finding is not None:
        _strike(archive, key, finding.problem, done)


def _strike(archive: Archive, key: Key, problem: str, done: Recovery) -> None:
    struck = archive.index.strike(key)
    done.lost += 1
    uid = struck.header.sop_instance_uid if struck else None
    log.event("object_lost", level=logging.ERROR, uid=uid, key=key, problem=problem)
    archive.store.set_aside(key, problem)


def _leave(key: Key, problem: str) -> None:
    """A disk that fails now may be one whose cable is loose: nothing is decided upon it."""
    log.event("object_unreadable", level=logging.ERROR, key=key, problem=problem)


def _set_aside(archive: Archive, key: Key, reason: str, done: Recovery) -> None:
    archive.store.set_aside(key, reason)
    done.set_aside += 1
    log.event("object_set_aside", level=logging.WARNING, key=key, reason=reason)
