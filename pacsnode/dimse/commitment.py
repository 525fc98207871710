"""Storage Commitment Push Model as SCP (PS3.4 Annex J): N-ACTION is answered when the request is on the disk.

Success says that the request was received, nothing more (J.3.2.1.4); the verdict follows as an N-EVENT-REPORT.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from pacsnode import log
from pacsnode.commitment.commitments import Commitments, Line
from pacsnode.dicom import commitment as data_sets
from pacsnode.dimse import contexts, status
from pacsnode.dimse.access import Access
from pacsnode.dimse.association import Association, Message
from pacsnode.dimse.outbox import Outbox, Posted
from pacsnode.dimse.report import is_taken, report_command
from pacsnode.errors import PacsNodeError, PeerFailure, ProtocolViolation
from pacsnode.model import Clock, Commitment, CommitmentRequest
from pacsnode.wire.command import Element

REQUEST_STORAGE_COMMITMENT = 1
"""Action Type ID (PS3.4 Table J.3-1)."""


class CommitmentService:
    """Takes requests for storage commitment over."""

    def __init__(self, commitments: Commitments, access: Access, *, ae_title: str, clock: Clock) -> None:
        """``ae_title``: ours, from which what was committed can be retrieved."""
        self._commitments = commitments
        self._access = access
        self._ae_title = ae_title
        self._clock = clock

    def serve(self, association: Association, request: Message) -> None:
        """Answer one N-ACTION-RQ (PS3.7 10.1.4)."""
        command = request.command
        extra: dict[Element, int | str | bytes] = {
            Element.AFFECTED_SOP_CLASS_UID: command.elements.get(Element.REQUESTED_SOP_CLASS_UID, b""),
            Element.AFFECTED_SOP_INSTANCE_UID: command.elements.get(Element.REQUESTED_SOP_INSTANCE_UID, b""),
            Element.ACTION_TYPE_ID: command.number(Element.ACTION_TYPE_ID, 0),
        }
        try:
            code, reason = _refusal(request) or self._take(association, request)
        except (PeerFailure, ProtocolViolation):
            raise
        except PacsNodeError as error:
            code, reason = status.of(status.COMMIT, error), str(error)
            extra[Element.ERROR_COMMENT] = status.comment(error)
        if code != status.SUCCESS:
            log.event("commitment_refused", level=logging.WARNING, peer=association.titles.calling_ae,
                      status=f"{code:04X}", reason=reason)  # fmt: skip
        request.drain()
        association.respond(request, code, extra)

    def _take(self, association: Association, request: Message) -> tuple[int, str]:
        """Take a request over, or tell why not. Raises PacsNodeError."""
        titles = association.titles
        self._access.check(titles.calling_ae, "commit")
        data = whole(request, association.limits.identifier)
        if data is None:
            return status.RESOURCE_LIMITATION, "more references than identifier in table [limits] has room for"
        line = self._line(association, request)
        if line is None and not self._commitments.can_call(titles.calling_ae):
            return status.RESOURCE_LIMITATION, "no descriptor is left to report by, and there is nobody to call"
        transaction_uid, references = data_sets.parse_request(data, request.context.transfer_syntax)
        wanted = CommitmentRequest(
            transaction_uid=transaction_uid,
            references=references,
            calling_ae=titles.calling_ae,
            called_ae=titles.called_ae,
            requested_at=self._clock(),
        )
        self._commitments.request(wanted, line)
        return status.SUCCESS, ""

    def _line(self, association: Association, request: Message) -> Line | None:
        try:
            outbox = association.outbox()
        except OSError:
            return None  # for want of a descriptor: the report takes an association of its own
        return AssociationLine(outbox, request, self._ae_title)


class AssociationLine:
    """Reports on the association of the request, in its presentation context."""

    def __init__(self, outbox: Outbox, request: Message, retrieve_ae_title: str) -> None:
        self._outbox = outbox
        self._context = request.context
        self._retrieve_ae_title = retrieve_ae_title

    def post(self, commitment: Commitment, answered: Callable[[bool | None], None]) -> bool:
        """See Line.post."""
        data_set = data_sets.encode_report(
            commitment, self._context.transfer_syntax, retrieve_ae_title=self._retrieve_ae_title
        )

        def translate(code: int | None) -> None:
            answered(None if code is None else is_taken(code))

        return self._outbox.post(Posted(self._context.context_id, report_command(commitment), data_set, translate))


def whole(request: Message, limit_bytes: int) -> bytes | None:
    """The data set, read to its end; None where it is longer."""
    collected = bytearray()
    total = 0
    for piece in request.fragments():
        total += len(piece)
        if total <= limit_bytes:
            collected += piece
    return bytes(collected) if total <= limit_bytes else None


def misaddressed(request: Message, sop_class: str, sop_instance: str) -> tuple[int, str] | None:
    """What is wrong with the SOP class and instance of a command of Storage Commitment, as a status and for the log."""
    if sop_class != contexts.STORAGE_COMMITMENT or request.context.abstract_syntax != sop_class:
        return status.NO_SUCH_SOP_CLASS, "SOP class is not Storage Commitment, or not that of the presentation context"
    if sop_instance != contexts.STORAGE_COMMITMENT_INSTANCE:
        return status.NO_SUCH_SOP_INSTANCE, "SOP instance is not the well-known one of Storage Commitment"
    return None


def _refusal(request: Message) -> tuple[int, str] | None:
    """What is wrong with the command, as a status and for the log; None where nothing is."""
    command = request.command
    if not request.context.as_scp:
        return status.NO_SUCH_SOP_CLASS, "the requester is not SCU by role selection"
    wrong = misaddressed(
        request,
        command.text(Element.REQUESTED_SOP_CLASS_UID),
        command.text(Element.REQUESTED_SOP_INSTANCE_UID),
    )
    if wrong is not None:
        return wrong
    if command.number(Element.ACTION_TYPE_ID, 0) != REQUEST_STORAGE_COMMITMENT:
        return status.NO_SUCH_ACTION, "action type is not 1, Request Storage Commitment"
    return None
