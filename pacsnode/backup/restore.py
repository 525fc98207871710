"""A whole node from its backup: the index first, so that it answers before all objects are back, then the objects.

It may be killed anywhere; the next call for the same folder goes on. What is half done is told by ``restore.json``.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

from pacsnode.archive import Archive
from pacsnode.backup import adoption, chain, manifest
from pacsnode.backup.chain import Point
from pacsnode.backup.database import Knowledge
from pacsnode.backup.manifest import Copied, Piece, Snapshot
from pacsnode.backup.snapshot import CONFIG
from pacsnode.backup.vault import Vault
from pacsnode.dicom.charset import Assumptions
from pacsnode.errors import BackupDamaged, BackupFailure, IndexFailure, NotInBackup, ObjectDamaged
from pacsnode.index import migrations, schema
from pacsnode.index.snapshot import damage_of, renew_identity
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Clock, Instance, Key
from pacsnode.recovery import MarkFile
from pacsnode.storage.atomic import write_atomically
from pacsnode.storage.filesystem import FilesystemStore
from pacsnode.storage.placing import Places

UNFINISHED = "restore.json"
_OUR_OWN = frozenset({UNFINISHED, "lock", "restoring"})
_DRAFT = re.compile(r"\.restore\.json\.[0-9a-f]+\.part")  # of a restore that was killed before it had begun
_IN_MEMORY_BYTES = 4 * 1024 * 1024
_BATCH = 64
_DATA = re.compile(r'^(data|index) = ".*"$', re.MULTILINE)
_STATE = re.compile(r"[a-z]+\.db")
Progress = Callable[[int, int | None], None]
"""Told how many objects are back, and of how many."""


@dataclass(slots=True)
class Restored:
    """What is back."""

    point: int = 0  # the number of the manifest
    at: str = ""  # everything that was stored before is back
    objects: int = 0
    size: int = 0  # bytes
    findings: list[tuple[str, str]] = field(default_factory=list)  # key or name, and what is wrong
    index_seconds: float = 0.0  # until queries are answered
    seconds: float = 0.0


class Restore:
    """A restore into one folder. Nobody else may use it until ``index`` is through; then a node may run on it."""

    def __init__(
        self,
        vault: Vault,
        folder: Path,
        *,
        clock: Clock,
        at: datetime | None = None,
        assumed: Assumptions = Assumptions(),  # noqa: B008 - frozen
        transfers: int = 4,
    ) -> None:
        """``at``: as it was then. Raises BackupFailure where the folder holds anything but this restore, unfinished;
        where there is no backup, or it was written by a newer program."""
        self._vault = vault
        self._folder = folder
        self._clock = clock
        self._assumed = assumed
        self._transfers = transfers
        self._began = time.monotonic()
        self._points = self._begin_or_go_on(at)
        newest = self._points[-1].manifest
        self._done = Restored(point=newest.number, at=newest.at.isoformat())
        self._places = Places(folder, folder / "restoring")

    def index(self) -> None:
        """Put the index in its place, complete and consistent with the objects to come.

        Where that of the backup is damaged it is left out: then it is built anew when all objects are back.
        """
        index = self._folder / "index.db"
        if not index.exists():
            with closing(Knowledge(self._folder / "restore.db")) as wanted:
                self._list(wanted)
                snapshot = self._snapshot()
                self._fetch_state(snapshot)
                building = self._fetch_index(snapshot.index)
                if building is not None:
                    self._complete(building, wanted)
                    renew_identity(building)
                    building.replace(index)
        self._done.index_seconds = time.monotonic() - self._began

    def objects(self, progress: Progress = lambda done, total: None) -> Restored:
        """Bring the objects back, newest first, and finish: what is here already is left as it is."""
        with closing(Knowledge(self._folder / "restore.db")) as wanted:
            total = wanted.totals()[0]
            for batch in _batches(wanted.newest_first()):
                self._bring_back(batch)
                progress(self._done.objects + len(self._done.findings), total)
        self._rebuild_where_lost()
        self._finish()
        self._done.seconds = time.monotonic() - self._began
        return self._done

    def _list(self, wanted: Knowledge) -> None:
        """What is to be restored; where a list is damaged, as it was before that one."""
        points, problem = adoption.take_over(wanted, self._vault, self._points, self._clock())
        if problem:
            self._points = self._usable(points)
            newest = points[-1].manifest
            self._done.point, self._done.at = newest.number, newest.at.isoformat()
            self._done.findings.append((manifest.LISTS, problem))

    def _begin_or_go_on(self, at: datetime | None) -> list[Point]:
        note = self._folder / UNFINISHED
        try:
            found = {path.name for path in self._folder.iterdir()}
        except FileNotFoundError:
            found = set()
        except OSError as error:
            raise BackupFailure(f"restore: {self._folder} is of no use: {error.strerror}") from error
        if UNFINISHED in found:
            told = json.loads(note.read_bytes())
            if told["url"] != self._vault.target.url or (at and at.isoformat() != told["at"]):
                raise BackupFailure(f"restore: {self._folder} holds an unfinished restore of something else; empty it")
            return self._usable(chain.since_snapshot(self._vault, through=told["through"]))
        if {name for name in found - _OUR_OWN if not _DRAFT.fullmatch(name)}:
            raise BackupFailure(f"restore: {self._folder} is not empty; name a folder that is, or does not exist")
        chain.owner_of(self._vault)
        points = self._usable(chain.since_snapshot(self._vault, at=at))
        self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        through = points[-1].manifest.number
        told = {"url": self._vault.target.url, "through": through, "at": at.isoformat() if at else None}
        write_atomically(note, json.dumps(told).encode())
        return points

    def _usable(self, points: list[Point]) -> list[Point]:
        snapshot, program = points[0].manifest.snapshot, points[0].manifest.program
        if snapshot is not None and snapshot.schema > schema.SCHEMA_VERSION:
            raise BackupFailure(
                f"restore: the backup has index schema {snapshot.schema}, this program knows {schema.SCHEMA_VERSION}; "
                f"use pacsnode {program} or newer"
            )
        return points

    def _snapshot(self) -> Snapshot:
        snapshot = self._points[0].manifest.snapshot
        if snapshot is None:
            raise BackupDamaged("backup: the first manifest has no snapshot")
        return snapshot

    def _fetch_state(self, snapshot: Snapshot) -> None:
        for name, piece in snapshot.state.items():
            try:
                if name == CONFIG:
                    self._write_config(piece)
                elif _STATE.fullmatch(name):
                    fetch_packed(self._vault, piece, self._folder / name)
            except (BackupDamaged, NotInBackup) as error:
                self._done.findings.append((name, str(error)))

    def _write_config(self, piece: Piece) -> None:
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as sink:
            self._vault.fetch(piece, cast(BinaryIO, sink))
            sink.seek(0)
            text = sink.read().decode()
        here = {"data": json.dumps(str(self._folder.absolute())), "index": '""'}
        write_atomically(
            self._folder / CONFIG, _DATA.sub(lambda found: f"{found[1]} = {here[found[1]]}", text, count=2).encode()
        )

    def _fetch_index(self, piece: Piece) -> Path | None:
        building = self._folder / "index.db.restoring"
        for leftover in (
            building,
            building.with_name(f"{building.name}-wal"),
            building.with_name(f"{building.name}-shm"),
        ):
            leftover.unlink(missing_ok=True)
        try:
            fetch_packed(self._vault, piece, building)
            problems = damage_of(building)
            if problems:
                raise BackupDamaged(f"backup: {piece.name} is damaged: {problems[0]}")
            migrations.upgrade(building)
        except (BackupDamaged, NotInBackup, IndexFailure) as error:
            self._done.findings.append((piece.name, f"{error}; the index is built anew from the objects"))
            return None
        return building

    def _complete(self, building: Path, wanted: Knowledge) -> None:
        """Make the index hold what the backup holds: what came after the snapshot is brought back for that first."""
        store = FilesystemStore(self._folder)
        with closing(SqliteIndex(building)) as index:
            archive = Archive(store, index, self._clock, self._assumed)
            missing: list[Copied] = []
            surplus: list[Key] = []
            _compare(index.keys(), wanted.objects(), missing, surplus)
            for key in surplus:
                index.strike(key)
            for batch in _batches(iter(missing)):
                self._bring_back(batch)
                index.add_many(list(self._described(archive, batch)))
            MarkFile(self._folder / "mark").finish(archive)
        for count in ("objects", "size"):
            setattr(self._done, count, 0)  # counted again when all are looked at

    def _described(self, archive: Archive, batch: list[Copied]) -> Iterator[Instance]:
        for entry in batch:
            if self._places.holds(entry.key):
                try:
                    yield archive.describe(entry.key)
                except ObjectDamaged as error:
                    self._done.findings.append((entry.key, str(error)))

    def _bring_back(self, batch: list[Copied]) -> None:
        with ThreadPoolExecutor(self._transfers, thread_name_prefix="restore") as pool:
            for entry, problem in zip(batch, pool.map(self._one_back, batch), strict=True):
                if problem:
                    self._done.findings.append((entry.key, problem))
                else:
                    self._done.objects += 1
                    self._done.size += entry.piece.size

    def _one_back(self, entry: Copied) -> str:
        if self._places.holds(entry.key):
            return ""
        try:
            self._places.place(entry.key, lambda sink: self._vault.fetch(entry.piece, sink))
        except (BackupDamaged, NotInBackup) as error:
            return str(error)
        return ""

    def _rebuild_where_lost(self) -> None:
        index = self._folder / "index.db"
        if index.exists():
            return
        building = index.with_name("index.db.restoring")
        with closing(SqliteIndex(building)) as rebuilt:
            archive = Archive(FilesystemStore(self._folder), rebuilt, self._clock, self._assumed)
            self._done.findings += [(f.key, f.problem) for f in archive.rebuild() if f is not None]
            MarkFile(self._folder / "mark").finish(archive)
        building.replace(index)

    def _finish(self) -> None:
        """The node's next run of the backup goes on where the manifests end."""
        with closing(Knowledge(self._folder / "backup.db")) as knowledge:
            adoption.adopt(knowledge, self._vault, self._clock())
        self._places.sweep()
        for draft in self._folder.glob(f".{UNFINISHED}.*.part"):
            draft.unlink()
        for name in ("restore.db", "restore.db-wal", "restore.db-shm", UNFINISHED):
            (self._folder / name).unlink(missing_ok=True)


def fetch_packed(vault: Vault, piece: Piece, to: Path) -> None:
    """Fetch a compressed file and unpack it. Raises BackupDamaged, NotInBackup."""
    with tempfile.TemporaryFile(dir=to.parent) as packed:
        vault.fetch(piece, cast(BinaryIO, packed))
        packed.seek(0)
        with gzip.GzipFile(fileobj=packed, mode="rb") as source, to.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1024 * 1024)


def _compare(rows: Iterable[Key], wanted: Iterable[Copied], missing: list[Copied], surplus: list[Key]) -> None:
    """Both in ascending order."""
    mine = iter(rows)
    row = next(mine, None)
    for entry in wanted:
        while row is not None and row < entry.key:
            surplus.append(row)
            row = next(mine, None)
        if row == entry.key:
            row = next(mine, None)
        else:
            missing.append(entry)
    while row is not None:
        surplus.append(row)
        row = next(mine, None)


def _batches(entries: Iterator[Copied]) -> Iterator[list[Copied]]:
    batch: list[Copied] = []
    for entry in entries:
        batch.append(entry)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
