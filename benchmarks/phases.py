"""Where the time of a C-STORE goes, inside pacsnode: what there is to know when a target is missed.

    python -m benchmarks.phases CT|MR [ASSOCIATIONS] [INSTANCES]

Prints the wall time of each step for one instance (steps contain one another; what is measured takes part of it
itself), and the processor time for one instance, beside Orthanc's where it is installed.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import senders, servers
from benchmarks.dataset import CT, MR, Image, Plan
from benchmarks.receive import batches
from benchmarks.servers import ORTHANC, Server

REPORT = "PACSNODE_PHASES"
"""Environment variable: the file that the measured node writes at its end."""
_NO_SINK = 104
_WARM_UP = 100


class Stopwatch:
    """Adds up the time spent in functions, by their name."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = defaultdict(int)
        self.seconds: dict[str, float] = defaultdict(float)

    def watch(self, owner: Any, name: str) -> None:
        """Measure a function of a class or module from here on."""
        measured, label = getattr(owner, name), f"{owner.__name__.rpartition('.')[2]}.{name}"

        @functools.wraps(measured)
        def timed(*arguments: Any, **keywords: Any) -> Any:
            began = time.perf_counter()
            try:
                return measured(*arguments, **keywords)
            finally:
                self.calls[label] += 1
                self.seconds[label] += time.perf_counter() - began

        setattr(owner, name, timed)

    def lines(self, per: str) -> Iterator[str]:
        """The longest first, for each call of ``per``."""
        count = self.calls[per] or 1
        for label, seconds in sorted(self.seconds.items(), key=lambda found: -found[1]):
            yield f"{label:32} {self.calls[label] / count:5.2f} calls {seconds / count * 1e6:8.0f} us"


def serve() -> None:
    """Run pacsnode's command line with the stopwatch in it."""
    from pacsnode import archive, cli, log
    from pacsnode.dicom import header, walk
    from pacsnode.dimse import association, connection, store
    from pacsnode.index import bookkeeping, sqlite, writer
    from pacsnode.storage import calls, upload

    watched: dict[Any, tuple[str, ...]] = {
        calls.FileSystem: ("create", "write", "sync", "link", "unlink", "sync_directory"),
        upload.FileUpload: ("write", "commit"),
        sqlite.SqliteIndex: ("add",),
        bookkeeping.Bookkeeping: ("add",),
        writer.Writer: ("commit",),
        archive.Ingest: ("write", "commit"),
        store.StoreService: ("serve",),
        connection.Connection: ("receive_into", "send"),
        association.Association: ("next_request",),
        walk.DataSetWalker: ("feed",),
        header: ("read_header",),
        log: ("event",),
    }
    stopwatch = Stopwatch()
    for owner, names in watched.items():
        for name in names:
            stopwatch.watch(owner, name)
    report = Path(os.environ[REPORT])
    atexit.register(lambda: report.write_text("\n".join(stopwatch.lines("StoreService.serve"))))
    cli.main()


@contextmanager
def _running(folder: Path) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        found = [stack.enter_context(servers.pacsnode_with_phases(folder / "pacsnode"))]
        for start in servers.available((ORTHANC,)).values():
            found.append(stack.enter_context(start(folder / ORTHANC, _NO_SINK)))
        yield found


def main(image: Image, associations: int, instances: int) -> None:
    """Measure and print."""
    folder = Path(tempfile.mkdtemp(prefix="pacsnode-phases-", dir="/var/tmp"))
    report = folder / "phases"
    os.environ[REPORT] = str(report)
    try:
        for name in ("pacsnode", ORTHANC):
            (folder / name).mkdir()
        with _running(folder) as running:
            for server in running:
                root = f"2.25.{time.time_ns()}"
                senders.send(server.called, batches(Plan(image, f"{root}.1", per_series=100), _WARM_UP, associations))
                before = server.cpu_seconds()
                sent = senders.send(
                    server.called, batches(Plan(image, f"{root}.2", per_series=100), instances, associations)
                )
                each = (server.cpu_seconds() - before) / sent.instances * 1000
                print(f"{server.name:10} {sent.instances_per_second:7.0f}/s, {each:.2f} ms of processor time for each")
        print(report.read_text())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if "serve" in sys.argv:
        serve()
    else:
        words = [*sys.argv[1:], "", ""]
        main({"CT": CT, "MR": MR}[words[0] or "MR"], int(words[1] or 1), int(words[2] or 1000))
