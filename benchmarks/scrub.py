"""How fast the scrub reads, beside SHA-256 alone on one core, both from the page cache and in turn.

    python -m benchmarks.scrub FOLDER

Prints, for each kind of image, the median of the rounds and the ratio to hashing of the same rounds.
"""

from __future__ import annotations

import hashlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.dataset import CT, EXPLICIT, MR, Image, Plan
from pacsnode.archive import Archive
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.integrity.ledger import Ledger
from pacsnode.integrity.repair import Repairer
from pacsnode.integrity.scrub import Scrub
from pacsnode.jobs.job import JobReport
from pacsnode.model import Arrival, Uid
from pacsnode.storage.filesystem import FilesystemStore

ROUNDS = 5
LARGE = Image("multi-frame", CT.sop_class_uid, "CT", 512, 512, frames=64)
KINDS = {"CT 525 kB": (CT, 600), "MR 34 kB": (MR, 3000), "multi-frame 34 MB": (LARGE, 8)}


class Unlimited:
    """See Budget."""

    def expired(self) -> bool:
        """Never."""
        return False

    def spend(self, size: int) -> None:
        """As much as it likes."""

    def advance(self, done: int, total: int | None) -> None:
        """Nobody watches."""


def main(folder: Path) -> None:
    """Measure all kinds."""
    for name, (image, count) in KINDS.items():
        below = Path(tempfile.mkdtemp(prefix="pacsnode-scrub-", dir=folder))
        try:
            _measure(name, image, count, below)
        finally:
            shutil.rmtree(below)


def _measure(name: str, image: Image, count: int, folder: Path) -> None:
    with (
        closing(SqliteIndex(folder / "index.db")) as index,
        closing(Ledger(folder / "integrity.db")) as ledger,
    ):
        archive = Archive(FilesystemStore(folder), index, lambda: datetime.now(UTC))
        for data_set in Plan(image, "2.25.7002").data_sets(0, count):
            arrival = Arrival(
                Uid(data_set.sop_class_uid),
                Uid(data_set.sop_instance_uid),
                Uid(EXPLICIT),
                "CT01",
                "PACSNODE",
                archive.clock(),
            )
            with archive.receive(arrival) as ingest:
                for piece in data_set.pieces:
                    ingest.write(piece)
                ingest.commit()
        size = index.totals().stored_bytes
        content = bytes(size)
        scrub = Scrub(archive, ledger, Repairer(archive, {}), full_pass=timedelta(days=30))
        scrub.run_whole(Unlimited())  # into the page cache
        ours, hashing = [], []
        for _ in range(ROUNDS):
            ours.append(size / _seconds(lambda: _sound(scrub.run_whole(Unlimited()), count)))
            hashing.append(size / _seconds(lambda: hashlib.sha256(content).digest()))
    ratio = statistics.median(a / b for a, b in zip(ours, hashing, strict=True))
    one = 1e6 * size / count / statistics.median(ours)
    print(
        f"{name:18} scrub {statistics.median(ours) / 1e6:7.0f} MB/s ({one:.0f} us each)   "
        f"SHA-256 {statistics.median(hashing) / 1e6:7.0f} MB/s   {ratio:.2f}x"
    )


def _sound(report: JobReport, count: int) -> None:
    if (report.done, report.failed) != (count, 0):
        raise AssertionError(report)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "/var/tmp"))
