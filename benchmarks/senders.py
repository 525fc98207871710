"""Parallel associations: a process each, all starting at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier

from benchmarks.associate import Offer
from benchmarks.connection import Writing
from benchmarks.dataset import EXPLICIT, Plan
from benchmarks.loadgen import Association, Called

_START_SECONDS = 60.0
_END_SECONDS = 1800.0
_GRACE_SECONDS = 10.0
_SUCCESS = 0x0000
_BYTES_PER_MB = 1e6


class SenderFailed(Exception):
    """A sender did not come to its end."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one association sends: instances ``start`` to ``stop`` of a plan."""

    plan: Plan
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of it, over all associations."""

    instances: int
    refused: int
    data_bytes: int
    seconds: float  # from the first C-STORE to the last response
    latencies: tuple[float, ...]  # seconds, ascending

    @property
    def instances_per_second(self) -> float:
        """Of those that were answered with Success."""
        return (self.instances - self.refused) / self.seconds

    @property
    def megabytes_per_second(self) -> float:
        """Data set bytes, in 10⁶."""
        return self.data_bytes / _BYTES_PER_MB / self.seconds

    def milliseconds(self, share: float) -> float:
        """The latency that this share of the instances did not exceed."""
        return percentile(self.latencies, share) * 1000


@dataclass(frozen=True, slots=True)
class Part:
    """What came of one batch; times of the monotonic clock, which all processes share."""

    begin: float
    end: float
    refused: int
    data_bytes: int
    latencies: list[float]


def send(called: Called, batches: Sequence[Batch], writing: Writing = Writing.GATHERED) -> Sent:
    """Send every batch through an association and a process of its own, at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(batches))
    with contextlib.ExitStack() as stack:
        pipes = []
        for batch in batches:
            ours, theirs = context.Pipe()
            process = context.Process(target=_report_batch, args=(theirs, barrier, called, batch, writing), daemon=True)
            process.start()
            theirs.close()
            stack.callback(_end, process)
            stack.enter_context(ours)
            pipes.append(ours)
        parts = [_received(pipe) for pipe in pipes]
    return Sent(
        sum(batch.stop - batch.start for batch in batches),
        sum(part.refused for part in parts),
        sum(part.data_bytes for part in parts),
        max(part.end for part in parts) - min(part.begin for part in parts),
        tuple(sorted(latency for part in parts for latency in part.latencies)),
    )


def send_batch(called: Called, batch: Batch, writing: Writing, barrier: Barrier | None = None) -> Part:
    """Send a batch through one association of this process; starts when all have reached the barrier."""
    offer = Offer(batch.plan.image.sop_class_uid, EXPLICIT)
    latencies: list[float] = []
    refused = data_bytes = 0
    with Association(called, [offer], writing=writing) as association:
        if barrier is not None:
            barrier.wait(_START_SECONDS)
        begin = time.monotonic()
        for data_set in batch.plan.data_sets(batch.start, batch.stop):
            before = time.monotonic()
            status = association.store(data_set)
            latencies.append(time.monotonic() - before)
            refused += status != _SUCCESS
            data_bytes += data_set.size
        end = time.monotonic()
    return Part(begin, end, refused, data_bytes, latencies)


def _report_batch(pipe: Pipe, barrier: Barrier, called: Called, batch: Batch, writing: Writing) -> None:
    try:
        pipe.send(send_batch(called, batch, writing, barrier))
    except BaseException:
        barrier.abort()  # the others shall not wait for us
        raise


def _received(pipe: Pipe) -> Part:
    try:
        if not pipe.poll(_END_SECONDS):
            raise SenderFailed("a sender did not end in time")
        part = pipe.recv()
    except EOFError as error:
        raise SenderFailed("a sender ended early; what it said is above") from error
    if not isinstance(part, Part):
        raise SenderFailed(f"a sender answered {part!r}")
    return part


def _end(process: BaseProcess) -> None:
    process.join(_GRACE_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()


def percentile(ascending: Sequence[float], share: float) -> float:
    """The value that this share (0 to 1) of the values does not exceed: nearest rank."""
    return ascending[max(0, min(len(ascending) - 1, round(share * len(ascending)) - 1))]


def median(values: Sequence[float]) -> float:
    """The median; 0 of nothing."""
    return statistics.median(values) if values else 0.0
