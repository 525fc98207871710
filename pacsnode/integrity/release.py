"""What people decide about an object in quarantine: it goes back into the archive, or away for good."""

from __future__ import annotations

import logging
from enum import Enum

from pacsnode import log
from pacsnode.archive import Archive
from pacsnode.errors import ObjectDamaged
from pacsnode.integrity.findings import Closing, Findings, Kind
from pacsnode.storage.quarantine import Quarantine, SetAside


class Released(Enum):
    """What became of an object that was put back."""

    IN_PLACE = "in_place"  # its row was waiting for it
    AWAITS_ROW = "awaits_row"  # the integrity job gives it one


def release(archive: Archive, quarantine: Quarantine, findings: Findings, entry: SetAside) -> Released:
    """Put an object back under its key, but only one that is as it was stored. Works beside a running node.

    Raises ObjectDamaged where it is not, or where the archive has the instance elsewhere; StoreError, IndexFailure.
    """
    row = archive.index.at(entry.key)
    with quarantine.open(entry) as source:
        if row is not None:
            if not archive.holds_as_stored(source, row):
                raise ObjectDamaged(f"{entry.id}: is not as it was stored: {entry.reason}; it stays in quarantine")
            uid, digest = row.header.sop_instance_uid, row.stored.digest
        else:
            found = archive.describe_source(source, entry.key)
            uid, digest = found.header.sop_instance_uid, found.stored.digest
            if archive.index.knows(uid, digest):
                raise ObjectDamaged(f"{entry.id}: the archive has the same instance elsewhere; drop it")
    now = archive.clock()
    if row is None:
        findings.enter(Kind.STRAY, entry.key, "released from quarantine", now, uid=uid, digest=digest)
    quarantine.put_back(entry)
    if row is not None:
        for record in findings.of_key(entry.key):
            if record.closing is None:
                findings.close(record, Closing.SOUND, now, "released from quarantine")
    log.event("quarantine_released", level=logging.WARNING, id=entry.id, key=entry.key, uid=uid)
    return Released.AWAITS_ROW if row is None else Released.IN_PLACE


def drop(archive: Archive, quarantine: Quarantine, findings: Findings, entry: SetAside) -> None:
    """Remove an object for good; that it was there is kept. Raises StoreError, IndexFailure."""
    open_ones = [record for record in findings.of_key(entry.key) if record.closing is None]
    row = archive.index.at(entry.key)
    quarantine.drop(entry)
    for record in open_ones:
        if row is None:
            findings.close(record, Closing.GONE, archive.clock(), "dropped from quarantine")
        else:
            findings.enter(
                Kind.MISSING,
                entry.key,
                "dropped from quarantine",
                archive.clock(),
                uid=record.uid,
                digest=record.digest,
            )
    log.event("quarantine_dropped", level=logging.WARNING, id=entry.id, key=entry.key)
