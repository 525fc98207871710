"""Memory: multi-frame objects of gibibytes, while the node's resident set is watched."""

from __future__ import annotations

from benchmarks import senders, servers
from benchmarks.dataset import MULTI_FRAME_CLASS, Image, Plan
from benchmarks.figures import Figure, Quantity, Tally
from benchmarks.senders import Batch
from benchmarks.servers import PACSNODE
from benchmarks.stage import Stage

IDLE = "before the first association"
_NO_SINK = 104
_FRAMES_PER_MIB = 2  # of 512 x 512 x 16 bit


def run(stage: Stage) -> list[Figure]:
    """Every sender sends one object; the peak is the node's from its start."""
    settings = stage.settings
    cell = f"{settings.large_senders} x {settings.large_mebibytes:,} MiB"
    frames = settings.large_mebibytes * _FRAMES_PER_MIB
    tally = Tally()
    stage.say(f"memory: {cell}")
    with servers.all_running(stage.folder / "memory", _NO_SINK, (PACSNODE,)) as running:
        for server in running:
            plan = Plan(Image("large", MULTI_FRAME_CLASS, "OT", 512, 512, frames), stage.new_root(), per_series=1)
            parts = [Batch(plan, number, number + 1) for number in range(settings.large_senders)]
            idle = server.peak_mebibytes()
            sent = senders.send(server.called, parts)
            tally.add(cell, server.name, Quantity.PEAK_MEMORY, server.peak_mebibytes())
            tally.add(cell, server.name, Quantity.DURATION, sent.seconds)
            tally.add(cell, server.name, Quantity.MEGABYTE_RATE, sent.megabytes_per_second)
            tally.add(cell, server.name, Quantity.REFUSED, sent.refused)
            tally.add(IDLE, server.name, Quantity.PEAK_MEMORY, idle)
    return tally.figures()
