"""A drill: the newest snapshot and a sample of objects are restored to a scratch folder, and compared."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, cast

from pacsnode.archive import Archive
from pacsnode.backup import answers, chain
from pacsnode.backup.manifest import Copied, Snapshot
from pacsnode.backup.restore import fetch_packed
from pacsnode.backup.settings import Settings
from pacsnode.backup.vault import Vault
from pacsnode.dicom.charset import Assumptions
from pacsnode.errors import BackupDamaged, NotInBackup, ObjectDamaged
from pacsnode.index import migrations
from pacsnode.index.snapshot import damage_of
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.jobs.job import Budget
from pacsnode.model import Clock
from pacsnode.storage.filesystem import FilesystemStore
from pacsnode.storage.placing import Places


@dataclass(slots=True)
class Drilled:
    """What the drill showed."""

    point: int = 0  # of the manifest whose snapshot was restored
    objects: int = 0  # restored and found to be what they were
    queries: int = 0  # answered as when the snapshot was made
    findings: list[str] = field(default_factory=list)
    rpo_seconds: float = 0.0  # how old is what the newest manifest would bring back?
    index_seconds: float = 0.0  # until queries are answered
    rto_seconds: float = 0.0  # until all objects are back, as far as the sample tells


def drill(
    vault: Vault,
    settings: Settings,
    clock: Clock,
    budget: Budget,
    assumed: Assumptions = Assumptions(),  # noqa: B008 - frozen
) -> Drilled:
    """Restore and compare. Raises BackupFailure where the target cannot be read, or the key is missing."""
    done = Drilled()
    point = _newest(vault, done, clock)
    snapshot = point.manifest.snapshot
    if snapshot is None:
        raise BackupDamaged("backup: the first manifest has no snapshot")
    done.point = point.manifest.number
    with _scratch(vault.scratch / "drill") as folder:
        began = time.monotonic()
        if not _restore_index(vault, snapshot, folder / "index.db", done):
            return done
        with closing(SqliteIndex(folder / "index.db", read_only=True)) as index:
            done.index_seconds = time.monotonic() - began
            _compare_answers(vault, snapshot, index, done)
            copies = [entry for entry in chain.entries(vault, snapshot.objects) if isinstance(entry, Copied)]
            archive = Archive(FilesystemStore(folder), index, clock, assumed)
            _compare_objects(vault, archive, stratified(copies, settings.drill_objects), folder, done, budget)
            size = sum(entry.piece.size for entry in copies)
    done.rto_seconds = done.index_seconds + done.rto_seconds * size
    return done


def stratified(copies: Sequence[Copied], count: int) -> list[Copied]:
    """So many of them, one from each of as many spans of time that hold equally many objects."""
    strata = min(count, len(copies))
    bounds = [len(copies) * number // strata for number in range(strata + 1)] if strata else []
    return [copies[random.randrange(low, high)] for low, high in pairwise(bounds)]  # noqa: S311


def _newest(vault: Vault, done: Drilled, clock: Clock) -> chain.Point:
    points = chain.since_snapshot(vault)
    done.rpo_seconds = (clock() - points[-1].manifest.at).total_seconds()
    return points[0]


def _restore_index(vault: Vault, snapshot: Snapshot, path: Path, done: Drilled) -> bool:
    try:
        fetch_packed(vault, snapshot.index, path)
    except (BackupDamaged, NotInBackup) as error:
        done.findings.append(str(error))
        return False
    done.findings += [f"{snapshot.index.name}: {problem}" for problem in damage_of(path)]
    if not done.findings:
        migrations.upgrade(path)
    return not done.findings


def _compare_answers(vault: Vault, snapshot: Snapshot, index: SqliteIndex, done: Drilled) -> None:
    if snapshot.answers is None:
        return
    path = vault.scratch / "drill" / "answers.json"
    try:
        with path.open("wb", buffering=0) as sink:
            vault.fetch(snapshot.answers, cast(BinaryIO, sink))
    except (BackupDamaged, NotInBackup) as error:
        done.findings.append(str(error))
        return
    recorded = json.loads(path.read_bytes())
    wrong = answers.differences(index, recorded)
    done.queries = len(recorded) - len(wrong)
    done.findings += [f"query {number} is not answered as when the snapshot was made" for number in wrong]


def _compare_objects(
    vault: Vault, archive: Archive, sample: list[Copied], folder: Path, done: Drilled, budget: Budget
) -> None:
    """Each has to be described by the restored index, and to be what that says. Measures the seconds for a byte."""
    places, seconds, size = Places(folder, folder / "restoring"), 0.0, 0
    for entry in sample:
        if budget.expired():
            break
        try:
            began = time.monotonic()
            places.place(entry.key, partial(vault.fetch, entry.piece))
            seconds, size = seconds + time.monotonic() - began, size + entry.piece.size
            if archive.describe(entry.key) != archive.index.at(entry.key):
                done.findings.append(f"{entry.key}: the object is not what the index says")
                continue
        except (BackupDamaged, NotInBackup, ObjectDamaged) as error:
            done.findings.append(f"{entry.key}: {error}")
            continue
        done.objects += 1
        budget.spend(entry.piece.size)
        budget.advance(done.objects, len(sample))
    done.rto_seconds = seconds / size if size else 0.0


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o750, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
