"""``kill -9`` of a scrub that repairs: the next run completes it, nothing is lost and nothing is there twice.

A few kills here; ``PACSNODE_SCRUB_KILLS=50 make test T=tests/integrity/test_kill.py`` does more.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from pacsnode.integrity.scrub import STRAY_PATIENCE
from tests.integrity.scene import BEGAN, Scene, flip_anywhere

KILLS = int(os.environ.get("PACSNODE_SCRUB_KILLS", "12"))
INSTANCES, DAMAGED, LOST = 60, 25, 5
POINTS = 300  # a run has more


def damage(folder: Path, chance: random.Random) -> None:
    """Alter some objects that have a row, and remove some others."""
    scene = Scene(folder)
    with contextlib.closing(scene):
        there = [key for key in scene.index.keys() if scene.path_of(key).exists()]  # noqa: SIM118 - no mapping
        chosen = chance.sample(there, min(len(there) - 1, DAMAGED + LOST))
        for key in chosen[:LOST]:
            scene.path_of(key).unlink()
        for key in chosen[LOST:]:
            flip_anywhere(scene.path_of(key), chance)


def killed_run(folder: Path, seconds: int, point: int) -> int:
    """A scrub that is killed at some point: the exit code."""
    command = [sys.executable, "-m", "tests.integrity.killed", str(folder), str(seconds), str(point)]
    return subprocess.run(command, check=False, capture_output=True).returncode


@pytest.mark.timeout(60 + 5 * KILLS)
def test_killed_scrubs_are_completed(tmp_path: Path) -> None:
    """Whatever the moments, in the end every row has its sound object, and there is no other object."""
    scene = Scene(tmp_path)
    stored = Counter(instance.stored.digest for instance in scene.store_instances(INSTANCES))
    scene.copy_everything()
    scene.close()
    chance = random.Random(11)
    for number in range(KILLS):
        damage(tmp_path, chance)
        assert -signal.SIGKILL == killed_run(tmp_path, 7200 + 60 * number, chance.randint(1, POINTS))

    scene = Scene(tmp_path)
    with contextlib.closing(scene):
        scene.store.sweep()
        scene.clock.now = BEGAN + timedelta(days=1)
        scene.run()
        scene.clock.pass_by(STRAY_PATIENCE)
        scene.run()

        assert [] == scene.problems()
        assert stored == Counter(instance.stored.digest for instance in scene.index.everything())
        assert list(scene.index.keys()) == scene.objects()
        assert [] == scene.kinds()
