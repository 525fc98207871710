"""``kill -9`` at random points of deleting, restoring and purging: nothing is half-done afterwards, and nothing lost.

A few kills here; ``PACSNODE_KILLS=200 make test T=tests/retention/test_kill.py`` does more.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pacsnode.model import Key
from pacsnode.recovery import Mark, recover
from pacsnode.retention.deletions import take_objects
from pacsnode.retention.records import State
from tests.integrity.scene import BEGAN, Hands
from tests.retention.scene import A, B, Scene
from tests.retention.victim import LATER

KILLS = int(os.environ.get("PACSNODE_KILLS", "15"))


def victim(folder: Path, point: int) -> subprocess.CompletedProcess[str]:
    """A process that is killed at this point; 0 is never."""
    command = [sys.executable, "-m", "tests.retention.victim", str(folder), str(point)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of three studies, to be copied."""
    folder = tmp_path_factory.mktemp("full")
    with closing(Scene(folder)) as scene:
        scene.fill()
    return folder


@pytest.mark.timeout(60 + 5 * KILLS)
def test_killed_at_random(full: Path, tmp_path: Path) -> None:
    """Each study is whole in the archive, or whole in the trash, or B gone for good; what can come back does."""
    with closing(Scene(full)) as scene:
        content = scene.content()
    shutil.copytree(full, tmp_path / "measured")
    first, last = map(int, victim(tmp_path / "measured", 0).stdout.split())
    assert last - first > 100
    width, chance = (last - first) / KILLS, random.Random(20261124)
    for kill in range(KILLS):
        point = first + 1 + int(width * kill + chance.uniform(0, width - 1))
        folder = tmp_path / str(kill)
        shutil.copytree(full, folder)
        assert -signal.SIGKILL == victim(folder, point).returncode
        check(folder, content, reindexes_first=bool(kill % 3 == 0))
        shutil.rmtree(folder)


def check(folder: Path, content: dict[Key, bytes], *, reindexes_first: bool) -> None:
    """What must be true after a kill and a start."""
    with closing(Scene(folder, clock=Hands(BEGAN + LATER * 2))) as scene:
        if reindexes_first:
            take_objects(scene.store.trash, scene.ledger)
            going = {one.study_uid for one in scene.ledger.under_way() if one.state is State.DELETING}
            assert set() == going & {value for row in scene.rebuilt() for value in row}
        scene.deletions.settle()
        assert [] == scene.ledger.under_way()
        done = recover(scene.archive, Mark())
        assert (0, 0, 0, 0) == (done.adopted, done.removed, done.set_aside, done.lost)
        assert scene.rebuilt() == scene.dump()
        assert scene.store.quarantine.is_empty()
        for study in (A, B):
            kept = scene.ledger.in_trash(study)
            rows = scene.index.of_study(study)
            is_purged = any(one.study_uid == study and one.state is State.PURGED for one in scene.ledger.deletions())
            assert [4] == [count for count in (len(rows), *(one.versions for one in kept)) if count] or is_purged
            for one in kept:
                assert 4 == scene.store.trash.count(one.name)
                scene.deletions.undelete(study)
            if is_purged:
                assert B == study
                assert not rows
                content = {key: value for key, value in content.items() if f"{B}.".encode() not in value}
        assert content == scene.content()
        assert scene.store.trash.is_empty()
        assert scene.rebuilt() == scene.dump()
