"""``kill -9`` at random points of a run: nothing is lost or doubled, and the next run completes.

A few kills here; ``PACSNODE_KILLS=100 make test T=tests/compression/test_kill.py`` runs more.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from pacsnode.archive import Archive
from pacsnode.compression.database import STATE_FILE, CompressionState
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.jobs.budget import RunBudget
from pacsnode.recovery import Mark, recover
from tests.compression.scene import KINDS, Times, age, dump, image, job, keys, opened, rows, store

KILLS = int(os.environ.get("PACSNODE_KILLS", "12"))
IMAGES = 60


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of so many images, to be copied."""
    folder = tmp_path_factory.mktemp("full")
    with opened(folder) as archive:
        for number in range(1, IMAGES + 1):
            store(archive, image(KINDS[number % len(KINDS)], number))
    return folder


def seconds_of_a_run(folder: Path, copy: Path) -> float:
    """How long a run takes that is not killed, from when it is ready."""
    shutil.copytree(folder, copy)
    with victim(copy) as process:
        begin = time.monotonic()
        process.wait(60)
        return time.monotonic() - begin


def victim(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.compression.victim", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.timeout(60 + 10 * KILLS)
def test_killed_at_random(full: Path, tmp_path: Path) -> None:
    """After each kill every instance is there once, and sound; a rebuilt index and the next run agree."""
    chance = random.Random(20260507)
    longest = seconds_of_a_run(full, tmp_path / "measured")
    cut_short = 0
    for kill in range(KILLS):
        folder = tmp_path / str(kill)
        shutil.copytree(full, folder)
        with victim(folder) as process:
            threading.Event().wait(chance.uniform(0, longest))  # the moment of the kill
            process.kill()
        cut_short += process.returncode == -9
        check(folder, recovers=bool(kill % 2))
        shutil.rmtree(folder)

    assert cut_short > KILLS // 2


def check(folder: Path, *, recovers: bool) -> None:
    """What must be true after a kill, and after the next run."""
    with opened(folder) as archive:
        whole(archive)
        if recovers:
            done = recover(archive, Mark())
            assert (0, 0, 0) == (done.adopted, done.set_aside, done.lost)
            whole(archive)
        age(archive)
        assert job(archive, folder).run(RunBudget()).finished
        whole(archive)
        assert [one.stored.key for one in rows(archive)] == keys(archive)
        with closing(SqliteIndex(folder / "rebuilt.db")) as index:
            list(Archive(archive.store, index, Times()).rebuild())
            assert dump(archive) == list(index.dump())
        with closing(CompressionState(folder / STATE_FILE)) as state:
            assert [] == list(state.replacements())
            compressed = sum(archive.store.arrival(key).original is not None for key in keys(archive))
            assert compressed == sum(total.instances for total in state.totals())
            assert IMAGES - compressed == sum(state.refused().values())


def whole(archive: Archive) -> None:
    """Each instance is there once, and sound."""
    found = rows(archive)
    assert IMAGES == len({one.header.sop_instance_uid for one in found}) == len(found)
    assert [] == [finding for finding in archive.verify(found) if finding is not None]
