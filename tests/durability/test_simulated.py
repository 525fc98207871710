"""Power cuts, simulated: at every call the store makes, with every disk that may be left then."""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pacsnode.archive import Archive, Ingest
from pacsnode.dicom import header, part10
from pacsnode.index.index import Index
from pacsnode.model import Arrival, Instance, Key, Outcome, StoredObject
from pacsnode.storage import layout
from pacsnode.storage.atomic import write_atomically
from pacsnode.storage.store import Store
from tests.durability.scene import NOW, Promise, Proof, Scene, SimulatedIndex, examine_objects, found_after
from tests.durability.simulated import EMPTY, Disk, Moment, PowerCut, SimulatedFileSystem

ENOUGH_STATES = 50_000
AT_MOST = 1_500  # disks of one cut
CALLS_OF_A_STORE = 7  # create, write, sync, link, unlink, sync_directory, and the commit of the index
PIXELS, OTHER_PIXELS = random.Random(3).randbytes(600), random.Random(4).randbytes(1000)

Kind = Callable[..., Scene]


def first_instance(kind: Kind) -> Iterator[Scene]:
    """On an empty disk: every directory is new."""
    scene = kind()
    scene.store(1, OTHER_PIXELS)
    yield scene


def in_pieces(kind: Kind) -> Iterator[Scene]:
    """An instance that exceeds the staging buffer: its file grows, and its head is filled in last."""
    for staging_bytes in (600, 1024, 1536):
        scene = kind(staging_bytes=staging_bytes)
        scene.store(1, PIXELS, pieces=3)
        yield scene


def replaced_and_deleted(kind: Kind) -> Iterator[Scene]:
    """Other content under a known UID; then both versions are deleted, the newer one first."""
    scene = kind()
    scene.store(1, PIXELS)
    scene.store(1, OTHER_PIXELS)
    scene.delete(1)
    scene.delete(1)
    scene.store(1, PIXELS)
    yield scene


def two_at_once(kind: Kind) -> Iterator[Scene]:
    """An instance comes and goes to its end at each call of another."""
    for call in range(1, CALLS_OF_A_STORE + 1):
        scene = kind()
        scene.store(1)
        scene.store(2, PIXELS, meanwhile={call: partial(scene.store, 3, PIXELS)})
        yield scene


def three_at_once(kind: Kind) -> Iterator[Scene]:
    """The same, with a third one at each call of the second."""
    for outer in range(1, CALLS_OF_A_STORE + 1):
        for inner in range(1, CALLS_OF_A_STORE + 1):
            scene = kind()
            scene.store(1)
            innermost = partial(scene.store, 4, PIXELS)
            scene.store(2, PIXELS, meanwhile={outer: partial(scene.store, 3, meanwhile={inner: innermost})})
            yield scene


def killed_before(kind: Kind) -> Iterator[Scene]:
    """The process was killed at some call, and only later the power failed."""
    for call in itertools.count(1):
        scene = kind(kill_at=call)
        try:
            scene.store(1, PIXELS)
        except PowerCut:
            scene.restart()
            scene.store(2)
            yield scene
        else:
            return


SCENES = (first_instance, in_pieces, replaced_and_deleted, two_at_once, three_at_once, killed_before)


def test_power_cuts() -> None:
    """Nothing acknowledged is lost, no row lacks its object, nothing torn is visible, nothing deleted comes back."""
    proof = Proof(AT_MOST)
    for scenes in SCENES:
        for scene in scenes(Scene):
            proof.examine(scene.cuts)
    print(f"{proof.states} states; cuts with every disk: {proof.exhausted}, with {AT_MOST} drawn: {proof.drawn}")

    assert [] == proof.findings
    assert proof.states >= ENOUGH_STATES


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_power_cuts_under_any_load(data: st.DataObject) -> None:
    """Several uploads within one another, of any size, in any pieces; some replace, some are deleted afterwards."""
    scene = Scene(staging_bytes=data.draw(st.sampled_from([600, 1024, 4096])))
    scene.store(0)
    remaining = data.draw(st.integers(1, 4))

    def store() -> None:
        nonlocal remaining
        remaining -= 1
        meanwhile: Mapping[int, Callable[[], object]] = {}
        if remaining:
            meanwhile = {data.draw(st.integers(1, 12)): store}
        pixels = random.Random(remaining).randbytes(2 * data.draw(st.integers(1, 3000)))
        number, pieces = data.draw(st.integers(0, 2)), data.draw(st.integers(1, 4))
        scene.store(number, pixels, pieces=pieces, meanwhile=meanwhile)

    store()
    if data.draw(st.booleans()):
        scene.delete(0)

    assert [] == Proof(at_most=10).examine(scene.cuts).findings


