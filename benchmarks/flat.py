"""C-STORE of tiny instances through four associations while the index grows: does the rate hold?"""

from __future__ import annotations

import statistics

from benchmarks import senders, servers
from benchmarks.dataset import TINY, Plan
from benchmarks.figures import Figure, Quantity, Tally
from benchmarks.senders import Batch
from benchmarks.servers import ORTHANC, PACSNODE
from benchmarks.stage import Stage

START, END = "first third", "last third"
_ASSOCIATIONS = 4
_NO_SINK = 104


def run(stage: Stage) -> list[Figure]:
    """One step after the other, the servers in turn; the means of the first and of the last third of the steps."""
    settings = stage.settings
    step = settings.flat_instances // settings.flat_steps // _ASSOCIATIONS * _ASSOCIATIONS
    share = step // _ASSOCIATIONS
    tally = Tally()
    with servers.all_running(stage.folder / "flat", _NO_SINK, (PACSNODE, ORTHANC)) as running:
        plan = Plan(TINY, stage.new_root())
        rates: dict[str, list[float]] = {server.name: [] for server in running}
        for start in range(0, step * settings.flat_steps, step):
            cell = f"{start:,} to {start + step:,} instances"
            stage.say(f"flat: {cell}")
            bounds = range(start, start + step, share)
            for server in running:
                sent = senders.send(server.called, [Batch(plan, first, first + share) for first in bounds])
                tally.add_sent(cell, server.name, sent)
                rates[server.name].append(sent.instances_per_second)
    for name, measured in rates.items():
        third = max(len(measured) // 3, 1)
        tally.add(START, name, Quantity.INSTANCE_RATE, statistics.fmean(measured[:third]))
        tally.add(END, name, Quantity.INSTANCE_RATE, statistics.fmean(measured[-third:]))
    return tally.figures()
