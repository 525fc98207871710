"""A real store and index in a folder, a folder of copies of its objects, and budgets: for the tests of the scrub."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from pacsnode.archive import Archive
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.integrity.ledger import Ledger
from pacsnode.integrity.repair import Copies, Repairer
from pacsnode.integrity.scrub import Scrub
from pacsnode.jobs.job import JobReport
from pacsnode.model import Arrival, Instance, Key, Uid
from pacsnode.storage.calls import FileSystem
from pacsnode.storage.filesystem import FilesystemStore
from tests.cli.folder import CT, data_set

EXPLICIT = Uid("1.2.840.10008.1.2.1")
BEGAN = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
FULL_PASS = timedelta(days=30)


class Hands:
    """A clock that is set by hand, but moves on by a microsecond whenever it is asked."""

    def __init__(self, now: datetime = BEGAN) -> None:
        self.now = now

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now

    def pass_by(self, time: timedelta) -> None:
        """Let time pass."""
        self.now += time


class Unlimited:
    """A Budget that never ends; ``spent`` are the bytes it was told of."""

    def __init__(self) -> None:
        self.spent = 0

    def expired(self) -> bool:
        """See Budget.expired."""
        return False

    def spend(self, size: int) -> None:
        """See Budget.spend."""
        self.spent += size

    def advance(self, done: int, total: int | None) -> None:
        """See Budget.advance."""


class Items(Unlimited):
    """A Budget for so many questions whether it has expired."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._left = count

    def expired(self) -> bool:
        """See Budget.expired."""
        self._left -= 1
        return self._left < 0


class FolderOfCopies:
    """Copies in a folder, by digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    @contextmanager
    def fetch(self, uid: Uid, digest: str) -> Iterator[BinaryIO | None]:
        """See Copies.fetch."""
        path = self.folder / digest
        if not path.exists():
            yield None
            return
        with path.open("rb") as source:
            yield source


class Scene:
    """An archive, and what a scrub of it needs. Everything is in the folder: it may be opened again."""

    def __init__(self, folder: Path, clock: Hands | None = None, fs: FileSystem | None = None) -> None:
        self.folder = folder
        self.clock = clock or Hands()
        self.store = FilesystemStore(folder, fs=fs)
        self.index = SqliteIndex(folder / "index.db")
        self.archive = Archive(self.store, self.index, self.clock)
        self.ledger = Ledger(folder / "integrity.db")
        self.copies = FolderOfCopies(folder / "copies")

    def close(self) -> None:
        """Close the databases."""
        self.index.close()
        self.ledger.close()

    def store_instances(self, count: int, *, filling: int = 400) -> list[Instance]:
        """Store instances, and let an hour pass."""
        for number in range(count):
            self.receive(data_set(f"2.25.3.{number}", filling=filling), f"2.25.3.{number}")
        self.clock.pass_by(timedelta(hours=1))
        return list(self.index.everything())

    def receive_other(self) -> None:
        """Store another instance: an archive without any object is taken for one that is not mounted."""
        self.receive(data_set("2.25.4"), "2.25.4")

    def receive(self, data: bytes, uid: str) -> None:
        """Store an instance."""
        arrival = Arrival(Uid(CT), Uid(uid), EXPLICIT, "CT01", "PACSNODE", self.clock())
        with self.archive.receive(arrival) as ingest:
            ingest.write(data)
            ingest.commit()

    def copy_everything(self) -> None:
        """Put a copy of every object into the folder of copies."""
        for instance in self.index.everything():
            (self.copies.folder / instance.stored.digest).write_bytes(self.path_of(instance.stored.key).read_bytes())

    def scrub(self, *places: Copies) -> Scrub:
        """The job; without places to fetch copies from, those are the folder of copies."""
        by_name = {type(place).__name__ + str(number): place for number, place in enumerate(places)}
        repairer = Repairer(self.archive, by_name or {"folder": self.copies})
        return Scrub(self.archive, self.ledger, repairer, full_pass=FULL_PASS)

    def run(self, *places: Copies) -> JobReport:
        """A whole pass."""
        return self.scrub(*places).run_whole(Unlimited())

    def path_of(self, key: Key) -> Path:
        """The file of an object."""
        return self.folder / "objects" / key

    def objects(self) -> list[Key]:
        """The keys of all objects."""
        return list(self.store.keys())

    def problems(self) -> list[str]:
        """What is wrong with what the index knows."""
        return [found.problem for found in self.archive.verify(self.index.everything()) if found is not None]

    def kinds(self) -> list[str]:
        """What the open findings are."""
        return [record.kind.value for record in self.ledger.findings.open_ones()]


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Change one bit of a file; negative positions count from its end."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def flip_anywhere(path: Path, chance: random.Random) -> None:
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= chance.randrange(1, 256)
    path.write_bytes(content)
