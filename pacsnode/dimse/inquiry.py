"""Storage Commitment Push Model as SCU (PS3.4 Annex J): asks a peer, and takes what it reports, whenever it does.

The report comes on the association of the request within a while, else on one that the peer opens to our listener.
"""

from __future__ import annotations

import logging
import ssl
import time
import uuid
from collections.abc import Callable, Sequence

from pacsnode import log
from pacsnode.commitment.inquiries import Inquiries
from pacsnode.config import Limits
from pacsnode.dicom import commitment as data_sets
from pacsnode.dimse import contexts, peers, status
from pacsnode.dimse.association import Association, Message
from pacsnode.dimse.commitment import REQUEST_STORAGE_COMMITMENT, misaddressed, whole
from pacsnode.dimse.contexts import PresentationContext
from pacsnode.dimse.report import ALL_COMMITTED, FAILURES_EXIST, PAIRS
from pacsnode.errors import IndexFailure, PacsNodeError, PeerFailure, PeerSilent, ProtocolViolation
from pacsnode.model import Clock, Inquiry, Peer, Reference, Uid
from pacsnode.wire.command import RESPONSE_BIT, CommandField, Element

_MESSAGE_ID = 1
_UUID_ROOT = "2.25"  # PS3.5 B.2


def _reporter_of(association: Association) -> str:
    return association.titles.calling_ae


class ReportService:
    """Takes reports on what we asked, on associations that a peer opened and on ours."""

    def __init__(
        self, inquiries: Inquiries, clock: Clock, reporter_of: Callable[[Association], str] = _reporter_of
    ) -> None:
        """``reporter_of``: the AE title of who speaks; by default, of who has opened the association."""
        self._inquiries = inquiries
        self._clock = clock
        self._reporter_of = reporter_of

    def serve(self, association: Association, request: Message) -> None:
        """Answer one N-EVENT-REPORT-RQ (PS3.7 10.1.1)."""
        command = request.command
        extra: dict[Element, int | str | bytes] = {
            Element.AFFECTED_SOP_INSTANCE_UID: command.elements.get(Element.AFFECTED_SOP_INSTANCE_UID, b""),
            Element.EVENT_TYPE_ID: command.number(Element.EVENT_TYPE_ID, 0),
        }
        reporter = self._reporter_of(association)
        try:
            code, reason = _refusal(request) or self._take(association, request, reporter)
        except (PeerFailure, ProtocolViolation):
            raise
        except PacsNodeError as error:
            code, reason = status.of(status.REPORT, error), str(error)
            extra[Element.ERROR_COMMENT] = status.comment(error)
        if code != status.SUCCESS:
            log.event("inquiry_report_refused", level=logging.WARNING, peer=reporter, status=f"{code:04X}",
                      reason=reason)  # fmt: skip
        request.drain()
        association.respond(request, code, extra)

    def _take(self, association: Association, request: Message, reporter: str) -> tuple[int, str]:
        """Keep a report, or tell why not. Raises PacsNodeError."""
        data = whole(request, association.limits.identifier)
        if data is None:
            return status.RESOURCE_LIMITATION, "the report is longer than identifier in table [limits] has room for"
        report = data_sets.parse_report(data, request.context.transfer_syntax)
        inquiry = self._inquiries.take(report, reporter, self._clock())
        if inquiry is None:
            return status.INVALID_ARGUMENT_VALUE, "nothing was asked under this Transaction UID"
        log.event("inquiry_reported", transaction=inquiry.transaction_uid, peer=reporter, committed=inquiry.committed,
                  failed=inquiry.failed, unanswered=inquiry.unanswered)  # fmt: skip
        return status.SUCCESS, ""


