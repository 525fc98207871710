"""A whole restore, measured: ``python -m tests.backup.restore_run --instances 20000``.

Everything that was stored has to be back: every digest, every row, and the answers to 50 queries recorded before.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from pacsnode.backup import answers
from pacsnode.index.snapshot import copy_of
from pacsnode.index.sqlite import SqliteIndex
from tests.backup.scene import Scene, contents, receive
from tests.system import material
from tests.test_archive import encoded


@dataclass(frozen=True, slots=True)
class Figures:
    """What a restore took, and whether it held. Times are seconds."""

    instances: int
    megabytes: float
    run_seconds: float
    verify_seconds: float
    index_seconds: float
    restore_seconds: float
    queries_alike: int
    objects_alike: bool
    rows_alike: bool

    @property
    def held(self) -> bool:
        """Is all of it back as it was?"""
        return self.objects_alike and self.rows_alike and self.queries_alike == answers.QUERIES


def measure(root: Path, instances: int, rows: int) -> Figures:
    """Store, back up, verify, restore and compare."""
    scene = Scene(root)
    fill(scene, instances, rows)
    copy_of(scene.data / "index.db", root / "before.db")
    recorded = answers.recorded(root / "before.db")
    began = time.monotonic()
    run = scene.run()
    copied = time.monotonic()
    findings = scene.verify().findings
    verified = time.monotonic()
    done = scene.restore(root / "back")
    with closing(SqliteIndex(root / "back" / "index.db", read_only=True)) as index:
        wrong = answers.differences(index, recorded)
    before, after = contents(scene.data), contents(root / "back")
    return Figures(
        instances=done.objects,
        megabytes=round(done.size / 1e6, 1),
        run_seconds=round(copied - began, 2),
        verify_seconds=round(verified - copied, 2),
        index_seconds=round(done.index_seconds, 2),
        restore_seconds=round(done.seconds, 2),
        queries_alike=len(recorded) - len(wrong),
        objects_alike=before[0] == after[0] and run.copied == instances and not findings and not done.findings,
        rows_alike=before[1] == after[1],
    )


def fill(scene: Scene, instances: int, rows: int) -> None:
    """Store so many instances of noise, forty to a study."""
    made = material.instance(0, rows=16)
    made.Rows = made.Columns = rows
    with scene.archive() as archive:
        for number in range(instances):
            study, index = divmod(number, 40)
            described = material.instance(index, number=study + 1, rows=1)
            for element in described:
                if element.keyword not in ("Rows", "Columns", "PixelData"):
                    made[element.tag] = element
            made.PixelData = os.urandom(rows * rows * 2)
            receive(archive, encoded(made))


def main() -> int:
    """The figures of one restore; 1 where anything is not as it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=256, help="of each image, which has as many columns")
    parser.add_argument("--folder", type=Path, help="where there is room for it three times")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="pacsnode-restore-") as root:
        figures = measure(Path(root), arguments.instances, arguments.rows)
    for name, value in asdict(figures).items():
        print(f"{name}: {value}")
    return 0 if figures.held else 1


if __name__ == "__main__":
    raise SystemExit(main())
