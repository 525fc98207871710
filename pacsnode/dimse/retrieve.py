"""What C-MOVE and C-GET share: identifier, counters, pending and final responses (PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from contextlib import closing

from pacsnode import log
from pacsnode.archive import Archive
from pacsnode.audit.events import Part
from pacsnode.audit.recorder import Recorder
from pacsnode.dicom import identifier
from pacsnode.dimse import contexts, results, status
from pacsnode.dimse.access import Access
from pacsnode.dimse.association import Association, Message
from pacsnode.errors import PacsNodeError, PeerFailure, ProtocolViolation, SopClassNotSupported
from pacsnode.model import Instance, Level, OneOf, Query, Uid
from pacsnode.wire.command import MEDIUM_PRIORITY, Element

_MAX_COUNT = 0xFFFF  # VR US; a larger retrieve goes on, its counters stay there
_MAX_FAILED_UIDS = 1000  # what fits UI's 16-bit length in explicit VR
# Pending responses are optional (PS3.4 C.4.2.1.6): enough of them that no requester takes us for dead.
PENDING_INSTANCES = 10
PENDING_SECONDS = 1.0


class SubOperations:
    """The counters of one retrieve (PS3.7 9.1.3.1.6 and following)."""

    def __init__(self, total: int) -> None:
        self.remaining = total
        self.completed = self.failed = self.warning = 0
        self.failed_uids: list[Uid] = []

    def record(self, uid: Uid, code: int) -> None:
        """Count one sub-operation by the status of its C-STORE."""
        self.remaining = max(self.remaining - 1, 0)
        if code == status.SUCCESS:
            self.completed += 1
        elif status.is_warning(code):
            self.warning += 1
        else:
            self.failed += 1
            if len(self.failed_uids) < _MAX_FAILED_UIDS:
                self.failed_uids.append(uid)

    def fields(self, *, with_remaining: bool) -> dict[Element, int | str | bytes]:
        """The counters of a response; the remaining ones only belong to pending and cancel (PS3.4 C.4.2.1.6)."""
        counts: dict[Element, int | str | bytes] = {
            Element.COMPLETED_SUBOPERATIONS: min(self.completed, _MAX_COUNT),
            Element.FAILED_SUBOPERATIONS: min(self.failed, _MAX_COUNT),
            Element.WARNING_SUBOPERATIONS: min(self.warning, _MAX_COUNT),
        }
        if with_remaining:
            counts[Element.REMAINING_SUBOPERATIONS] = min(self.remaining, _MAX_COUNT)
        return counts

    def final_status(self) -> int:
        """The status when all sub-operations are over (PS3.4 Table C.4-2)."""
        if not self.failed and not self.warning:
            return status.SUCCESS
        if self.failed and not self.completed and not self.warning:
            return status.UNABLE_TO_PERFORM_SUBOPERATIONS
        return status.SUBOPERATIONS_INCOMPLETE


class Cancelled(Exception):
    """The peer asked to stop."""


class RetrieveOperation:
    """One C-MOVE or C-GET being served."""

    def __init__(
        self,
        archive: Archive,
        association: Association,
        request: Message,
        *,
        audit: Recorder,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.association = association
        self.transfer = audit.transfer(association.actor)
        self.request = request
        self.archive = archive
        self.query = Query(level=Level.STUDY)
        self.counts = SubOperations(0)
        self._monotonic = monotonic
        self._untold = PENDING_INSTANCES - 1  # sub-operations since the last pending response; the first is told
        self._told_at = 0.0

    def serve(self, access: Access, operation: str, send_all: Callable[[RetrieveOperation], None]) -> None:
        """Read the identifier, run the sub-operations by ``send_all`` and answer. Raises PeerFailure and
        ProtocolViolation when the association with the requester is over."""
        association, request = self.association, self.request
        extra: dict[Element, int | str | bytes] = {}
        try:
            self._read_identifier(access, operation)
            send_all(self)
            code = self.counts.final_status()
            extra = self.counts.fields(with_remaining=False)
        except Cancelled:
            code = status.CANCEL
            extra = self.counts.fields(with_remaining=True)
        except (PeerFailure, ProtocolViolation):
            self.transfer.end(results.BROKEN_OFF, _wanted(self.query))
            raise
        except PacsNodeError as error:
            code = status.of(status.RETRIEVE, error)
            extra = {Element.ERROR_COMMENT: status.comment(error)}
            log.event("retrieve_failed", level=logging.WARNING, peer=association.titles.calling_ae, reason=error)
        self.transfer.end(results.of(code), _wanted(self.query))
        association.respond(request, code, extra, self._failed_uids())
        counts = self.counts
        association.observer.sent(operation, completed=counts.completed, failed=counts.failed, warning=counts.warning)
        log.event(
            operation,
            peer=association.titles.calling_ae,
            completed=self.counts.completed,
            failed=self.counts.failed,
            warning=self.counts.warning,
            status=f"{code:04X}",
        )

    @property
    def priority(self) -> int:
        """That of the request, which its sub-operations have too (PS3.4 C.4.2.2.1, C.4.3.2.1)."""
        return self.request.command.number(Element.PRIORITY, MEDIUM_PRIORITY)

    def instances(self) -> Generator[Instance, None, None]:
        """The instances asked for, in pages."""
        with closing(self.archive.index.instances(self.query)) as found:
            for instance in found:
                self.transfer.begin(instance.header)
                yield instance

    def report(self, instance: Instance, code: int) -> None:
        """Count a sub-operation and tell the requester now and then; raises Cancelled when it has asked to stop."""
        self.count(instance, code)
        self._untold += 1
        self.attend()

    def count(self, instance: Instance, code: int) -> None:
        """Count a sub-operation by the status of its C-STORE."""
        self.counts.record(instance.header.sop_instance_uid, code)
        if results.of(code).outcome:
            self.transfer.fail(instance.header)
        else:
            self.transfer.complete(instance.header)

    def attend(self) -> None:
        """Listen to the requester and tell it how far we are; raises as ``listen`` does."""
        self.listen()
        if self.counts.remaining:
            self.tell()

    def listen(self) -> None:
        """Hear what the requester has said. Raises Cancelled when it has asked to stop, PeerFailure and
        ProtocolViolation when the association with it is over."""
        if self.association.is_cancelled(self.request.message_id):
            raise Cancelled

    def tell(self) -> None:
        """Send a pending response when one is due. Raises PeerFailure."""
        if self._is_pending_due():
            self.association.respond(self.request, status.PENDING, self.counts.fields(with_remaining=True))

    def _is_pending_due(self) -> bool:
        now = self._monotonic()
        if self._untold < PENDING_INSTANCES and now < self._told_at + PENDING_SECONDS:
            return False
        self._untold, self._told_at = 0, now
        return True

    def _read_identifier(self, access: Access, operation: str) -> None:
        data = self.request.data_set(self.association.limits.identifier)
        calling_ae = self.association.titles.calling_ae
        access.check(calling_ae, operation)
        service, root = contexts.QUERY_RETRIEVE.get(self.request.context.abstract_syntax, (None, None))
        if service != self.request.command_field or root is None:
            raise SopClassNotSupported("request on a presentation context of another service")
        syntax, assumed = self.request.context.transfer_syntax, self.archive.assumed.of(calling_ae)
        self.query = identifier.parse_retrieve(data, syntax, root, assumed=assumed).query
        self.counts = SubOperations(self.archive.index.count_instances(self.query))

    def _failed_uids(self) -> bytes | None:
        if not self.counts.failed_uids:
            return None
        return identifier.encode_failed_uids(self.counts.failed_uids, self.request.context.transfer_syntax)


def _wanted(query: Query) -> Part:
    """What was asked for, as far as one patient and study stand for it."""
    single = {
        name: condition.values[0]
        for name in ("patient_id", "study_instance_uid")
        if isinstance(condition := query.conditions.get(name), OneOf) and len(condition.values) == 1
    }
    return Part(single.get("patient_id", ""), single.get("study_instance_uid", ""), {})