class Inquirer:
    """Asks peers to commit. Safe to use from several threads."""

    def __init__(
        self,
        inquiries: Inquiries,
        *,
        ae_title: str,
        limits: Limits,
        wait_seconds: float,
        clock: Clock,
        secure: ssl.SSLContext | None = None,
    ) -> None:
        """``wait_seconds``: for the report on the association of the request. ``secure``: for peers with TLS, see
        ``tls.for_requestor``."""
        self._inquiries = inquiries
        self._ae_title = ae_title
        self._limits = limits
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._secure = secure
        self._reports = ReportService(inquiries, clock, lambda association: association.titles.called_ae)

    def inquire(self, peer: Peer, references: Sequence[Reference]) -> Inquiry:
        """Ask a peer to commit to these, and wait a while for what it says: the inquiry as it is then.

        The peer may know of it even where this raises: PeerFailure where the request was not taken over, or may not
        have been; IndexFailure.
        """
        asked: list[Inquiry] = []
        is_taken = False
        try:
            with peers.associate(
                peer, PAIRS, calling_ae=self._ae_title, limits=self._limits, secure=self._secure
            ) as association:
                context = next((one for one in association.contexts.values() if one.as_scu), None)
                if context is None:
                    raise PeerFailure(f"{peer.name}: does not accept Storage Commitment (N-ACTION)")
                asked.append(self._ask(association, context, peer, references))
                is_taken = True
                self._await_report(association, asked[0].transaction_uid)
        except (PeerFailure, ProtocolViolation) as error:
            if not is_taken:
                raise error if isinstance(error, PeerFailure) else PeerFailure(f"{peer.name}: {error}") from error
            log.event("inquiry_cut", level=logging.WARNING, transaction=asked[0].transaction_uid, peer=peer.ae_title,
                      reason=error)  # fmt: skip
        return self._kept(asked[0].transaction_uid)

    def _ask(
        self, association: Association, context: PresentationContext, peer: Peer, references: Sequence[Reference]
    ) -> Inquiry:
        """N-ACTION. Raises PeerFailure where it is refused."""
        transaction_uid = Uid(f"{_UUID_ROOT}.{uuid.uuid4().int}")
        inquiry = self._inquiries.enter(transaction_uid, peer.ae_title, references, self._clock())
        command: dict[Element, int | str | bytes] = {
            Element.REQUESTED_SOP_CLASS_UID: contexts.STORAGE_COMMITMENT,
            Element.COMMAND_FIELD: CommandField.N_ACTION_RQ,
            Element.MESSAGE_ID: _MESSAGE_ID,
            Element.REQUESTED_SOP_INSTANCE_UID: contexts.STORAGE_COMMITMENT_INSTANCE,
            Element.ACTION_TYPE_ID: REQUEST_STORAGE_COMMITMENT,
        }
        data_set = data_sets.encode_request(transaction_uid, inquiry.references, context.transfer_syntax)
        association.send(context.context_id, command, data_set)
        code = self._status(association)
        if code != status.SUCCESS and not status.is_warning(code):
            self._inquiries.refuse(transaction_uid, code)
            raise PeerFailure(f"{peer.name}: answers the request for storage commitment with status {code:04X}H")
        log.event("inquiry", transaction=transaction_uid, peer=peer.ae_title, instances=len(inquiry.references))
        return inquiry

    def _status(self, association: Association) -> int:
        """Block for the status of the N-ACTION. Some peers report before they answer."""
        while (message := association.next_message(self._limits.response)) is not None:
            if message.command_field == CommandField.N_EVENT_REPORT_RQ:
                self._reports.serve(association, message)
                continue
            responded = message.command.number(Element.MESSAGE_ID_BEING_RESPONDED_TO, 0)
            if (message.command_field, responded) != (CommandField.N_ACTION_RQ | RESPONSE_BIT, _MESSAGE_ID):
                raise ProtocolViolation("response to another message")
            message.drain()
            return message.command.number(Element.STATUS)
        association.close()
        raise PeerFailure("association released within an operation")

    def _await_report(self, association: Association, transaction_uid: Uid) -> None:
        """Take reports until one was on this, the peer releases, or the time is over."""
        deadline = time.monotonic() + self._wait_seconds
        while self._kept(transaction_uid).reported_at is None:
            try:
                message = association.next_message(deadline - time.monotonic())
            except PeerSilent:
                return  # it will come on an association that the peer opens
            if message is None:
                association.close()
                return
            if message.command_field != CommandField.N_EVENT_REPORT_RQ:
                raise ProtocolViolation("expected a report on what was asked")
            self._reports.serve(association, message)

    def _kept(self, transaction_uid: Uid) -> Inquiry:
        inquiry = self._inquiries.find(transaction_uid)
        if inquiry is None:
            raise IndexFailure("commitments: an inquiry is not there any more")
        return inquiry


def _refusal(request: Message) -> tuple[int, str] | None:
    """What is wrong with the command, as a status and for the log; None where nothing is."""
    command = request.command
    if not request.context.as_scu:
        return status.NO_SUCH_SOP_CLASS, "the requester is not SCP by role selection"
    wrong = misaddressed(
        request, command.text(Element.AFFECTED_SOP_CLASS_UID), command.text(Element.AFFECTED_SOP_INSTANCE_UID)
    )
    if wrong is None and command.number(Element.EVENT_TYPE_ID, 0) not in (ALL_COMMITTED, FAILURES_EXIST):
        return status.NO_SUCH_EVENT_TYPE, "event type is neither 1 nor 2"
    return wrong
