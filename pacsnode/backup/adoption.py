"""To know again what is in a target, from what lies there: ``backup.db`` was lost, or the node is restored."""

from __future__ import annotations

import logging
from datetime import datetime

from pacsnode import log
from pacsnode.backup import chain, manifest, retention
from pacsnode.backup.chain import Point
from pacsnode.backup.database import Knowledge
from pacsnode.backup.vault import Vault
from pacsnode.errors import BackupDamaged, NotInBackup


def adopt(knowledge: Knowledge, vault: Vault, now: datetime) -> None:
    """Know what the manifests tell, as the node that wrote them: its next run goes on behind the last of them.

    What only a damaged one tells is not known, and is looked at again by that run. Raises NotInBackup where there is no
    backup.
    """
    facts: dict[str, object] = {"node": chain.owner_of(vault), "url": vault.target.url}
    numbers = chain.numbers(vault)
    if not numbers:
        knowledge.take_over((), now, **facts)
        return
    there = set(vault.target.names("snapshots"))
    readable = [point for number in numbers if (point := _read(vault, number)) is not None]
    kept = [
        retention.kept_of(point.manifest, point.manifest.snapshot)
        for point in readable
        if point.manifest.snapshot is not None and point.manifest.snapshot.index.name in there
    ]
    facts |= {"number": numbers[-1], "digest": chain.digest_of(vault, numbers[-1]), "snapshots": retention.told(kept)}
    known, problem = take_over(knowledge, vault, readable_points(vault), now, **facts)
    if problem or not known or known[-1].manifest.number != numbers[-1]:
        knowledge.keep(snapshot_wanted=True)


def take_over(
    knowledge: Knowledge, vault: Vault, points: list[Point], now: datetime, **facts: object
) -> tuple[list[Point], str]:
    """Know what these manifests tell; where one of their lists is damaged, what those before it do, and the problem.

    Raises NotInBackup where nothing is left.
    """
    problem = ""
    while True:
        try:
            knowledge.take_over(chain.objects_of(vault, points), now, **facts)
        except (BackupDamaged, NotInBackup) as error:
            problem = str(error)
            log.event("backup_damaged", level=logging.ERROR, name=manifest.LISTS, problem=problem)
            points = chain.since_snapshot(vault, through=points[-1].manifest.number - 1)
        else:
            return points, problem


def readable_points(vault: Vault) -> list[Point]:
    """From the newest snapshot on; all, while there was none yet."""
    try:
        return chain.since_snapshot(vault)
    except NotInBackup:
        points: list[Point] = []
        for number in chain.numbers(vault):
            point = _read(vault, number)
            if point is None or point.manifest.previous != (points[-1].digest if points else ""):
                break
            points.append(point)
        return points


def _read(vault: Vault, number: int) -> Point | None:
    try:
        return chain.read(vault, number)
    except (BackupDamaged, NotInBackup):
        return None
