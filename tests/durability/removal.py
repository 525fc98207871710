"""Fills the disk that its data folder is on to the last byte, then removes what it stored; prints how many it could.

``python -m tests.durability.removal FOLDER BALLAST_MIB``: some by the archive that stored them, the rest by the next.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from pacsnode import app
from pacsnode.archive import Archive
from pacsnode.config import Config, Node, Storage
from pacsnode.errors import PacsNodeError
from pacsnode.model import Arrival, Uid
from tests.dimse.images import image, uid_of
from tests.dimse.raw_peer import CT, EXPLICIT

COUNT = 6  # so few that the write-ahead log is short, and has to grow


def store(archive: Archive, number: int) -> None:
    arrival = Arrival(Uid(CT), Uid(uid_of(number)), Uid(EXPLICIT), "CT01", "PACSNODE", archive.clock())
    with archive.receive(arrival) as ingest:
        ingest.write(image(number))
        ingest.commit()


def fill(folder: Path) -> None:
    """Until nothing more can be written."""
    with (folder / "filler").open("ab", buffering=0) as stream:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while stream.write(bytes(size)) == size:
                    if size > 1:
                        os.fsync(stream.fileno())


def remove(archive: Archive, number: int) -> int:
    try:
        removed = archive.index.remove(Uid(uid_of(number)))
        assert removed is not None
        archive.store.delete(removed.stored.key)
    except PacsNodeError:
        return 0
    return 1


def main(folder: Path, ballast_mib: int) -> None:
    settings = Storage(min_free=1024, ballast=ballast_mib << 20)
    config = Config(node=Node(data=folder), storage=settings)
    here, later = 0, 0
    with contextlib.suppress(PacsNodeError), app.open_archive(config, read_only=False) as archive:
        for number in range(COUNT):
            store(archive, number)
        app.ballast(config).restore(settings.min_free)
        fill(folder)
        here = sum(remove(archive, number) for number in range(COUNT // 2))
    (folder / "filler").unlink()
    app.ballast(config).restore(settings.min_free)
    fill(folder)
    with contextlib.suppress(PacsNodeError), app.open_archive(config, read_only=False) as archive:
        later = sum(remove(archive, number) for number in range(COUNT - COUNT // 2, COUNT))
    print(here, later)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
