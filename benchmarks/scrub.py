"""How fast the scrub reads, beside SHA-256 alone on one core, both from the page cache and in turn."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.dataset import CT, EXPLICIT, MR, Image, Plan
from benchmarks.figures import Figure, Quantity, Tally
from benchmarks.servers import PACSNODE
from benchmarks.stage import Stage
from pacsnode.archive import Archive
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.integrity.ledger import Ledger
from pacsnode.integrity.repair import Repairer
from pacsnode.integrity.scrub import Scrub
from pacsnode.jobs.job import JobReport
from pacsnode.model import Arrival, Uid
from pacsnode.storage.filesystem import FilesystemStore

SHA_256 = "SHA-256, one core"
_PASSES = 3  # of each in a round: the quickest counts
MR_256 = Image("MR 256x256", MR.sop_class_uid, "MR", 256, 256)
LARGE = Image("multi-frame", CT.sop_class_uid, "CT", 512, 512, frames=64)
KINDS = (CT, MR, MR_256, LARGE)


def cell(image: Image) -> str:
    """What the figures of this kind are under."""
    return f"{image.name}, {image.frame_bytes * image.frames / 1000:,.0f} kB"


class Unlimited:
    """See Budget."""

    def expired(self) -> bool:
        """Never."""
        return False

    def spend(self, size: int) -> None:
        """As much as it likes."""

    def advance(self, done: int, total: int | None) -> None:
        """Nobody watches."""


def run(stage: Stage) -> list[Figure]:
    """Every kind of image in turn."""
    tally = Tally()
    for image in KINDS:
        stage.say(f"scrub: {cell(image)}")
        below = stage.folder / f"scrub-{image.rows}-{image.frames}"
        below.mkdir()
        try:
            _measure(image, below, stage, tally)
        finally:
            shutil.rmtree(below)
    return tally.figures()


def _measure(image: Image, folder: Path, stage: Stage, tally: Tally) -> None:
    with (
        closing(SqliteIndex(folder / "index.db")) as index,
        closing(Ledger(folder / "integrity.db")) as ledger,
    ):
        archive = Archive(FilesystemStore(folder), index, lambda: datetime.now(UTC))
        count = _fill(archive, image, stage)
        size = index.totals().stored_bytes
        content = bytes(size // count)
        scrub = Scrub(archive, ledger, Repairer(archive, {}), full_pass=timedelta(days=30))
        scrub.run_whole(Unlimited())  # into the page cache
        for _ in range(stage.settings.rounds):
            ours = _seconds(lambda: _sound(scrub.run_whole(Unlimited()), count))
            hashing = _seconds(lambda: [hashlib.sha256(content).digest() for _ in range(count)])
            for subject, (seconds, of_a_core) in ((PACSNODE, ours), (SHA_256, hashing)):
                tally.add(cell(image), subject, Quantity.MEGABYTE_RATE, size / 1e6 / seconds)
                tally.add(cell(image), subject, Quantity.EACH, of_a_core / count * 1e6)


def _fill(archive: Archive, image: Image, stage: Stage) -> int:
    """Store so many megabytes: how many instances."""
    count = stage.settings.scrubbed_megabytes * 1_000_000 // (image.frame_bytes * image.frames)
    for data_set in Plan(image, stage.new_root()).data_sets(0, count):
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
    return count


def _sound(report: JobReport, count: int) -> None:
    if (report.done, report.failed) != (count, 0):
        raise AssertionError(report)


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """The least of some times, on the wall and of all cores: whoever else is at work disturbs it the least."""
    times = [_timed(work) for _ in range(_PASSES)]
    return min(wall for wall, _ in times), min(of_a_core for _, of_a_core in times)


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    began, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - used
