"""One C-MOVE of very many instances: does the node's memory grow with their number?"""

from __future__ import annotations

import time

from benchmarks import senders, servers, sink
from benchmarks.associate import Offer
from benchmarks.dataset import TINY, Plan
from benchmarks.figures import Figure, Quantity, Tally
from benchmarks.loadgen import IMPLICIT, STUDY_MOVE, Association
from benchmarks.senders import Batch
from benchmarks.servers import PACSNODE, Server
from benchmarks.sink import Sink
from benchmarks.stage import Stage

GROWTH = "ten times as many"
_LEVEL, _STUDY_UID = 0x00080052, 0x0020000D
_ASSOCIATIONS = 4


def run(stage: Stage) -> list[Figure]:
    """A study of a tenth of them is moved, then one of all: how far the second raises the peak of the first."""
    whole = 10 * _ASSOCIATIONS
    most = stage.settings.moved_instances // whole * whole
    plans = {count: Plan(TINY, stage.new_root(), per_series=count, series_per_study=1) for count in (most // 10, most)}
    tally, peaks = Tally(), []
    with sink.running() as destination:
        with servers.all_running(stage.folder / "large-move", destination.port, (PACSNODE,)) as running:
            for server in running:
                for count, plan in plans.items():
                    stage.say(f"large move: filling with {count:,}")
                    bounds = range(0, count, count // _ASSOCIATIONS)
                    senders.send(server.called, [Batch(plan, first, first + bounds.step) for first in bounds])
                for count, plan in plans.items():
                    stage.say(f"large move: {count:,} instances")
                    peaks.append(_moved(tally, server, plan, count, destination))
    tally.add(GROWTH, PACSNODE, Quantity.GROWN_MEMORY, max(peaks[1] - peaks[0], 0.0))
    return tally.figures()


def _moved(tally: Tally, server: Server, plan: Plan, count: int, destination: Sink) -> float:
    """Move all; the node's peak so far, in MiB. What came is counted at the destination: counters have 16 bits."""
    destination.take_counts()
    keys = {_LEVEL: "STUDY", _STUDY_UID: plan.study_uid(0)}
    with Association(server.called, [Offer(STUDY_MOVE, IMPLICIT)]) as association:
        begin = time.monotonic()
        association.move(keys, sink.AE_TITLE)
        seconds = time.monotonic() - begin
    arrived, _ = destination.take_counts()
    peak = server.peak_mebibytes()
    cell = f"{count:,} instances"
    tally.add(cell, server.name, Quantity.INSTANCE_RATE, arrived / seconds)
    tally.add(cell, server.name, Quantity.FAILED, count - arrived)
    tally.add(cell, server.name, Quantity.PEAK_MEMORY, peak)
    return peak
