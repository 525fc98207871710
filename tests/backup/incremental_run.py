"""What a run costs after 100 new instances: ``python -m tests.backup.incremental_run --instances 100000``.

What was there before has rows and is in the backup, as far as both know; it has no objects, and who would look for one
would not find it.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import _GeneratorContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import apsw

from pacsnode.backup import retention
from pacsnode.backup.folder import FolderTarget
from pacsnode.backup.manifest import Copied, Piece, object_name
from pacsnode.model import Instance, Uid
from tests.backup.scene import Scene
from tests.index.samples import header, instance

NEW = 100
_BATCH = 5_000


class CountingTarget(FolderTarget):
    """Counts what is asked of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.requests: Counter[str] = Counter()

    def put(self, name: str, source: BinaryIO) -> bool:
        self.requests["put"] += 1
        return super().put(name, source)

    def open(self, name: str) -> _GeneratorContextManager[BinaryIO]:
        self.requests["open"] += 1
        return super().open(name)

    def names(self, folder: str) -> Iterator[str]:
        self.requests["list"] += 1
        return super().names(folder)

    def delete(self, name: str) -> bool:
        self.requests["delete"] += 1
        return super().delete(name)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run cost."""

    instances: int  # in the archive
    copied: int
    requests: int  # to the target
    database_steps: int  # instructions of SQLite's virtual machine, in the index and in what is known of the target
    seconds: float


def measure(root: Path, instances: int) -> Figures:
    """A run after NEW instances came to an archive of so many."""
    target = CountingTarget(_made(root / "target"))
    scene = Scene(root, target=target)
    scene.receive(5)
    scene.run()
    _pretend(scene, instances)
    scene.run()
    with scene.knowledge() as knowledge:
        assert len(retention.snapshots(knowledge)) == 1
    scene.receive(NEW)
    target.requests.clear()
    with _steps() as steps:
        began = time.monotonic()
        done = scene.run()
        seconds = time.monotonic() - began
    return Figures(instances, done.copied, target.requests.total(), steps.total(), round(seconds, 3))


def _pretend(scene: Scene, instances: int) -> None:
    """Rows and entries without objects."""
    with scene.archive() as archive, scene.knowledge() as knowledge:
        for first in range(0, instances, _BATCH):
            batch = [_numbered(number) for number in range(first, min(first + _BATCH, instances))]
            archive.index.add_many(batch)
            knowledge.settle([_entry(one) for one in batch], [], [])
        knowledge.publish(2**60)


def _numbered(number: int) -> Instance:
    study, series = f"1.2.3.{number // 500}", f"1.2.3.{number // 500}.1"
    return instance(number, replace(header(f"{series}.{number}", study, series), patient_id=Uid(f"P{number // 1000}")))


def _entry(one: Instance) -> Copied:
    digest = hashlib.sha256(one.stored.key.encode()).hexdigest()
    return Copied(one.stored.key, one.stored.digest, Piece(object_name(digest, ""), digest, 1000, digest))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


@contextmanager
def _steps() -> Iterator[Counter[str]]:
    """Counts instructions of all connections that are opened within the block, by statement."""
    steps: Counter[str] = Counter()

    def told(event: dict[str, Any]) -> None:
        steps[event["sql"]] += event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]

    def hook(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, told)

    apsw.connection_hooks.append(hook)
    try:
        yield steps
    finally:
        apsw.connection_hooks.remove(hook)


def main() -> int:
    """The figures for archives of several sizes; 1 where the largest costs much more than the smallest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=100_000)
    arguments = parser.parse_args()
    found = []
    for instances in (1_000, arguments.instances):
        with tempfile.TemporaryDirectory(prefix="pacsnode-incremental-") as root:
            found.append(measure(Path(root) / "node", instances))
        print(", ".join(f"{name}: {value}" for name, value in asdict(found[-1]).items()))
    return 0 if found[-1].database_steps < 2 * found[0].database_steps else 1


if __name__ == "__main__":
    raise SystemExit(main())
