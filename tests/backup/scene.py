"""A data folder with synthetic instances, its backup, and what a restore of it has to equal."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pacsnode.archive import Archive
from pacsnode.backup.database import Knowledge
from pacsnode.backup.encryption import Encryption, Plain
from pacsnode.backup.folder import FolderTarget
from pacsnode.backup.restore import Restore, Restored
from pacsnode.backup.run import Done, Run
from pacsnode.backup.settings import Settings, Sources
from pacsnode.backup.target import Target
from pacsnode.backup.vault import Vault
from pacsnode.backup.verify import Verification, Verified
from pacsnode.dicom import header, walk
from pacsnode.dicom.attributes import HEADER_TAGS
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.jobs.budget import RunBudget
from pacsnode.model import Arrival, Key, Outcome, Uid
from pacsnode.storage import layout
from pacsnode.storage.filesystem import FilesystemStore
from tests.system import material
from tests.test_archive import encoded

EXPLICIT_LITTLE = Uid("1.2.840.10008.1.2.1")


class Clock:
    """The time of this machine, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


class Scene:
    """One node's data folder and its target; every call opens and closes what it needs, as processes do."""

    def __init__(
        self,
        root: Path,
        *,
        target: Target | None = None,
        encryption: Encryption | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.root = root
        self.data = root / "node"
        self.data.mkdir(parents=True, exist_ok=True)
        self.place = root / "target"
        self.place.mkdir(exist_ok=True)
        self.target = target or FolderTarget(self.place)
        self.settings = settings or Settings()
        self.clock = Clock()
        self.config = ""
        scratch = self.data / "backup"
        scratch.mkdir(exist_ok=True)
        self.vault = Vault(self.target, encryption or Plain(), scratch)
        self._received = 0

    @contextmanager
    def archive(self) -> Iterator[Archive]:
        """The archive of the data folder."""
        with closing(SqliteIndex(self.data / "index.db")) as index:
            yield Archive(FilesystemStore(self.data), index, self.clock)

    @contextmanager
    def knowledge(self) -> Iterator[Knowledge]:
        """What the node knows of its backup."""
        with closing(Knowledge(self.data / "backup.db")) as opened:
            yield opened

    def receive(self, count: int, *, rows: int = 16) -> list[Key]:
        """Store so many new instances, five to a study: their keys."""
        keys = []
        with self.archive() as archive:
            for number in range(self._received, self._received + count):
                data = encoded(material.instance(number % 5, number=number // 5 + 1, rows=rows))
                assert Outcome.STORED is receive(archive, data)
                found = archive.index.current(Uid(uid_of(data)))
                assert found is not None
                keys.append(found.stored.key)
        self._received += count
        return keys

    def run(self, budget: RunBudget | None = None) -> Done:
        """One run of the backup."""
        with self.archive() as archive, self.knowledge() as knowledge:
            sources = Sources(self.data / "index.db", (self.data / "jobs.db", self.data / "none.db"), self.config)
            return Run(archive, knowledge, self.vault, self.settings, sources=sources).run(budget or RunBudget())

    def verify(self) -> Verified:
        """The whole backup read again."""
        with self.knowledge() as knowledge:
            return Verification(knowledge, self.vault, self.settings, self.clock).everything(RunBudget())

    def restore(self, to: Path, at: datetime | None = None) -> Restored:
        """A whole restore."""
        made = Restore(Vault(self.vault.target, self.vault.encryption, self.root), to, clock=self.clock, at=at)
        made.index()
        return made.objects()

    def files(self) -> list[Path]:
        """What lies in the target, where that is a folder."""
        return sorted(path for path in self.place.rglob("*") if path.is_file())


def receive(archive: Archive, data: bytes) -> Outcome:
    """Store a data set, as a C-STORE does."""
    walker = walk.DataSetWalker(EXPLICIT_LITTLE, HEADER_TAGS)
    walker.feed(data)
    found = header.read_header(walker.finish())
    arrival = Arrival(found.sop_class_uid, found.sop_instance_uid, EXPLICIT_LITTLE, "CT01", "PACSNODE", archive.clock())
    with archive.receive(arrival) as ingest:
        ingest.write(data)
        return ingest.commit()


def uid_of(data: bytes) -> str:
    """The SOP Instance UID of a data set."""
    walker = walk.DataSetWalker(EXPLICIT_LITTLE, HEADER_TAGS)
    walker.feed(data)
    return header.read_header(walker.finish()).sop_instance_uid


def contents(data: Path) -> tuple[dict[str, str], list[tuple[object, ...]]]:
    """Every object by key with its digest, and every row of the index: two folders with the same are equal."""
    objects = {
        path.relative_to(data / "objects").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (data / "objects").rglob("*")
        if layout.parse(path.relative_to(data / "objects"))  # else what the trial of a process that was killed left
    }
    with closing(SqliteIndex(data / "index.db", read_only=True)) as index:
        return objects, list(index.dump())


def flip(path: Path) -> None:
    """Change one random bit of a file."""
    content = bytearray(path.read_bytes())
    content[secrets.randbelow(len(content))] ^= 1 << secrets.randbelow(8)
    path.write_bytes(content)
