"""The node's own backup as the place that copies come from, by configuration alone."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.cli.folder import Folder, image
from tests.integrity.scene import flip_anywhere

FLIPS = int(os.environ.get("PACSNODE_FLIPS", "500"))


def backed_up(path: Path, count: int) -> Folder:
    """A node with instances, all of which are in its backup."""
    (path / "backup").mkdir()
    folder = Folder(path, f'[jobs.backup]\ntarget = "file://{path / "backup"}"\n')
    (path / "source").mkdir()
    for number in range(1, count + 1):
        (path / "source" / f"{number}.dcm").write_bytes(image(f"2.25.3.{number}", filling=400))
    assert 0 == folder.run("import", path / "source").exit_code
    assert count == folder.answer("job", "run", "backup")["done"]
    return folder


@pytest.mark.timeout(300)
def test_every_flip_is_repaired_from_the_backup(tmp_path: Path) -> None:
    """As many changed bytes in stored files, wherever they are: one run finds them all and repairs them all."""
    folder = backed_up(tmp_path, FLIPS)
    before = sorted(path.read_bytes() for path in folder.objects())
    chance = random.Random(5)
    for path in folder.objects():
        flip_anywhere(path, chance)
    report = folder.answer("job", "run", "integrity")

    assert (FLIPS, FLIPS, 0) == (report["details"]["found"], report["details"]["repaired"], report["failed"])
    assert {"checked": FLIPS, "findings": []} == folder.answer("verify")
    assert before == sorted(path.read_bytes() for path in folder.objects())
    assert [] == folder.answer("status")["degraded"]


def test_a_backup_that_is_not_there(tmp_path: Path) -> None:
    """Repair waits for the backup to come back; the damage is out of the way meanwhile."""
    folder = backed_up(tmp_path, 3)
    flip_anywhere(folder.objects()[1], random.Random(1))
    (tmp_path / "backup").rename(tmp_path / "away")
    without = folder.run("job", "run", "integrity")
    objects = len(folder.objects())
    (tmp_path / "away").rename(tmp_path / "backup")

    assert (3, 2) == (without.exit_code, objects)
    assert 0 == folder.answer("job", "run", "integrity")["failed"]
    assert {"checked": 3, "findings": []} == folder.answer("verify")
