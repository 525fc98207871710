"""Writes objects of the archive as Part 10 files, under names of our own: nothing a peer sent names a file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from pacsnode.archive import Archive, Finding
from pacsnode.errors import ObjectDamaged, ObjectNotFound
from pacsnode.model import Instance

_READ_BYTES = 1024 * 1024


@dataclass(slots=True)
class Export:
    """What was written, and what could not be. ``size`` is in bytes."""

    files: int = 0
    size: int = 0
    findings: list[Finding] = field(default_factory=list)


def write(archive: Archive, instances: Sequence[Instance], folder: Path, advance: Callable[[], None]) -> Export:
    """Write ``series-001/instance-0001.dcm`` and so on; instances of one series follow each other. Raises OSError."""
    done = Export()
    series = groupby(instances, lambda instance: instance.header.series_instance_uid)
    for series_number, (_, members) in enumerate(series, 1):
        below = folder / f"series-{series_number:03d}"
        below.mkdir(parents=True)
        for number, instance in enumerate(members, 1):
            _write_one(archive, instance, below / f"instance-{number:04d}.dcm", done)
            advance()
    return done


def _write_one(archive: Archive, instance: Instance, path: Path, done: Export) -> None:
    try:
        size = _copy(archive, instance, path)
    except (ObjectDamaged, ObjectNotFound) as error:
        path.unlink(missing_ok=True)
        done.findings.append(Finding(instance.header.sop_instance_uid, instance.stored.key, str(error)))
        return
    done.files += 1
    done.size += size


def _copy(archive: Archive, instance: Instance, path: Path) -> int:
    """The bytes written. Raises ObjectNotFound, ObjectDamaged where the data set is not the one that was stored."""
    key, digest = instance.stored.key, hashlib.sha256()
    with archive.store.open(key) as source, path.open("xb") as target:
        target.write(source.read(instance.stored.offset))
        while chunk := source.read(_READ_BYTES):
            digest.update(chunk)
            target.write(chunk)
        size = target.tell()
    if digest.hexdigest() != instance.stored.digest:
        raise ObjectDamaged(f"{key}: the data set's SHA-256 is not the one recorded when it was received")
    return size
