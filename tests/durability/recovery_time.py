"""How long a start takes after an unclean stop, with an index of a million rows.

``python -m tests.durability.recovery_time FOLDER``. The rows from before the mark have no objects: recovery does not
look at them. Those after it, by default 20,000 as of 10 minutes at 33 a second, have, but for some that lost their row.
A folder that is there already is used again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from pacsnode import app
from pacsnode.archive import Archive
from pacsnode.config import Config, Node, Storage
from pacsnode.dicom.attributes import HEADER_TAGS
from pacsnode.dicom.header import read_header
from pacsnode.dicom.syntax import EXPLICIT_VR_LITTLE_ENDIAN
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Arrival, Instance, StoredObject, Uid
from pacsnode.storage import layout
from tests.dicom.dataset_bytes import walk
from tests.dimse.images import image, uid_of
from tests.dimse.raw_peer import CT, EXPLICIT

MARK = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
PIXELS = bytes(8_000)
BATCH = 5_000
SERIES_INSTANCES, STUDY_SERIES, PATIENT_STUDIES = 100, 4, 3


def old_rows(count: int) -> Iterator[Instance]:
    """What arrived in the year before the mark, evenly."""
    header = read_header(walk(image(0), EXPLICIT_VR_LITTLE_ENDIAN, HEADER_TAGS))
    for number in range(count):
        series = number // SERIES_INSTANCES
        study = series // STUDY_SERIES
        moment = MARK - timedelta(days=365) * ((count - number) / count)
        digest = hashlib.sha256(str(number).encode())
        stored = StoredObject(
            layout.new_key(moment, digest.digest()), 500_000, digest.hexdigest(), EXPLICIT_VR_LITTLE_ENDIAN, 700
        )
        of_it = replace(
            header,
            sop_instance_uid=Uid(f"2.25.9.1.{number}"),
            series_instance_uid=Uid(f"2.25.9.2.{series}"),
            study_instance_uid=Uid(f"2.25.9.3.{study}"),
            patient_id=f"P{study // PATIENT_STUDIES}",
            patient_name=f"Family{study % 997}^Given{study % 89}",
            instance_number=str(number % SERIES_INSTANCES + 1),
        )
        yield Instance(of_it, stored, moment, "CT01", "PACSNODE")


def store_recent(archive: Archive, count: int) -> None:
    """What arrives in the ten minutes after the mark."""
    for number in range(count):
        moment = MARK + timedelta(minutes=10) * (number / count)
        arrival = Arrival(Uid(CT), Uid(uid_of(number)), Uid(EXPLICIT), "CT01", "PACSNODE", moment)
        with archive.receive(arrival) as ingest:
            ingest.write(image(number, pixels=PIXELS))
            ingest.commit()


def build(config: Config, rows: int, recent: int, orphans: int) -> None:
    """Fill the folder where it is not there, and end as a kill does."""
    is_new = not config.node.data.exists()
    config.node.data.mkdir(parents=True, exist_ok=True)
    if is_new:
        fill(config, rows)
    index = SqliteIndex(app.index_path(config))
    archive = Archive(app.open_store(config, read_only=False), index, lambda: MARK + timedelta(minutes=1))
    app.mark_file(config).move_on(archive)
    if is_new:
        store_recent(archive, recent)
    for key in list(islice(index.keys(layout.new_key(MARK, bytes(9))), orphans)):
        index.strike(key)
    os.sync()
    os._exit(0)


def fill(config: Config, rows: int) -> None:
    """Rows alone."""
    with closing(SqliteIndex(app.index_path(config))) as index:
        source = old_rows(rows)
        while batch := list(islice(source, BATCH)):
            index.add_many(batch)


def forget_cache(folder: Path) -> None:
    """Let the next reads come from the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--recent", type=int, default=20_000)
    parser.add_argument("--orphans", type=int, default=50)
    parser.add_argument("--build", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    config = Config(node=Node(data=asked.folder.absolute()), storage=Storage(min_free=0, ballast=0))
    if asked.build:
        build(config, asked.rows, asked.recent, asked.orphans)
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "tests.durability.recovery_time", *sys.argv[1:], "--build"], check=True)
    print(f"filled in {time.monotonic() - began:.0f} s; index {app.index_path(config).stat().st_size >> 20} MiB")
    forget_cache(config.node.data)
    began = time.monotonic()
    with app.open_archive(config, read_only=False) as archive:
        took = time.monotonic() - began
        print(f"{archive.index.totals().instances:,} rows: open after {took:.1f} s")


if __name__ == "__main__":
    main()
