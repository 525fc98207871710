"""The verdict: is what a peer asks about here, of that class, and unaltered on the disk (PS3.4 J.1, PS3.3 C.14.1.1)?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

from pacsnode.archive import Archive
from pacsnode.model import Commitment, FailureReason, Reference, Uid

REASONS: Mapping[FailureReason, str] = MappingProxyType({
    FailureReason.PROCESSING_FAILURE: "The object is here, but altered, short or unreadable on the disk.",
    FailureReason.NO_SUCH_OBJECT_INSTANCE: "The instance is not here.",
    FailureReason.CLASS_INSTANCE_CONFLICT: "The instance is here, but of another SOP class.",
    FailureReason.SOP_CLASS_NOT_SUPPORTED: "The instance is not here, and its SOP class cannot be stored here.",
    FailureReason.DUPLICATE_TRANSACTION_UID: "Another request under this Transaction UID is not reported yet.",
})  # fmt: skip
"""Every reason for which an instance is not committed; the last one is the ledger's."""


class Interrupted(Exception):
    """The node is stopping: there is no verdict yet."""


class Judge:
    """Reads every object again, to its end; what the index says is not enough for this promise."""

    def __init__(self, archive: Archive, storage: Collection[Uid]) -> None:
        """``storage``: the SOP classes that can be stored here."""
        self._archive = archive
        self._storage = storage

    def verdict(self, commitment: Commitment, is_stopping: Callable[[], bool]) -> tuple[FailureReason | None, ...]:
        """A reason for each reference that is not committed. Raises Interrupted; IndexFailure and StoreError, after
        which it may be asked again."""
        reasons = []
        for reference in commitment.references:
            if is_stopping():
                raise Interrupted
            reasons.append(self._reason(reference))
        return tuple(reasons)

    def _reason(self, reference: Reference) -> FailureReason | None:
        instance = self._archive.index.current(reference.sop_instance_uid)
        if instance is None:
            is_known = reference.sop_class_uid in self._storage
            return FailureReason.NO_SUCH_OBJECT_INSTANCE if is_known else FailureReason.SOP_CLASS_NOT_SUPPORTED
        if instance.header.sop_class_uid != reference.sop_class_uid:
            return FailureReason.CLASS_INSTANCE_CONFLICT
        if self._archive.problem_of(instance) is None:
            return None
        if self._archive.moved(instance) is not None:  # encoded anew while it was read
            return self._reason(reference)
        return FailureReason.PROCESSING_FAILURE
