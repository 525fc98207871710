"""A verification finds whatever is not as it was put there, and a drill that it would come back."""

from __future__ import annotations

import os
import random
import shutil
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyrage
import pytest

from pacsnode.backup import encryption
from pacsnode.backup.drill import drill, stratified
from pacsnode.backup.manifest import Copied
from pacsnode.backup.settings import Settings
from pacsnode.backup.verify import Verification
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.jobs.budget import RunBudget
from pacsnode.storage import layout
from tests.backup.scene import Scene, flip

FLIPS = int(os.environ.get("PACSNODE_FLIPS", "500"))


def filled(root: Path, *, sealed: bool = False) -> Scene:
    """A scene with three manifests, two of them with a snapshot."""
    key = None
    root.mkdir(exist_ok=True)
    if sealed:
        key = root / "key.txt"
        key.write_text(str(pyrage.x25519.Identity.generate()))
    scene = Scene(root, encryption=encryption.load(key), settings=Settings(transfers=2))
    for hours in (0, 1, 30):
        scene.clock.ahead = timedelta(hours=hours)
        scene.receive(4)
        scene.run()
    return scene


@pytest.mark.parametrize("sealed", [False, True])
def test_every_flip_is_found(tmp_path: Path, sealed: bool) -> None:
    """One bit, anywhere in any file of the target, is found, and told by the name of the file."""
    scene = filled(tmp_path / "node", sealed=sealed)
    known = list(scene.data.glob("backup.db*"))
    missed = []
    for number in range(FLIPS // 2):
        path = scene.files()[number % len(scene.files())]
        sound = path.read_bytes()
        kept = {one: one.read_bytes() for one in known}
        flip(path)
        name = path.relative_to(scene.place).as_posix()
        if name not in {finding.name for finding in scene.verify().findings}:
            missed.append(name)
        path.write_bytes(sound)
        for one, content in kept.items():
            one.write_bytes(content)

    assert [] == missed
    assert [] == scene.verify().findings


def test_every_missing_file_is_found(tmp_path: Path) -> None:
    """So is each file that is not there any more."""
    scene = filled(tmp_path / "node")
    found = []
    for path in scene.files():
        away = path.rename(tmp_path / "away")
        with scene.knowledge() as knowledge:
            verification = Verification(knowledge, scene.vault, scene.settings, scene.clock)
            found.append(
                path.name in {f.name.rpartition("/")[2] for f in verification.everything(RunBudget()).findings}
            )
        away.rename(path)

    assert all(found)


def test_damaged_manifests_need_no_mending(tmp_path: Path) -> None:
    """After damage in the chain the next run makes a snapshot, from which a restore brings everything back."""
    scene = filled(tmp_path / "node")
    flip(scene.place / "manifests" / "0000000003.json")
    assert scene.verify().findings
    scene.receive(1)
    scene.run()
    done = scene.restore(tmp_path / "back")

    assert ([], 13, 4) == (done.findings, done.objects, done.point)


def test_slices_make_a_pass(tmp_path: Path) -> None:
    """A part at a time, no more than is due, and after the configured time all was read once."""
    scene = filled(tmp_path / "node")
    scene.settings = Settings(verify_pass=100.0)
    sizes, finished = [], []
    for second in range(0, 121, 10):
        scene.clock.ahead = timedelta(hours=30, seconds=second)
        with scene.knowledge() as knowledge:
            found = Verification(knowledge, scene.vault, scene.settings, scene.clock).slice(RunBudget())
        sizes.append(found.size)
        finished.append(found.finished)
        if found.finished:
            break
    with scene.knowledge() as knowledge:
        total = knowledge.totals()[1]

    assert total == sum(sizes)
    assert finished[-1]
    assert len(finished) > 1


def test_a_drill_that_holds(tmp_path: Path) -> None:
    """The newest snapshot answers as it did, the objects of a sample are what they were; nothing is left behind."""
    scene = filled(tmp_path / "node")
    found = drill(scene.vault, scene.settings, scene.clock, RunBudget())

    assert ([], 3, 12) == (found.findings, found.point, found.objects)
    assert found.queries >= 40
    assert found.rto_seconds >= found.index_seconds > 0
    assert 0 <= found.rpo_seconds < 60
    assert ["lock"] == [path.name for path in scene.vault.scratch.iterdir()]


def test_a_drill_that_fails(tmp_path: Path) -> None:
    """Damage that a restore would meet is told: of the snapshot, of objects."""
    scene = filled(tmp_path / "node")
    (newest,) = (path for path in scene.place.glob("snapshots/0000000003.*.index.db.gz"))
    sound = newest.read_bytes()
    flip(newest)
    damaged = drill(scene.vault, scene.settings, scene.clock, RunBudget())
    newest.write_bytes(sound)
    flip(random.choice(list(scene.place.rglob("objects/*/*"))))
    lost = drill(scene.vault, scene.settings, scene.clock, RunBudget())

    assert 1 == len(damaged.findings)
    assert (1, 11) == (len(lost.findings), lost.objects)


def test_other_answers_are_told(tmp_path: Path) -> None:
    """An index that answers otherwise than when the snapshot was made is a finding, query by query."""
    from pacsnode.backup import answers

    scene = filled(tmp_path / "node")
    shutil.copy(scene.data / "index.db", tmp_path / "copy.db")
    recorded = answers.recorded(tmp_path / "copy.db")
    with closing(SqliteIndex(tmp_path / "copy.db")) as index:
        before = answers.differences(index, recorded)
        for key in list(index.keys()):
            index.strike(key)
        after = answers.differences(index, recorded)

    assert ([], len(recorded)) == (before, len(after))


def test_a_sample_is_from_all_times(tmp_path: Path) -> None:
    """One of each span of time; all of them where there are fewer than asked for."""
    scene = filled(tmp_path / "node")
    with scene.knowledge() as knowledge:
        copies: list[Copied] = list(knowledge.objects())
    sample = [copies.index(one) for one in stratified(copies, 4)]

    assert [0, 1, 2, 3] == [place // 3 for place in sample]
    assert copies == stratified(copies, 100)
    assert [] == stratified([], 100)


def test_what_somebody_waits_for_is_read_first(tmp_path: Path) -> None:
    """Once, before the slice, and not as a part of it; what is not in the backup is passed over."""
    scene = filled(tmp_path / "node")
    with scene.knowledge() as knowledge:
        last, total = list(knowledge.objects())[-1], knowledge.totals()[1]
        wanted = [last.key, layout.new_key(scene.clock(), bytes(10))]
        sizes, passed = [], []
        for _ in range(2):
            verification = Verification(knowledge, scene.vault, scene.settings, scene.clock)
            sizes.append(verification.slice(RunBudget(), wanted).size)
            passed.append(knowledge.fact("pass"))

        assert [last.piece.size + total, 0] == sizes  # fewer than a batch are read at once
        assert (total, None) == (passed[0]["read"], passed[1])
        assert knowledge.holds(last.key)


def test_held_for_sure(scene: Scene) -> None:
    """An object is, when it was read again since it was copied, is told by a manifest, and has not gone since."""
    (key,) = scene.receive(1)
    with scene.knowledge() as knowledge:
        told = [knowledge.holds(key)]
        scene.run()
        told.append(knowledge.holds(key))
        scene.verify()
        told.append(knowledge.holds(key))
        (entry,) = knowledge.objects()
        knowledge.settle([entry], (), ())  # copied again, as after damage: neither told nor read
        knowledge.read_back([replace(entry, piece=replace(entry.piece, digest="00" * 32))])  # what lay there before
        knowledge.publish(1 << 40)
        told.append(knowledge.holds(key))
        knowledge.read_back([entry])
        told.append(knowledge.holds(key))
        knowledge.settle([entry], (), ())
        knowledge.read_back([entry])
        told.append(knowledge.holds(key))
        knowledge.publish(1 << 40)
        told.append(knowledge.holds(key))
        with scene.archive() as archive:
            archive.index.strike(key)
        scene.run()
        told.append(knowledge.holds(key))

    assert [False, False, True, False, True, False, True, False] == told
