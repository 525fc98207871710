"""A node backs up by itself, whatever is done to it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.backup.scene import contents
from tests.system import dcmtk, material
from tests.system.live import LiveNode

KILLS = 3


def test_backed_up_by_schedule(tmp_path: Path) -> None:
    """Killed at any moment of a backup that never rests, the node goes on, and all that it has can be restored."""
    place = tmp_path / "place"
    place.mkdir()
    tables = (
        f'[jobs.backup]\nenabled = true\nschedule = "every 1 s"\ntarget = "file://{place}"\nsnapshot_every = "1 s"\n'
    )
    with LiveNode(tmp_path / "node", tables) as node:
        for number in range(KILLS):
            samples = material.series(20, tmp_path / f"in{number}", number=number + 1, rows=64)
            dcmtk.run("storescu", *dcmtk.address(node.port), *(str(sample.path) for sample in samples))
            if number == 0:
                node.wait_for("event=job name=backup .*done=[1-9]", seconds=30)
            node.kill()
            node.start()
    node.run("backup", "run")
    node.run("backup", "verify")
    node.run("backup", "drill")
    before = contents(node.folder / "data")
    shutil.rmtree(node.folder / "data")
    node.run("backup", "restore", "--to", str(node.folder / "data"))

    assert 20 * KILLS == len(before[0])
    assert before == contents(node.folder / "data")
