"""C-STORE: CT- and MR-sized instances through one and four associations, beside what the disk can do at most."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import senders, servers, store_write
from benchmarks.connection import Writing
from benchmarks.dataset import CT, MR, Image, Plan
from benchmarks.figures import Figure, Quantity, Tally
from benchmarks.senders import Batch
from benchmarks.servers import Server
from benchmarks.stage import Settings, Stage

RAW_LIMIT = "raw limit"
"""Write, fdatasync, rename and directory fsync of as many bytes, without network, digest and index; one thread."""
RAW_LIMIT_PARALLEL = "raw limit, 4 threads"

_NO_SINK = 104
_PER_SERIES = 100
_SLOW_SHARE = 4  # senders with default options wait for acknowledgements: fewer instances take as long


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to send."""

    image: Image
    associations: int
    writing: Writing

    @property
    def name(self) -> str:
        """As in tables and targets."""
        return cell_name(self.image, self.associations, self.writing)

    def instances(self, settings: Settings) -> int:
        """How many are sent in a round, over all associations."""
        whole = settings.ct_instances if self.image is CT else settings.mr_instances
        return whole if self.writing is Writing.GATHERED else max(whole // _SLOW_SHARE, self.associations)


def cell_name(image: Image, associations: int, writing: Writing = Writing.GATHERED) -> str:
    """E.g. "CT, 4 associations"."""
    plural = "s" if associations > 1 else ""
    suffix = "" if writing is Writing.GATHERED else f", {writing.value}"
    return f"{image.name}, {associations} association{plural}{suffix}"


def cells() -> Iterator[Cell]:
    """All ways to send."""
    for writing in Writing:
        for image in (CT, MR):
            for associations in (1, 4):
                yield Cell(image, associations, writing)


def run(stage: Stage) -> list[Figure]:
    """Every round starts with empty servers, which then get the same instances in the same order."""
    tally = Tally()
    for number in range(stage.settings.rounds):
        with servers.all_running(stage.folder / f"receive-{number}", _NO_SINK, tuple(servers.STARTERS)) as running:
            for cell in cells():
                stage.say(f"receive, round {number + 1}: {cell.name}")
                for server in running:
                    tally.add_sent(cell.name, server.name, _send(stage, server, cell))
                if cell.writing is Writing.GATHERED:
                    _measure_disk(stage, cell, tally)
    return tally.figures()


def batches(plan: Plan, instances: int, associations: int) -> list[Batch]:
    """Equal shares for all associations, each in studies of its own: as modalities send."""
    share = instances // associations
    stride = math.ceil(share / plan.per_study) * plan.per_study
    return [Batch(plan, number * stride, number * stride + share) for number in range(associations)]


def _send(stage: Stage, server: Server, cell: Cell) -> senders.Sent:
    plan = Plan(cell.image, stage.new_root(), per_series=_PER_SERIES)
    return senders.send(server.called, batches(plan, cell.instances(stage.settings), cell.associations), cell.writing)


def _measure_disk(stage: Stage, cell: Cell, tally: Tally) -> None:
    content = random.Random(1).randbytes(cell.image.frame_bytes)
    for subject, threads in {RAW_LIMIT: 1, RAW_LIMIT_PARALLEL: 4}.items():
        if threads > cell.associations:
            continue
        folder = stage.folder / "raw"
        rate = store_write.rate(store_write.plain(folder), content, cell.instances(stage.settings), threads)
        shutil.rmtree(folder)
        tally.add(cell.name, subject, Quantity.INSTANCE_RATE, rate)
        tally.add(cell.name, subject, Quantity.MEGABYTE_RATE, rate * len(content) / 1e6)
