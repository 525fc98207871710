"""What receiving would be if syncs cost nothing, or if one node were two: what there is to win by which change.

    python -m benchmarks.ceilings [ROUNDS]

Nothing that runs so keeps its promise; the figures say where the limits are. The servers take turns in one run; the
ratios are medians of the rounds.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import senders, servers
from benchmarks.dataset import CT, MR, Image, Plan
from benchmarks.receive import batches, cell_name
from benchmarks.servers import ORTHANC, PACSNODE, Server
from benchmarks.stage import Settings, Stage

UNSYNCED = "PACSNODE_UNSYNCED"
"""Environment variable: what of the node's is not synced, some of ``STORE`` and ``INDEX``."""
STORE, INDEX = "store", "index"
_NO_SINK = 104
_WARM_UP = 100


def serve() -> None:
    """Run pacsnode's command line without the syncs that the environment names."""
    from pacsnode import cli
    from pacsnode.index import connection
    from pacsnode.storage.calls import FileSystem

    left_out = os.environ[UNSYNCED].split()
    if STORE in left_out:  # put into the class itself: all else of the node is as it is
        FileSystem.sync = lambda self, descriptor: None  # type: ignore[method-assign]
        FileSystem.sync_directory = lambda self, path: None  # type: ignore[method-assign]
    if INDEX in left_out:
        connection._WRITER_PRAGMAS["synchronous"] = "off"
    cli.main()


@dataclass(frozen=True, slots=True)
class Contender:
    """One server, or several that share the associations."""

    name: str
    nodes: Sequence[Server]

    def receive(self, image: Image, root: str, instances: int, associations: int) -> float:
        """Instances per second of all its nodes together, at work at the same time."""
        share, each = instances // len(self.nodes), associations // len(self.nodes)
        found: list[float] = []

        def send(number: int) -> None:
            plan = Plan(image, f"{root}.{number}", per_series=100)
            found.append(senders.send(self.nodes[number].called, batches(plan, share, each)).instances_per_second)

        threads = [threading.Thread(target=send, args=(number,)) for number in range(len(self.nodes))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(found)


@contextmanager
def _running(folder: Path) -> Iterator[list[Contender]]:
    with ExitStack() as stack:

        def place(name: str) -> Path:
            (folder / name).mkdir()
            return folder / name

        nodes = [stack.enter_context(servers.pacsnode_with(place(f"node-{number}"), "")) for number in (1, 2)]
        found = [Contender(PACSNODE, nodes[:1])]
        for name, left_out in (("store not synced", STORE), ("nothing synced", f"{STORE} {INDEX}")):
            os.environ[UNSYNCED] = left_out
            node = stack.enter_context(servers.pacsnode_unsynced(place(name.replace(" ", "-"))))
            found.append(Contender(name, [node]))
        found.append(Contender("two nodes", nodes))
        for start in servers.available((ORTHANC,)).values():
            found.append(Contender(ORTHANC, [stack.enter_context(start(place(ORTHANC), _NO_SINK))]))
        yield found


def measure(stage: Stage) -> Table:
    """Rates of all contenders in all cells, and their ratios to the node as it is."""
    table = Table("cell", "server", "instances/s", "ratio (least, most)")
    with _running(stage.folder) as contenders:
        for image, associations in ((image, associations) for image in (CT, MR) for associations in (1, 4)):
            taking_part = [one for one in contenders if len(one.nodes) <= associations]
            rates = _rates(stage, taking_part, image, associations)
            for one in taking_part:
                ratios = [mine / its for mine, its in zip(rates[one.name], rates[PACSNODE], strict=True)]
                ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})"
                rate = f"{statistics.median(rates[one.name]):,.0f}"
                table.add_row(cell_name(image, associations), one.name, rate, ratio)
    return table


def _rates(stage: Stage, contenders: Sequence[Contender], image: Image, associations: int) -> dict[str, list[float]]:
    """Of each contender, by round; before the first one each has a few instances to warm up with."""
    settings, rates = stage.settings, {one.name: list[float]() for one in contenders}
    instances = settings.ct_instances if image is CT else settings.mr_instances
    for number in range(settings.rounds + 1):
        stage.say(f"{cell_name(image, associations)}, round {number}")
        for one in contenders:
            rate = one.receive(image, stage.new_root(), instances if number else _WARM_UP, associations)
            if number:
                rates[one.name].append(rate)
    return rates


def main(settings: Settings) -> None:
    """Measure and print."""
    folder = Path(tempfile.mkdtemp(prefix="pacsnode-ceilings-", dir="/var/tmp"))
    progress = Console(stderr=True)
    try:
        table = measure(Stage(settings, folder, lambda text: progress.print(text, highlight=False)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    Console(width=None if sys.stdout.isatty() else 100).print(table)


if __name__ == "__main__":
    if "serve" in sys.argv:
        serve()
    else:
        main(replace(Settings(), rounds=int(sys.argv[1])) if sys.argv[1:] else Settings())
