"""A node on a simulated disk: what it does, the moments where the power may fail, and what must be true afterwards."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from pacsnode import recovery
from pacsnode.archive import Archive
from pacsnode.errors import ObjectDamaged
from pacsnode.index.index import Index
from pacsnode.model import Arrival, Instance, Key, Outcome, StoredObject, Uid
from pacsnode.recovery import Mark, Recovery
from pacsnode.storage.filesystem import FilesystemStore
from pacsnode.storage.store import Store
from tests.dimse.images import image, uid_of
from tests.dimse.raw_peer import CT, EXPLICIT
from tests.durability.simulated import EMPTY, Disk, Moment, PowerCut, SimulatedFileSystem

ROOT = Path("/data")
STAGING_BYTES = 4096
NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
Rows = tuple[Instance, ...]
Promise = tuple[str, str]  # SOP Instance UID and digest


class SimulatedIndex:
    """What the archive and a removal ask of an index; a row is durable when its call returns, and before it may be."""

    def __init__(self, rows: Rows = (), before_commit: Callable[[], None] = lambda: None) -> None:
        self.possible = [rows]  # what a power cut leaves is one of these; the last is what we see
        self._before_commit = before_commit

    def knows(self, uid: Uid, digest: str) -> bool:
        return any((uid, digest) == promise_of(row) for row in self.possible[-1])

    def add(self, instance: Instance) -> Outcome:
        if self.knows(instance.header.sop_instance_uid, instance.stored.digest):
            return Outcome.ALREADY_THERE
        known = any(instance.header.sop_instance_uid == row.header.sop_instance_uid for row in self.possible[-1])
        self._commit(lambda rows: (*rows, instance))
        return Outcome.NEW_VERSION if known else Outcome.STORED

    def remove(self, uid: Uid) -> Instance | None:
        removed = [row for row in self.possible[-1] if row.header.sop_instance_uid == uid][-1]
        self._commit(lambda rows: tuple(row for row in rows if row != removed))
        return removed

    def relocate(self, old: StoredObject, new: Instance) -> bool:
        found = self.at(old.key)
        if found is None:
            return False
        self._commit(lambda rows: tuple(new if row == found else row for row in rows))
        return True

    def strike(self, key: Key) -> Instance | None:
        found = self.at(key)
        self._commit(lambda rows: tuple(row for row in rows if row != found))
        return found

    def at(self, key: Key) -> Instance | None:
        return next((row for row in self.possible[-1] if row.stored.key == key), None)

    def keys(self, since: str = "") -> Iterator[Key]:
        return iter(sorted(row.stored.key for row in self.possible[-1] if row.stored.key >= since))

    def versions(self, uid: Uid) -> list[Instance]:
        return [row for row in self.possible[-1] if row.header.sop_instance_uid == uid]

    def everything(self) -> Iterator[Instance]:
        return iter(self.possible[-1])

    def _commit(self, change: Callable[[Rows], Rows]) -> None:
        self.possible.append(change(self.possible[-1]))
        self._before_commit()
        self._synced()

    def _synced(self) -> None:
        self.possible = self.possible[-1:]


@dataclass(frozen=True)
class Cut:
    """A power cut, and what had been promised by then."""

    label: str
    moment: Moment
    possible_rows: tuple[Rows, ...]
    acknowledged: frozenset[Promise]
    deleted: frozenset[Key]


@dataclass
class _Work:
    """Something a thread does; ``meanwhile`` is what others do to their end before its n-th call."""

    name: str
    meanwhile: Mapping[int, Callable[[], object]]
    calls: int = 0


class Scene:
    """Runs a node and keeps a Cut of every call. Mutants override how it works."""

    def __init__(self, *, staging_bytes: int = STAGING_BYTES, kill_at: int = 0) -> None:
        """``kill_at``: the process ends before this call; see ``restart``."""
        self.cuts: list[Cut] = []
        self._staging_bytes = staging_bytes
        self._kill_at = kill_at
        self._calls = 0
        self._acknowledged: set[Promise] = set()
        self._deleted: set[Key] = set()
        self._work: list[_Work] = [_Work("start", {})]
        self._index = self.new_index()
        self._fs = self.new_file_system()
        self._fs.before_call = self._before_call
        self._archive: Archive | None = None

    def new_file_system(self) -> SimulatedFileSystem:
        return SimulatedFileSystem(EMPTY)

    def new_index(self) -> SimulatedIndex:
        return SimulatedIndex((), lambda: self._before_call("commit"))

    def new_archive(self, store: Store, index: SimulatedIndex) -> Archive:
        return Archive(store, cast(Index, index), lambda: NOW)

    def store(
        self,
        number: int,
        pixels: bytes = b"\1\2\3\4",
        *,
        pieces: int = 1,
        meanwhile: Mapping[int, Callable[[], object]] | None = None,
    ) -> None:
        """A C-STORE up to its Success, its data set coming in so many pieces."""
        archive, data = self.archive, image(number, pixels=pixels)
        self._work.append(_Work(f"store {number}", meanwhile or {}))
        arrival = Arrival(Uid(CT), Uid(uid_of(number)), Uid(EXPLICIT), "CT01", "PACSNODE", NOW)
        with archive.receive(arrival) as ingest:
            size = -(-len(data) // pieces)
            for start in range(0, len(data), size):
                ingest.write(data[start : start + size])
            digest = ingest._upload.digest()
            self.finish((uid_of(number), digest), ingest.commit)
        self._work.pop()

    def finish(self, promise: Promise, commit: Callable[[], object]) -> None:
        commit()
        self.acknowledge(promise)

    def delete(self, number: int) -> None:
        """Remove the current version: row, then object."""
        self._work.append(_Work(f"delete {number}", {}))
        current = [row for row in self._index.everything() if row.header.sop_instance_uid == uid_of(number)][-1]
        self._acknowledged.discard(promise_of(current))
        self.erase(current)
        self._deleted.add(current.stored.key)
        self._cut("deleted")
        self._work.pop()

    def erase(self, instance: Instance) -> None:
        removed = self._index.remove(instance.header.sop_instance_uid)
        assert removed == instance
        self.archive.store.delete(instance.stored.key)

    def acknowledge(self, promise: Promise) -> None:
        """Success is said."""
        self._acknowledged.add(promise)
        self._cut("acknowledged")

    def restart(self) -> None:
        """Another process after ``kill -9``; the machine goes on."""
        self._kill_at = 0
        self._fs = self._fs.survivor(self._before_call)
        self._work = [_Work("start again", {})]
        self._archive = None

    @property
    def archive(self) -> Archive:
        """That of the running process; asked for the first time, it starts."""
        if self._archive is None:
            store = FilesystemStore(ROOT, fs=self._fs, staging_bytes=self._staging_bytes)
            store.sweep()
            self._archive = self.new_archive(store, self._index)
        return self._archive

    def _before_call(self, name: str) -> None:
        self._calls += 1
        if self._kill_at and self._calls >= self._kill_at:
            raise PowerCut
        self._cut(name)
        work = self._work[-1]
        work.calls += 1
        if work.calls in work.meanwhile:
            work.meanwhile[work.calls]()

    def _cut(self, name: str) -> None:
        label = " in ".join([name, *(work.name for work in reversed(self._work))])
        promised = frozenset(self._acknowledged), frozenset(self._deleted)
        self.cuts.append(Cut(label, self._fs.moment(), tuple(self._index.possible), *promised))


@dataclass
class Proof:
    """Looks at every disk that the cuts may leave; ``findings`` are broken promises."""

    at_most: int  # disks of one cut; where more are possible, so many are drawn
    findings: list[str] = field(default_factory=list)
    states: int = 0  # distinct ones: disk, rows and promises
    exhausted: int = 0  # cuts of which every disk was looked at
    drawn: int = 0  # cuts of which only some were
    _recovered: set[object] = field(default_factory=set)
    _chance: random.Random = field(default_factory=lambda: random.Random(1))

    def examine(self, cuts: Iterable[Cut]) -> Proof:
        """Recover from every state of these cuts of one scene."""
        seen: set[int] = set()
        for cut in cuts:
            disks = list(cut.moment.disks(self.at_most, self._chance))
            self.drawn += len(disks) == self.at_most
            self.exhausted += len(disks) < self.at_most
            for disk, rows in itertools.product(disks, dict.fromkeys(cut.possible_rows)):
                state = hash((disk.identity, rows, cut.acknowledged, cut.deleted))
                if state not in seen:
                    seen.add(state)
                    self.findings += [
                        f"{problem}, cut before {cut.label}" for problem in self._problems(cut, disk, rows)
                    ]
        self.states += len(seen)
        return self

    def _problems(self, cut: Cut, disk: Disk, rows: Rows) -> Iterator[str]:
        archive, fs = found_after(disk, rows)
        found = examine_objects(archive)
        broken = list(problems(cut, found, rows, fs))
        yield from broken
        # Disks that differ in the spool alone, which is swept by now, look the same to recovery.
        sight = frozenset(found.whole.items()), rows, cut.acknowledged
        if not broken and sight not in self._recovered:
            self._recovered.add(sight)
            yield from problems_of_recovery(archive, found, cut)


def found_after(disk: Disk, rows: Rows) -> tuple[Archive, SimulatedFileSystem]:
    """What a node finds when it starts on what the power cut left, before it recovers."""
    fs = SimulatedFileSystem(disk)
    store = FilesystemStore(ROOT, fs=fs, staging_bytes=STAGING_BYTES)
    store.sweep()
    return Archive(store, cast(Index, SimulatedIndex(rows)), lambda: NOW), fs


@dataclass(frozen=True)
class Objects:
    """What a walk over the store finds: the instances that reindex would take, and what it would leave."""

    whole: Mapping[Key, Promise]
    damaged: Sequence[Key]


def examine_objects(archive: Archive) -> Objects:
    """Read every object to its end."""
    whole, damaged, keys = {}, [], archive.store.keys()
    for key in keys:
        try:
            whole[key] = promise_of(archive.describe(key))
        except ObjectDamaged:
            damaged.append(key)
    return Objects(whole, damaged)


def problems(cut: Cut, found: Objects, rows: Rows, fs: SimulatedFileSystem) -> Iterator[str]:
    """What is not as promised when a node starts again, before it recovers."""
    readable = {promise_of(row) for row in rows if found.whole.get(row.stored.key) == promise_of(row)}
    spool = ROOT / "spool"
    if any(fs.files(spool / folder) for folder in fs.directories(spool)):
        yield "leftover in the spool"
    if found.damaged:
        yield "torn object visible"
    if cut.deleted & found.whole.keys():
        yield "deleted object came back"
    if len(readable) < len(rows):
        yield "row without its object"
    if cut.acknowledged - readable:
        yield "acknowledged instance lost"


def problems_of_recovery(archive: Archive, found: Objects, cut: Cut) -> Iterator[str]:
    """What the node's own recovery does not put right, or spoils, where nothing was damaged."""
    done = recovery.recover(archive, Mark())
    rows = {row.stored.key: promise_of(row) for row in archive.index.everything()}
    if done.lost or done.set_aside:
        yield "recovery gave up a sound object"
    if dict(examine_objects(archive).whole) != rows:
        yield "objects and rows differ after recovery"
    if not set(found.whole.values()) == set(rows.values()) >= cut.acknowledged:
        yield "recovery lost an instance"
    if recovery.recover(archive, Mark()) != Recovery(verified=len(rows)):
        yield "a second recovery finds something to do"


def promise_of(instance: Instance) -> Promise:
    """What an instance is known by."""
    return instance.header.sop_instance_uid, instance.stored.digest
