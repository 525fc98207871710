"""Two ways to commit for many threads: whoever finds the writer free (ours), and a thread of its own with a queue.

    python benchmarks/index_commit.py [FOLDER]

Adds instances of one study per thread with 1, 4 and 16 threads, both ways in turn; prints adds per second, the median
of the rounds, and the 99th percentile of what one add took. The last line is the cost without the disk.
"""

from __future__ import annotations

import hashlib
import queue
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from pacsnode.index import entry
from pacsnode.index.bookkeeping import Bookkeeping
from pacsnode.index.writer import Request, Writer
from pacsnode.model import DuplicatePolicy, Instance, InstanceHeader, Key, Outcome, StoredObject, Uid

ROUNDS = 5
ADDS = 1600
MAX_BATCH = 256

Add = Callable[[Instance], Outcome]


def sample(number: int, study: int) -> Instance:
    root = f"1.2.826.0.1.3680043.8.498.{study:06d}"
    header = InstanceHeader(
        Uid("1.2.840.10008.5.1.4.1.1.2"), Uid(f"{root}.1.{number}.55501"), Uid(root), Uid(f"{root}.1"),
        patient_id=f"P{study}", patient_name="Doe^John", study_date="20240229", study_time="101112.5",
        accession_number=f"A{study}", modality="CT", series_number="1", instance_number=str(number),
        content_time="101113.25", image_type="ORIGINAL\\PRIMARY\\AXIAL", rows="512", columns="512",
    )  # fmt: skip
    digest = hashlib.sha256(f"{study}.{number}".encode()).hexdigest()
    key = Key(f"2024/02/29/80/{number * 100 + study:032x}")
    received = datetime(2024, 2, 29, tzinfo=UTC) + timedelta(milliseconds=number)
    return Instance(
        header, StoredObject(key, 525_000, digest, Uid("1.2.840.10008.1.2.1"), 400), received, "CT1", "PACS"
    )


class CommitThread:
    """The other design: every add is handed to one thread that commits what has gathered."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._queue: queue.SimpleQueue[Request[Outcome] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def run(self, work: Callable[[], Outcome]) -> Outcome:
        request = Request(work)
        self._queue.put(request)
        request.wake.acquire()
        return request.outcome()

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while request := self._queue.get():
            batch = [request]
            while len(batch) < MAX_BATCH and not self._queue.empty():
                more = self._queue.get()
                if more is None:
                    self._queue.put(None)
                    break
                batch.append(more)
            self._writer.commit(batch)  # type: ignore[arg-type]  # results go to those who asked only
            for done in batch:
                done.wake.release()


def measure(folder: Path, threads: int, *, own_thread: bool, is_synced: bool = True) -> tuple[float, float]:
    """Adds per second, and the 99th percentile of the time of one in milliseconds."""
    writer = Writer(folder / f"{time.monotonic_ns()}.db")
    if not is_synced:
        writer.connection.pragma("synchronous", 0)
    books = Bookkeeping(writer.connection, DuplicatePolicy.VERSION)
    writer.on_rollback = books.forget
    committer = CommitThread(writer) if own_thread else None
    run = committer.run if committer else writer.run
    took: list[float] = []

    def add(instances: list[Instance]) -> None:
        for instance in instances:
            start = time.perf_counter()
            run(partial(books.add, instance, entry.row_of(instance)))
            took.append(time.perf_counter() - start)

    work = [[sample(number, study) for number in range(ADDS // threads)] for study in range(threads)]
    workers = [threading.Thread(target=add, args=(instances,)) for instances in work]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - start
    if committer:
        committer.close()
    writer.close()
    return ADDS / seconds, statistics.quantiles(took, n=100)[98] * 1000


def main(folder: Path) -> None:
    print("threads  leader/follower        own thread             ratio")
    for threads in (1, 4, 16):
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(measure(folder, threads, own_thread=False))
            theirs.append(measure(folder, threads, own_thread=True))
        cells = [
            (statistics.median(rate for rate, _ in way), statistics.median(late for _, late in way))
            for way in (ours, theirs)
        ]
        texts = [f"{rate:6.0f}/s p99 {late:5.1f} ms" for rate, late in cells]
        print(f"{threads:7}  {'   '.join(texts)}   {cells[0][0] / cells[1][0]:.2f}")
    rate = statistics.median(measure(folder, 1, own_thread=False, is_synced=False)[0] for _ in range(ROUNDS))
    print(f"without the disk (synchronous=OFF), 1 thread: {rate:.0f}/s, {1000 / rate:.3f} ms each")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as scratch:
        main(Path(scratch))