class WithoutFileSync(Scene):
    """Answers fdatasync at once."""

    def new_file_system(self) -> SimulatedFileSystem:
        class Lazy(SimulatedFileSystem):
            def sync(self, descriptor: int) -> None:
                self.before_call("sync that does nothing")

        return Lazy(EMPTY)


class WithoutDirectorySync(Scene):
    """Answers the fsync of a directory at once."""

    def new_file_system(self) -> SimulatedFileSystem:
        class Lazy(SimulatedFileSystem):
            def sync_directory(self, path: Path) -> None:
                self.before_call("sync_directory that does nothing")

        return Lazy(EMPTY)


class WithRelaxedIndex(Scene):
    """Commits without a sync of the log: the row may be lost although ``add`` returned."""

    def new_index(self) -> SimulatedIndex:
        class Relaxed(SimulatedIndex):
            def _synced(self) -> None:
                pass

        return Relaxed((), lambda: self._before_call("commit"))


class IndexFirst(Scene):
    """Commits the row, then the object."""

    def new_archive(self, store: Store, index: SimulatedIndex) -> Archive:
        class EarlyRow(Ingest):
            def commit(self) -> Outcome:
                found, key = header.read_header(self._walker.finish()), layout.new_key(NOW, secrets.token_bytes(9))
                offset = part10.HeadTemplate(self.arrival).size
                stored = StoredObject(key, self.size, self._upload.digest(), self.arrival.transfer_syntax_uid, offset)
                outcome = index.add(Instance(found, stored, NOW, self.arrival.calling_ae, self.arrival.called_ae))
                self._upload.commit(key)
                return outcome

        class EarlyRows(Archive):
            def receive(self, arrival: Arrival) -> Ingest:
                return EarlyRow(self, arrival)

        return EarlyRows(store, cast(Index, index), lambda: NOW)


class AnswersEarly(Scene):
    """Says Success, then commits."""

    def finish(self, promise: Promise, commit: Callable[[], object]) -> None:
        self.acknowledge(promise)
        commit()


class DeletesObjectFirst(Scene):
    """Removes the object, then the row."""

    def erase(self, instance: Instance) -> None:
        self.archive.store.delete(instance.stored.key)
        self._index.remove(instance.header.sop_instance_uid)


@pytest.mark.parametrize(
    ("mutant", "problem"),
    [
        (WithoutFileSync, "torn object visible"),
        (WithoutFileSync, "row without its object"),
        (WithoutFileSync, "acknowledged instance lost"),
        (WithoutDirectorySync, "acknowledged instance lost"),
        (WithoutDirectorySync, "deleted object came back"),
        (WithRelaxedIndex, "acknowledged instance lost"),
        (IndexFirst, "row without its object"),
        (AnswersEarly, "acknowledged instance lost"),
        (DeletesObjectFirst, "row without its object"),
    ],
)
def test_mutants_are_caught(mutant: Kind, problem: str) -> None:
    """A node that leaves out or misplaces one step breaks the promise that hangs on it, and the proof sees it."""
    proof = Proof(at_most=200)
    for scenes in (first_instance, replaced_and_deleted):
        for scene in scenes(mutant):
            proof.examine(scene.cuts)

    assert any(finding.startswith(problem) for finding in proof.findings)


def test_torn_object_is_never_taken_as_whole() -> None:
    """Without any fdatasync, whatever is found of an object is either what was sent or known to be damaged."""
    scene = WithoutFileSync()
    scene.store(1, PIXELS)
    sent = {promise for cut in scene.cuts for promise in cut.acknowledged}
    taken: set[Promise] = set()
    damaged: set[Key] = set()
    for cut in scene.cuts:
        for disk in cut.moment.disks(AT_MOST, random.Random(1)):
            found = examine_objects(found_after(disk, ())[0])
            taken.update(found.whole.values())
            damaged.update(found.damaged)

    assert taken == sent
    assert 1 == len(damaged)


def test_small_files_are_whole_or_as_before() -> None:
    """A file that is written atomically holds the old content or the new one, and the new one once that returned."""
    path, fs = Path("/state"), SimulatedFileSystem()
    write_atomically(path, b"old" * 300, fs=fs)
    moments: list[Moment] = []
    fs.before_call = lambda name: moments.append(fs.moment())
    write_atomically(path, b"new" * 500, fs=fs)
    found = {content_after(disk, path) for moment in moments for disk in moment.disks(AT_MOST, random.Random(1))}

    assert {b"old" * 300, b"new" * 500} == found
    assert {b"new" * 500} == {content_after(disk, path) for disk in fs.moment().disks(AT_MOST, random.Random(1))}


def content_after(disk: Disk, path: Path) -> bytes:
    with SimulatedFileSystem(disk).open(path) as source:
        return source.read()
