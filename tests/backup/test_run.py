"""A run copies what is new, at a cost of just that, and tells so in the target."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pacsnode.backup import chain
from pacsnode.backup.folder import FolderTarget
from pacsnode.backup.settings import Settings
from pacsnode.backup.vault import Vault
from pacsnode.errors import BackupFailure, IndexFailure, NodeRunning
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.jobs.budget import RunBudget
from pacsnode.model import Uid
from pacsnode.storage import layout
from tests.backup.scene import Scene, contents, flip


def test_objects_go_by_digest(scene: Scene) -> None:
    """Every object lies in the target under its SHA-256, as the file it is here."""
    scene.receive(7)
    done = scene.run()
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in scene.place.rglob("objects/*/*")}

    assert (7, 0) == (done.copied, done.failed)
    assert set(contents(scene.data)[0].values()) == set(there)
    assert all(name == digest for name, digest in there.items())


def test_the_next_run_copies_what_is_new(scene: Scene) -> None:
    """What is there is not touched again; a run without anything new writes nothing."""
    scene.receive(5)
    first = scene.run()
    before = {path: path.stat().st_mtime_ns for path in scene.files()}
    second = scene.run()
    unchanged = {path: path.stat().st_mtime_ns for path in scene.files()}
    scene.receive(3)
    third = scene.run()

    assert [5, 0, 3] == [first.copied, second.copied, third.copied]
    assert before == unchanged
    assert before.items() <= {path: path.stat().st_mtime_ns for path in scene.files()}.items()
    assert [1, 1, 2] == [first.point, second.point, third.point]


def test_what_went_is_told_and_leaves_after_its_time(tmp_path: Path) -> None:
    """A removal is in the next manifest; the object leaves the target when the grace period is over, not before."""
    scene = Scene(tmp_path, settings=Settings(deletion_grace=3600.0))
    keys = scene.receive(3)
    scene.run()
    with scene.archive() as archive:
        gone = archive.index.strike(keys[1])
        archive.store.delete(keys[1])
    scene.run()
    kept = len(list(scene.place.rglob("objects/*/*")))
    scene.clock.ahead = timedelta(hours=3)
    done = scene.run()

    assert gone is not None
    assert (3, 1, 2) == (kept, done.dropped, len(list(scene.place.rglob("objects/*/*"))))


def test_the_same_bytes_under_another_key(tmp_path: Path) -> None:
    """What went under one key, and is wanted under another, does not leave the backup."""
    scene = Scene(tmp_path, settings=Settings(deletion_grace=3600.0))
    (key,) = scene.receive(1)
    scene.run()
    with scene.archive() as archive:
        old = archive.index.at(key)
        assert old is not None
        new = layout.new_key(old.received_at, bytes(layout.RANDOM_BYTES))
        shutil.copy(scene.data / "objects" / key, scene.data / "objects" / new)
        archive.index.relocate(old.stored, replace(old, stored=replace(old.stored, key=new)))
        archive.store.delete(key)
    scene.run()
    scene.clock.ahead = timedelta(hours=3)
    done = scene.run()

    assert 0 == done.dropped
    assert [] == scene.verify().findings
    assert [] == scene.restore(tmp_path / "back").findings


def test_damaged_here_is_not_copied(scene: Scene) -> None:
    """An object that is not what was received does not go into the backup; it is told, and tried again."""
    keys = scene.receive(3)
    path = scene.data / "objects" / keys[1]
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    first = scene.run()
    path.write_bytes(sound)
    second = scene.run()

    assert ((2, 1), (1, 0)) == ((first.copied, first.failed), (second.copied, second.failed))


def test_rebuilt_index(scene: Scene) -> None:
    """After a reindex all is compared once, and nothing is copied again."""
    scene.receive(4)
    scene.run()
    with scene.archive() as archive:
        for path in scene.data.glob("index.db*"):
            path.unlink()
        rebuilt = SqliteIndex(scene.data / "index.db")
        archive.index = rebuilt
        assert [None] * 4 == list(archive.rebuild())
        rebuilt.close()
    scene.receive(1)
    done = scene.run()

    assert 1 == done.copied


def test_a_budget_ends_a_run(scene: Scene) -> None:
    """What is left is done by the next one."""
    scene.receive(3)
    ended = scene.run(RunBudget(seconds=0.0))
    done = scene.run()

    assert (0, False) == (ended.copied, ended.finished)
    assert (3, True) == (done.copied, done.finished)


def test_another_node(tmp_path: Path) -> None:
    """Two nodes do not write to one target: the second one is refused, and changes nothing."""
    first, second = Scene(tmp_path / "a"), Scene(tmp_path / "b")
    second.vault = type(first.vault)(first.target, first.vault.encryption, second.vault.scratch)
    first.receive(2)
    first.run()
    second.receive(2)
    before = first.files()

    with pytest.raises(BackupFailure, match="belongs to another node"):
        second.run()
    assert before == first.files()


def test_a_twin(tmp_path: Path) -> None:
    """A node that was restored while the first one goes on: who comes second is refused."""
    first, twin = Scene(tmp_path / "a"), Scene(tmp_path / "b")
    first.receive(2)
    first.run()
    first.restore(twin.data.with_name("restored"))
    twin.data = twin.data.with_name("restored")
    (twin.data / "backup").mkdir()
    twin.vault = type(first.vault)(first.target, first.vault.encryption, twin.data / "backup")
    first.receive(1)
    first.run()
    twin._received = 10
    twin.receive(1)

    with pytest.raises(BackupFailure, match="another node has written"):
        twin.run()


def test_two_runs_at_once(scene: Scene) -> None:
    """A second run says that one is under way."""
    import fcntl

    scene.receive(1)
    lock = os.open(scene.vault.scratch / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with pytest.raises(NodeRunning, match="under way"):
            scene.run()
    finally:
        os.close(lock)


def test_lost_knowledge(scene: Scene) -> None:
    """Without its backup.db a node is refused until it is told to adopt; then it goes on where it was."""
    from pacsnode.backup import adoption

    scene.receive(3)
    scene.run()
    for path in scene.data.glob("backup.db*"):
        path.unlink()
    with pytest.raises(BackupFailure, match="--adopt"):
        scene.run()
    with scene.knowledge() as knowledge:
        adoption.adopt(knowledge, scene.vault, scene.clock())
    scene.receive(1)
    done = scene.run()

    assert (1, 2) == (done.copied, done.point)
    assert [] == scene.verify().findings


def test_snapshots(tmp_path: Path) -> None:
    """A snapshot a day, and as many stay as are to be kept; what stays can be restored."""
    scene = Scene(tmp_path, settings=Settings(keep_daily=2, keep_weekly=0))
    for day in range(4):
        scene.clock.ahead = timedelta(days=day)
        scene.receive(1)
        scene.run()
    scene.clock.ahead = timedelta(days=3, hours=2)
    scene.run()
    kept = {path.name.split(".")[0] for path in scene.place.glob("snapshots/*")}

    assert {"0000000003", "0000000004"} == kept
    assert [3, 4] == chain.numbers(scene.vault)
    assert [] == scene.verify().findings


def test_removed_while_it_is_copied(scene: Scene) -> None:
    """An instance that is gone when its turn comes is no error."""
    keys = scene.receive(2)
    with scene.archive() as archive, scene.knowledge() as knowledge:
        knowledge.follow((), keys, archive.index.here(), now=scene.clock())
        archive.index.remove(Uid(archive.index.at(keys[0]).header.sop_instance_uid))  # type: ignore[union-attr]
        archive.store.delete(keys[0])
    done = scene.run()

    assert (1, 0) == (done.copied, done.failed)


def test_damage_there_is_mended(scene: Scene) -> None:
    """What a verification found damaged or missing in the target is there again, sound, after the next run."""
    scene.receive(4)
    scene.run()
    objects = sorted(scene.place.rglob("objects/*/*"))
    flip(objects[0])
    objects[1].unlink()
    found = scene.verify()
    scene.run()

    assert {f"objects/{path.parent.name}/{path.name}" for path in objects[:2]} == {f.name for f in found.findings}
    assert [] == scene.verify().findings


def test_no_room_for_a_snapshot(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the index cannot be copied, what was copied is in a manifest all the same, and the next run goes on."""
    scene.receive(2)
    scene.run()
    scene.clock.ahead = timedelta(days=2)
    scene.receive(2)

    def full(*paths: Path) -> None:
        raise IndexFailure("index.db: cannot copy: database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("pacsnode.backup.snapshot.copy_of", full)
        with pytest.raises(IndexFailure, match="full"):
            scene.run()
    told = chain.read(scene.vault, 2).manifest
    scene.run()

    assert (None, 0) == (told.snapshot, told.pending)
    assert 3 == chain.since_snapshot(scene.vault)[0].manifest.number


def test_pending_is_told(scene: Scene) -> None:
    """A manifest of a run that was ended says how many objects were still to be copied."""
    scene.receive(100)
    ended = threading.Event()
    scene.run(RunBudget(stopping=ended, told=lambda done, total: ended.set()))
    told = chain.read(scene.vault, 1).manifest
    scene.run()

    assert 36 == told.pending
    assert [2] == chain.numbers(scene.vault)
    assert 0 == chain.read(scene.vault, 2).manifest.pending


def test_another_target(scene: Scene) -> None:
    """With another target all is copied there; back at the first one, only what came meanwhile."""
    scene.receive(3)
    scene.run()
    first = scene.vault
    (scene.root / "other").mkdir()
    scene.vault = Vault(FolderTarget(scene.root / "other"), first.encryption, first.scratch)
    scene.receive(1)
    there = scene.run()
    scene.vault = first
    back = scene.run()

    assert (4, 1) == (there.copied, back.copied)
    assert [] == scene.verify().findings
