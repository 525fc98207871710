"""Who hears of deletions: nobody, or the audit trail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pacsnode.audit.events import Part, parts_of
from pacsnode.audit.recorder import Recorder
from pacsnode.model import Instance
from pacsnode.retention.records import Deletion


class Witness(Protocol):
    """Hears of what was done when it is done, and of what a kill cut short when it is completed."""

    def deleted(self, deletion: Deletion, instances: Sequence[Instance]) -> None:
        """Rows and objects of these are out of the archive, and in the trash."""

    def restored(self, deletion: Deletion, instances: Sequence[Instance]) -> None:
        """These are back in the archive."""

    def purged(self, deletion: Deletion) -> None:
        """The objects are gone for good."""


class _Nobody:
    def deleted(self, deletion: Deletion, instances: Sequence[Instance]) -> None:
        pass

    def restored(self, deletion: Deletion, instances: Sequence[Instance]) -> None:
        pass

    def purged(self, deletion: Deletion) -> None:
        pass


nobody: Witness = _Nobody()
"""Hears, and does nothing."""


class AuditWitness:
    """Tells the audit trail (PS3.15 A.5.3.8); what comes back is told as an import from the trash (A.5.3.10)."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def deleted(self, deletion: Deletion, instances: Sequence[Instance]) -> None:
        """See Witness."""
        for part in parts_of(instances):
            self._recorder.deleted(part, deletion.reason, deletion.who)

    def restored(self, deletion: Deletion, instances: Sequence[Instance]) -> None:
        """See Witness."""
        for part in parts_of(instances):
            self._recorder.undeleted(part)

    def purged(self, deletion: Deletion) -> None:
        """See Witness. Of the patient nothing is known any more."""
        part = Part("", deletion.study_uid, {})
        self._recorder.deleted(part, f"gone for good: {deletion.reason}", deletion.who)
