"""Whose the target is, and its manifests: read from the newest kept snapshot on, and added one by one."""

from __future__ import annotations

import gzip
import io
import logging
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, cast

from pacsnode import log
from pacsnode.backup import manifest
from pacsnode.backup.encryption import Plain
from pacsnode.backup.manifest import Copied, Gone, Manifest, Piece
from pacsnode.backup.vault import Vault
from pacsnode.errors import BackupDamaged, BackupFailure, NotInBackup

_MAX_MANIFEST_BYTES = 1024 * 1024
_IN_MEMORY_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Point:
    """A manifest, and its digest, which the next one names."""

    manifest: Manifest
    digest: str


def claim(vault: Vault, node: str, at: datetime) -> None:
    """Make the target this node's, where it is nobody's. Raises BackupFailure where it is another's."""
    told = manifest.signed({"format": manifest.FORMAT, "node": node, "since": at.isoformat()})
    if vault.target.put(manifest.OWNER, io.BytesIO(told)):
        return
    if owner_of(vault) != node:
        raise BackupFailure(
            f"backup: {vault.target.url} belongs to another node; give each node a target of its own, or, where this "
            "node has lost its backup.db, run: pacsnode backup run --adopt"
        )


def owner_of(vault: Vault) -> str:
    """Which node writes here. Raises NotInBackup where none ever did."""
    try:
        with vault.target.open(manifest.OWNER) as source:
            told = manifest.checked(source.read(_MAX_MANIFEST_BYTES))
    except BackupDamaged as error:
        raise BackupDamaged(f"backup: {manifest.OWNER} in {vault.target.url} is damaged") from error
    except NotInBackup as error:
        raise NotInBackup(f"backup: there is no backup in {vault.target.url}") from error
    if told["format"] != manifest.FORMAT:
        raise BackupFailure(f"backup: {vault.target.url} was written by a newer pacsnode; use that")
    return str(told["node"])


def append(vault: Vault, content: bytes, number: int) -> None:
    """Add an encoded manifest. Raises BackupFailure where there is another one of this number: somebody else writes."""
    name = manifest.name_of(number)
    if vault.target.put(name, io.BytesIO(content)):
        return
    with vault.target.open(name) as source:
        found = source.read(_MAX_MANIFEST_BYTES)
    if found != content:
        raise BackupFailure(
            f"backup: another node has written {name} to {vault.target.url}, such as one that was restored from there; "
            "only one may go on: stop the other, then run: pacsnode backup run --adopt"
        )


def numbers(vault: Vault) -> list[int]:
    """The numbers of the manifests that are there, in ascending order."""
    found = (manifest.number_of(name) for name in vault.target.names(manifest.MANIFESTS))
    return sorted(number for number in found if number is not None)


def read(vault: Vault, number: int) -> Point:
    """One manifest. Raises NotInBackup, BackupDamaged."""
    content = _content(vault, number)
    try:
        return Point(manifest.decode(content, number), manifest.digest_of(content))
    except BackupDamaged as error:
        raise BackupDamaged(f"backup: {error}") from error


def digest_of(vault: Vault, number: int) -> str:
    """What the manifest behind this one is to name, whether this one is damaged or not."""
    return manifest.digest_of(_content(vault, number))


def _content(vault: Vault, number: int) -> bytes:
    content = b""
    with vault.target.open(manifest.name_of(number)) as source:
        while chunk := source.read(_MAX_MANIFEST_BYTES):
            content += chunk
    return content


def since_snapshot(vault: Vault, at: datetime | None = None, through: int | None = None) -> list[Point]:
    """The manifests that a restore needs, in order: the newest one with a snapshot, and all behind it.

    ``at``: none that is later; ``through``: none of a higher number. Each is what the next one says it is: where one is
    damaged, what comes behind it is left out, and an event tells. Raises NotInBackup where there is no snapshot.
    """
    points: list[Point] = []
    for number in reversed(numbers(vault)):
        if through is not None and number > through:
            continue
        try:
            point = read(vault, number)
            if points and points[-1].manifest.previous != point.digest:
                raise BackupDamaged(f"backup: {manifest.name_of(number)} is not the one that was followed by the next")
        except BackupDamaged as error:
            log.event("backup_damaged", level=logging.ERROR, name=manifest.name_of(number), problem=error)
            points = []
            continue
        if at is not None and point.manifest.at > at:
            continue
        points.append(point)
        if point.manifest.snapshot is not None:
            return points[::-1]
    when = f" from before {at.isoformat()}" if at else ""
    raise NotInBackup(f"backup: {vault.target.url} has no snapshot{when}")


def keep_list(vault: Vault, lines: Iterable[str]) -> Piece:
    """Put a list of objects there, as compressed lines."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES, dir=str(vault.scratch)) as packed:
        with gzip.GzipFile(fileobj=cast(BinaryIO, packed), mode="wb", compresslevel=1, mtime=0) as sink:
            for line in lines:
                sink.write(line.encode("ascii") + b"\n")
        packed.seek(0)
        return readable(vault).keep(f"{manifest.LISTS}/*.jsonl.gz", cast(BinaryIO, packed))


def entries(vault: Vault, piece: Piece) -> Iterator[Copied | Gone]:
    """The entries of a list. Raises NotInBackup and BackupDamaged before the first."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES, dir=str(vault.scratch)) as packed:
        vault.fetch(piece, cast(BinaryIO, packed))
        packed.seek(0)
        with gzip.GzipFile(fileobj=cast(BinaryIO, packed), mode="rb") as lines:
            for line in lines:
                yield manifest.entry_of(line.decode("ascii"))


def objects_of(vault: Vault, points: Iterable[Point]) -> Iterator[Copied | Gone]:
    """What ``since_snapshot`` found, entry by entry: a later one about a key replaces an earlier one."""
    for place, point in enumerate(points):
        piece = point.manifest.snapshot.objects if place == 0 and point.manifest.snapshot else point.manifest.changes
        if piece is not None:
            yield from entries(vault, piece)


def readable(vault: Vault) -> Vault:
    """As the vault, but what is put there is not sealed."""
    return Vault(vault.target, Plain(), vault.scratch)
