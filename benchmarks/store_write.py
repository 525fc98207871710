"""Durable writes: the store against a plain write + fdatasync + rename + directory fsync loop, taken in turn.

    python benchmarks/store_write.py FOLDER [THREADS]

Prints instances per second, the median of three rounds, and the ratio to the plain loop of the same rounds. The plain
loop neither hashes nor makes a head. "cached" and "together" are the store without one of its two habits, see
docs/decisions/0006-direct-io-and-spread-folders.md. Tried here and left out, on ext4 with Linux 6.18, without a clear
difference: writeback begun while hashing, O_TMPFILE, rename for link and unlink, one directory fsync shared by all
threads that wait.
"""

from __future__ import annotations

import errno
import os
import random
import secrets
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pacsnode.model import Arrival, Uid
from pacsnode.storage import layout
from pacsnode.storage.calls import FileSystem
from pacsnode.storage.filesystem import FilesystemStore

ROUNDS = 3
SIZES = {"CT 525 kB": (525_000, 500), "MR 34 kB": (34_000, 2_000)}
FRAGMENT_BYTES = 64 * 1024  # as they come from the network

Write = Callable[[bytes, int], None]


def plain(folder: Path) -> Write:
    FileSystem().spread_directories(folder.parent)  # else the inodes of what was deleted near by weigh on it
    folder.mkdir()
    directory = os.open(folder, os.O_RDONLY)

    def write(content: bytes, number: int) -> None:
        name = folder / f"{threading.get_ident()}-{number}"
        descriptor = os.open(f"{name}.part", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640)
        os.write(descriptor, content)
        os.fdatasync(descriptor)
        os.close(descriptor)
        os.rename(f"{name}.part", name)  # noqa: PTH104
        os.fsync(directory)

    return write


class Cached(FileSystem):
    """Writes through the page cache only."""

    def bypass_cache(self, descriptor: int) -> None:
        raise OSError(errno.EINVAL, "not tried")


class Together(FileSystem):
    """Leaves it to the file system where folders lie."""

    def spread_directories(self, path: Path) -> None:
        pass


def store(folder: Path, fs: FileSystem | None = None) -> Write:
    target = FilesystemStore(folder, fs=fs)

    def write(content: bytes, number: int) -> None:
        now = datetime.now(UTC)
        upload = target.begin(Arrival(Uid("1.2"), Uid("1.2.3"), Uid("1.2.840.10008.1.2.1"), "CT01", "PACSNODE", now))
        view = memoryview(content)
        for start in range(0, len(content), FRAGMENT_BYTES):
            upload.write(view[start : start + FRAGMENT_BYTES])
        upload.commit(layout.new_key(now, secrets.token_bytes(9)))

    return write


VARIANTS: dict[str, Callable[[Path], Write]] = {
    "plain": plain,
    "store": store,
    "cached": lambda folder: store(folder, Cached()),
    "together": lambda folder: store(folder, Together()),
}


def rate(write: Write, content: bytes, count: int, threads: int) -> float:
    def run() -> None:
        for number in range(count // threads):
            write(content, number)

    workers = [threading.Thread(target=run) for _ in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return count // threads * threads / (time.perf_counter() - start)


def main(folder: Path, threads: int) -> None:
    for name, (size, count) in SIZES.items():
        content = random.Random(1).randbytes(size)
        rates: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        for number in range(ROUNDS):
            for variant, make in VARIANTS.items():
                place = folder / f"{number}"
                rates[variant].append(rate(make(place), content, count, threads))
                shutil.rmtree(place)
        base = statistics.median(rates["plain"])
        for variant, measured in rates.items():
            median = statistics.median(measured)
            print(f"{name:10} threads={threads} {variant:8} {median:7.0f}/s  {median / base:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
