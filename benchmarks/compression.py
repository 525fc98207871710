"""Compression with verification: rate of a core and ratio on real CT and MR, and what a C-STORE waits meanwhile."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import receive, senders, servers
from benchmarks.dataset import CT, Plan
from benchmarks.figures import Figure, Quantity, Tally
from benchmarks.servers import PACSNODE, Server
from benchmarks.stage import Stage
from pacsnode.archive import Archive
from pacsnode.codec.codecs import Codec
from pacsnode.compression.job import CompressionJob
from pacsnode.compression.policy import Policy
from pacsnode.dicom import part10, syntax
from pacsnode.errors import BadDataset
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.jobs.budget import RunBudget
from pacsnode.model import Arrival, Uid
from pacsnode.storage.filesystem import FilesystemStore

RECEIVED_ALONE, RECEIVED_BESIDE = "C-STORE, CT, job at rest", "C-STORE, CT, job running"
_REAL = Path(__file__).parents[2] / "shared" / "dicom"
_SMALLEST_BYTES = 30_000  # what is smaller is no CT or MR of today
_TABLES = '[jobs.compression]\nenabled = false\nolder_than = "0 s"\n'
_COPIES = 5  # of each file: starting the codec process is to count as little as in a run of an hour
_IN_THE_ARCHIVE = 300
_START_SECONDS = 20.0


def cell(codec: Codec) -> str:
    """E.g. "CT and MR, htj2k"."""
    return f"CT and MR, {codec.value}"


def run(stage: Stage) -> list[Figure]:
    """The job on an archive of real images with each codec; then C-STOREs to a node with and without the job."""
    tally = Tally()
    files = list(_files())
    if not files:
        stage.say("compression: no real files beside the checkout; rate and ratio are left out")
    for number in range(stage.settings.rounds if files else 0):
        for codec in Codec:
            stage.say(f"compression, round {number + 1}: {cell(codec)}, {len(files)} files")
            _compress(stage.folder / "compression", files, codec, tally)
    for number in range(stage.settings.rounds):
        stage.say(f"compression, round {number + 1}: C-STORE")
        _receive(stage, tally)
    return tally.figures()


def _files() -> Iterator[tuple[Path, str, str]]:
    """Native CT and MR images: path, SOP class and SOP instance."""
    manifest = _REAL / "MANIFEST.tsv"
    if not manifest.exists():
        return
    with manifest.open(newline="") as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            is_native = not syntax.is_encapsulated(Uid(row["TransferSyntaxUID"]))
            is_image = row["class"] == "storable" and row["modality"] in ("CT", "MR") and row["rows x cols x frames"]
            if is_native and is_image and int(row["bytes"]) >= _SMALLEST_BYTES:
                yield _REAL / row["path"], row["SOPClassUID"], row["SOPInstanceUID"]


def _compress(folder: Path, files: list[tuple[Path, str, str]], codec: Codec, tally: Tally) -> None:
    """One run over all, timed by the clock on the wall and by the processors."""
    with closing(SqliteIndex(_made(folder) / "index.db")) as index:
        archive = Archive(FilesystemStore(folder), index, lambda: datetime.now(UTC))
        for path, sop_class, uid in files:
            for copy in range(_COPIES):
                _store(archive, path, sop_class, uid, copy)
        before = index.totals().stored_bytes
        job = CompressionJob(archive, folder, Policy(codec, timedelta(0)))
        begin, spent = time.monotonic(), _cpu_seconds()
        report = job.run(RunBudget())
        seconds, core_seconds = time.monotonic() - begin, _cpu_seconds() - spent
    tally.add(cell(codec), PACSNODE, Quantity.CORE_RATE, before / 1e6 / core_seconds)
    tally.add(cell(codec), PACSNODE, Quantity.MEGABYTE_RATE, before / 1e6 / seconds)
    tally.add(cell(codec), PACSNODE, Quantity.SMALLER, report.bytes_before / max(1, report.bytes_after))
    tally.add(cell(codec), PACSNODE, Quantity.FAILED, report.failed)
    shutil.rmtree(folder)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _store(archive: Archive, path: Path, sop_class: str, uid: str, copy: int) -> None:
    """Each copy under another UID of the same length."""
    with path.open("rb") as source:
        head = part10.read_foreign_head(source)
        source.seek(head.offset)
        other = f"{uid[:-1]}{copy}"
        content = source.read().replace(uid.encode(), other.encode())
    arrival = Arrival(Uid(sop_class), Uid(other), head.transfer_syntax_uid, "CT01", "PACSNODE", archive.clock())
    try:
        with archive.receive(arrival) as ingest:
            ingest.write(content)
            ingest.commit()
    except BadDataset:
        return


def _cpu_seconds() -> float:
    """User and system time of this process and of the codec processes that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _receive(stage: Stage, tally: Tally) -> None:
    folder = _made(stage.folder / "compression-node")
    try:
        with servers.pacsnode_with(folder, _TABLES) as server:
            _send(stage, server, _IN_THE_ARCHIVE)
            tally.add_sent(RECEIVED_ALONE, server.name, _send(stage, server, stage.settings.ct_instances))
            command = [sys.executable, "-m", "pacsnode", "--config", str(folder / "pacsnode.toml")]
            with subprocess.Popen([*command, "job", "run", "compression"], stdout=subprocess.DEVNULL) as job:
                _await_start(command)
                tally.add_sent(RECEIVED_BESIDE, server.name, _send(stage, server, stage.settings.ct_instances))
                job.terminate()
    finally:
        shutil.rmtree(folder)


def _await_start(command: Sequence[str]) -> None:
    """Until the node says that the job is running. Raises TimeoutError."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        told = subprocess.run([*command, "job", "list", "--json"], capture_output=True, check=True).stdout
        if any(job["running"] for job in json.loads(told) if job["job"] == "compression"):
            return
    raise TimeoutError("the job did not begin")


def _send(stage: Stage, server: Server, count: int) -> senders.Sent:
    plan = Plan(CT, stage.new_root(), per_series=100)
    return senders.send(server.called, receive.batches(plan, count, 1))
