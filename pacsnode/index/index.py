"""The interface of the index: what the archive holds, for queries. Read this first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from datetime import datetime
from typing import Protocol

from pacsnode.index.changes import Changes, Place
from pacsnode.model import Holding, Instance, Key, Match, Outcome, Query, StoredObject, Totals, Uid


class Index(Protocol):
    """Rows about objects of the store; can be rebuilt from them. Safe to use from several threads.

    Every method raises IndexFailure when the database cannot do its part.
    """

    def add(self, instance: Instance) -> Outcome:
        """Record an instance; durable when it returns.

        Same SOP Instance UID and digest as a version of it: ALREADY_THERE, nothing written. Other content:
        by the duplicate policy NEW_VERSION (the new one becomes current), KEPT_FIRST, or DuplicateRefused is raised.
        Attributes of patient, study and series are those of the instance that arrived first (smallest key).
        UNDECIDED, and nothing written, where it or a version is compressed: they may hold the same in two encodings.
        """

    def add_beside(self, instance: Instance, compared: Collection[Key]) -> Outcome:
        """As ``add``, for who has found that the versions under these keys hold something else.

        UNDECIDED where there is another version by now.
        """

    def add_many(self, instances: Sequence[Instance]) -> list[Outcome]:
        """As ``add`` for each, in order, in one transaction; durable when it returns."""

    def put_back(self, instances: Sequence[Instance]) -> list[Outcome]:
        """Record versions that were struck before, in one transaction, whatever the duplicate policy is now.

        ALREADY_THERE where the key has a row. Durable when it returns.
        """

    def current(self, uid: Uid) -> Instance | None:
        """The current version of a SOP instance."""

    def knows(self, uid: Uid, digest: str) -> bool:
        """Is there a version of the SOP instance with this digest?"""

    def versions(self, uid: Uid) -> list[Instance]:
        """All versions of a SOP instance, the current one first, then from newest to oldest."""

    def of_study(self, uid: Uid) -> list[Instance]:
        """All versions of all instances of the study, current or not, in order of their keys."""

    def find(self, query: Query) -> Generator[Match, None, None]:
        """Matches at the query's level; paged with short read transactions; may be closed early."""

    def instances(self, query: Query) -> Generator[Instance, None, None]:
        """Current versions of all instances below the entities that match; paged; may be closed early."""

    def count_instances(self, query: Query) -> int:
        """How many instances ``instances`` would yield."""

    def kinds(self, query: Query) -> list[tuple[Uid, Uid]]:
        """The (SOP class, transfer syntax) pairs of what ``instances`` would yield, each once, in ascending order."""

    def everything(self, since: str = "") -> Iterator[Instance]:
        """All versions of all instances whose keys are not below ``since``, in order of the keys; paged."""

    def holdings(self, since: str = "") -> Iterator[Holding]:
        """As ``everything``, but only what the objects themselves are checked by: a fraction of the time."""

    def relocate(self, old: StoredObject, new: Instance) -> bool:
        """Let ``new`` take the place of the version of its UID stored as ``old``, with object and time of arrival.

        The content is taken to be the same: the header is not looked at. False when ``old`` is not there (any more).
        """

    def relocate_all(self, moves: Sequence[tuple[StoredObject, Instance]]) -> list[bool]:
        """``relocate`` for each of them, all or, where it raises, none."""

    def remove(self, uid: Uid) -> Instance | None:
        """Forget the current version; the newest older one, if any, becomes current. Durable when it returns."""

    def strike(self, key: Key) -> Instance | None:
        """Forget the version stored under the key, current or not, as ``remove`` does. Durable when it returns."""

    def strike_many(self, keys: Sequence[Key]) -> list[Instance]:
        """As ``strike`` for each, in one transaction; those that were there. Durable when it returns."""

    def at(self, key: Key) -> Instance | None:
        """The version stored under the key."""

    def keys(self, since: str = "") -> Iterator[Key]:
        """The keys of all versions that are not below ``since``, in ascending order; paged."""

    def holds(self, key: Key) -> bool:
        """Is there a row, of any version, for this object?"""

    def here(self) -> Place:
        """Where the index stands: ``changes`` tells what comes after."""

    def changes(self, place: Place) -> Changes | None:
        """A page of what came and went since the place, at a cost of just that; None where it is of another index, or
        from before what ``forget_changes`` has left.

        One that was rebuilt is another one. A key that came may have gone again, and may come in two pages.
        """

    def forget_changes(self) -> int:
        """Drop a page of the oldest that ``changes`` knows of removals and moves, but the newest million; how many were
        dropped."""

    def pulse(self) -> None:
        """Return once what writes has had its turn, having written nothing. Raises IndexFailure where it cannot write,
        or will not any more."""

    def observe(self, told: Callable[[int, float], None]) -> None:
        """Have each transaction told from now on that wrote something and in which nothing failed: how many changes
        were made durable together, and the seconds it took. What is told must not raise, nor take its time."""

    def senders(self, since: str) -> set[str]:
        """The calling AE titles of all versions whose keys are not below ``since``."""

    def arrivals(self, since: str, most: int) -> tuple[int, int, datetime | None]:
        """Of the newest versions, so many at most, whose keys are not below ``since``: how many, their bytes, and when
        the oldest of them came."""

    def problems(self, seconds: float) -> list[str]:
        """What is wrong with the database itself; empty also when that time was too short to look at all of it."""

    def totals(self) -> Totals:
        """Counts over current versions."""

    def close(self) -> None:
        """Close every connection; may be called twice."""
