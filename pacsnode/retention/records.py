"""What is kept of deletions and legal holds: nothing that tells of a patient."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from pacsnode.model import Key, Uid


class State(Enum):
    """How far a deletion is. What is under way when a process is killed is completed by the next one."""

    DELETING = "deleting"  # under way: rows go, then objects move to the trash
    DELETED = "deleted"  # in the trash
    RESTORING = "restoring"  # under way: objects go back, then rows
    RESTORED = "restored"
    PURGING = "purging"  # under way: the objects go for good
    PURGED = "purged"


@dataclass(frozen=True, slots=True)
class Deletion:
    """A study that was deleted. ``name`` is that of its folder in the trash."""

    name: str
    study_uid: Uid
    reason: str
    who: str
    at: datetime
    due: datetime  # when its objects may go for good
    state: State
    versions: int  # objects that had a row
    size: int  # bytes of their data sets
    digest: str  # SHA-256 over the digests of these, in order of their keys
    ended_at: datetime | None  # when it was restored, or gone for good


@dataclass(frozen=True, slots=True)
class Item:
    """An object of a deleted study."""

    key: Key
    uid: Uid
    digest: str
    size: int
    is_original: bool = False  # what compression had kept beside the object that has the row


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold: while it is on a study, nothing deletes it, and it stays in the trash if it is there."""

    study_uid: Uid
    reason: str
    who: str
    at: datetime
