"""The association: messages in and out over one connection, for acceptor and requestor alike.

One thread, which blocks under deadlines. No operation overlaps another (PS3.7 D.3.3.3: window of one), but a
C-CANCEL may come at any time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from pacsnode.audit.events import Actor
from pacsnode.audit.recorder import Intake
from pacsnode.dimse import status
from pacsnode.dimse.contexts import PresentationContext
from pacsnode.dimse.negotiation import Answer
from pacsnode.dimse.observer import NOBODY, Kept, Observer
from pacsnode.dimse.outbox import Outbox
from pacsnode.dimse.transport import Transport
from pacsnode.errors import PeerFailure, ProtocolViolation
from pacsnode.wire import command as commands
from pacsnode.wire import message, pdu
from pacsnode.wire.command import CommandField, CommandSet, Element
from pacsnode.wire.pdu import AbortReason, ControlPdu, Fragment, PduType


@dataclass(frozen=True, slots=True)
class Titles:
    """Who speaks with whom."""

    calling_ae: str
    called_ae: str
    user: str = ""  # for whom, where the requestor has told and we have looked at it


class Message:
    """One received message. Its data set, if any, is read from the association as it arrives."""

    def __init__(self, association: Association, context: PresentationContext, command: CommandSet) -> None:
        self.context = context
        self.command = command
        self.command_field = command.number(Element.COMMAND_FIELD)
        self._association = association
        self._is_complete = not command.has_data_set

    @property
    def message_id(self) -> int:
        """Message ID (0000,0110) of a request."""
        return self.command.number(Element.MESSAGE_ID)

    def fragments(self) -> Iterator[memoryview]:
        """The bytes of the data set; each view is valid until the next is asked for. Raises PeerFailure,
        ProtocolViolation."""
        while not self._is_complete:
            event = self._association.next_fragment()
            if event.is_command or event.context_id != self.context.context_id:
                raise ProtocolViolation("expected the message's data set", reason=AbortReason.UNEXPECTED_PDU)
            self._is_complete = event.is_last
            yield event.data

    def data_set(self, limit_bytes: int) -> bytes:
        """The whole data set, for identifiers. Raises ProtocolViolation beyond the limit."""
        collected = bytearray()
        for piece in self.fragments():
            if len(collected) + len(piece) > limit_bytes:
                raise ProtocolViolation("identifier too large", reason=AbortReason.INVALID_PARAMETER)
            collected += piece
        return bytes(collected)

    def drain(self) -> None:
        """Read what is left of the data set and forget it."""
        for _ in self.fragments():
            pass


class Association:
    """An established association."""

    def __init__(self, transport: Transport, titles: Titles, answer: Answer, observer: Observer = NOBODY) -> None:
        self.titles = titles
        self.observer = observer
        self.last_status = 0  # of the newest response
        self.kept: Kept | None = None  # what the operation at hand has stored
        self.contexts: Mapping[int, PresentationContext] = answer.contexts
        self.limits = transport.limits
        self.peer_address = transport.connection.peer_address
        self.served = 0  # operations answered
        self.intake: Intake | None = None  # what was stored over it, for the audit trail
        self.largest_value = pdu.largest_value(answer.maximum_length, transport.limits.pdu_hard_cap)
        self._transport = transport
        self._connection = transport.connection
        self._cancelled: set[int] = set()
        self._outbox: Outbox | None = None
        self._is_released = False

    @property
    def actor(self) -> Actor:
        """The peer, for the audit trail."""
        return Actor(self.titles.calling_ae, self.peer_address, self.titles.user)

    def outbox(self) -> Outbox:
        """Where other threads may post requests of ours from now on; they are sent between two messages of the peer.

        Only the thread of the association may ask for it. Raises OSError where the system has no descriptor left.
        """
        if self._outbox is None:
            self._outbox = Outbox()
        return self._outbox

    def next_request(self) -> Message | None:
        """Block for the next message that is no answer to what was posted; None when the peer releases.

        What is posted meanwhile is sent. Raises PeerFailure, ProtocolViolation.
        """
        while True:
            deadline = time.monotonic() + self.limits.idle
            if self._outbox is not None:
                self._send_posted(self._outbox, deadline)
            message = self.next_message(deadline - time.monotonic())
            if message is None or not self._is_answer(message):
                return message

    def hang_up(self) -> None:
        """Nothing can be posted any more, and what was is not answered. May be called twice."""
        if self._outbox is not None:
            self._outbox.close()

    def next_message(self, patience_seconds: float) -> Message | None:
        """Block for the next message; None when the peer releases. Raises PeerFailure, ProtocolViolation."""
        collected = bytearray()
        context_id = 0
        self._transport.await_turn()
        while True:
            event = self._transport.next_event(patience_seconds)
            if isinstance(event, ControlPdu):
                self._end_of_association(event, is_orderly=not collected)
                return None
            if not event.is_command or (collected and event.context_id != context_id):
                raise ProtocolViolation("expected a command set", reason=AbortReason.UNEXPECTED_PDU)
            context_id = event.context_id
            collected += event.data
            if len(collected) > self.limits.command_set:
                raise ProtocolViolation("command set too large", reason=AbortReason.INVALID_PARAMETER)
            if event.is_last:
                break
            patience_seconds = self.limits.pdu_deadline
        context = self.contexts.get(context_id)
        if context is None:
            raise ProtocolViolation(
                f"presentation context {context_id} was not accepted", reason=AbortReason.UNEXPECTED_PARAMETER
            )
        return Message(self, context, commands.decode(collected))

    def next_fragment(self) -> Fragment:
        """The next piece of a data set that has begun. Raises PeerFailure, ProtocolViolation."""
        event = self._transport.next_event(self.limits.pdu_deadline)
        if isinstance(event, ControlPdu):
            self._end_of_association(event, is_orderly=False)
            raise PeerFailure("association ended within a message")
        return event

    def is_cancelled(self, message_id: int) -> bool:
        """Has the peer sent a C-CANCEL for this operation? Looks at what has arrived, without waiting for more."""
        while self._transport.has_begun_pdu():
            message = self._message_within_operation(self.limits.pdu_deadline)
            if self._is_answer(message):
                continue
            if message.command_field != CommandField.C_CANCEL_RQ:
                raise ProtocolViolation("request within an operation", reason=AbortReason.UNEXPECTED_PDU)
            self.note_cancel(message)
        return message_id in self._cancelled

    def fileno(self) -> int:
        """The descriptor that is readable when the peer says something, for those who only look whether it does."""
        return self._connection.fileno()

    def note_cancel(self, message: Message) -> None:
        """Remember a C-CANCEL-RQ (PS3.7 9.3.2.3)."""
        self._cancelled.add(message.command.number(Element.MESSAGE_ID_BEING_RESPONDED_TO))

    def forget_cancel(self, message_id: int) -> None:
        """The operation is over: its message ID may be used again."""
        self._cancelled.discard(message_id)

    def next_response(self, message_id: int) -> CommandSet:
        """Block for the response to a request of ours; a C-CANCEL that comes in between is noted.

        Raises PeerFailure, ProtocolViolation.
        """
        while True:
            message = self._message_within_operation(self.limits.response)
            if self._is_answer(message):
                continue
            if message.command_field == CommandField.C_CANCEL_RQ:
                self.note_cancel(message)
                continue
            if message.command.number(Element.MESSAGE_ID_BEING_RESPONDED_TO, 0) != message_id:
                raise ProtocolViolation("response to another message", reason=AbortReason.UNEXPECTED_PDU)
            message.drain()
            return message.command

    def send(
        self, context_id: int, command: Mapping[Element, int | str | bytes], data_set: bytes | None = None
    ) -> None:
        """Send a message. Raises PeerFailure."""
        encoded = commands.encode(command, has_data_set=data_set is not None)
        self.send_parts(message.message_parts(context_id, encoded, data_set, self.largest_value))

    def send_parts(self, parts: message.Parts) -> None:
        """Send PDUs that are ready. Raises PeerFailure."""
        self._connection.send(parts)

    def respond(
        self,
        request: Message,
        status: int,
        extra: Mapping[Element, int | str | bytes] | None = None,
        data_set: bytes | None = None,
    ) -> None:
        """Send a response to a request. Raises PeerFailure."""
        parts = self.response_command(request, status, extra, has_data_set=data_set is not None)
        if data_set is not None:
            parts += self.data_set_parts(request, data_set)
        self.send_parts(parts)

    def response_command(
        self,
        request: Message,
        status: int,
        extra: Mapping[Element, int | str | bytes] | None = None,
        *,
        has_data_set: bool,
    ) -> message.Parts:
        """The command of a response as PDUs; it may be sent again and again, each time before another data set."""
        self.last_status = status
        fields: dict[Element, int | str | bytes] = {
            Element.AFFECTED_SOP_CLASS_UID: request.command.elements.get(Element.AFFECTED_SOP_CLASS_UID, b""),
            Element.COMMAND_FIELD: request.command_field | commands.RESPONSE_BIT,
            Element.MESSAGE_ID_BEING_RESPONDED_TO: request.message_id,
            Element.STATUS: status,
        }
        fields.update(extra or {})
        encoded = commands.encode(fields, has_data_set=has_data_set)
        return message.command_parts(request.context.context_id, encoded, self.largest_value)

    def data_set_parts(self, request: Message, data_set: bytes) -> message.Parts:
        """A whole data set of a response as PDUs."""
        return message.data_set_parts(request.context.context_id, memoryview(data_set), self.largest_value, ends=True)

    def release(self) -> None:
        """Ask for release as requestor, wait for the answer and close. Raises PeerFailure, ProtocolViolation."""
        self._connection.send([pdu.release_rq()])
        while True:
            event = self._transport.next_event(self.limits.pdu_deadline)
            if isinstance(event, Fragment):
                continue
            if event.type == PduType.RELEASE_RQ:
                # Collision (PS3.8 7.2.2): as requestor we answer and go on waiting.
                self._connection.send([pdu.release_rp()])
                continue
            break
        self._connection.close()

    def abort(self, reason: int | None = None) -> None:
        """Send an A-ABORT, from the service provider when there is a reason, and close."""
        self._connection.finish(pdu.abort(0) if reason is None else pdu.abort(2, reason))

    def cut(self) -> None:
        """End the association from another thread, at once."""
        self._connection.cut(pdu.abort(0))

    def close(self) -> None:
        """Close the connection; may be called twice."""
        if self._is_released:
            self._connection.finish()
        self._connection.close()

    def _send_posted(self, outbox: Outbox, deadline: float) -> None:
        """Send what is posted, one at a time, until the peer says something or the deadline is over."""
        while time.monotonic() < deadline:
            for message_id, posted in outbox.next():
                self.send(posted.context_id, {**posted.command, Element.MESSAGE_ID: message_id}, posted.data_set)
            if self._transport.has_begun_pdu():
                return
            self._transport.wait(deadline, outbox.descriptor)

    def _is_answer(self, message: Message) -> bool:
        """Is this the response to something that was posted? Then it is read, and passed on."""
        if self._outbox is None or not self._outbox.expects(message.command):
            return False
        message.drain()
        self._outbox.take(message.command)
        return True

    def _message_within_operation(self, patience_seconds: float) -> Message:
        message = self.next_message(patience_seconds)
        if message is None:
            raise PeerFailure("association released within an operation")
        return message

    def _end_of_association(self, event: ControlPdu, *, is_orderly: bool) -> None:
        if event.type == PduType.RELEASE_RQ and is_orderly:
            self._connection.send([pdu.release_rp()])
            self._is_released = True
            return
        if event.type == PduType.ABORT:
            raise PeerFailure("association aborted by the peer")
        raise ProtocolViolation(f"PDU of type {event.type} not expected", reason=AbortReason.UNEXPECTED_PDU)


class Service(Protocol):
    """One DIMSE service as SCP."""

    def serve(self, association: Association, request: Message) -> None:
        """Answer one request completely. Raises PeerFailure and ProtocolViolation, which end the association."""


def serve_operations(association: Association, services: Mapping[int, Service]) -> None:
    """Answer requests until the peer releases. Raises PeerFailure, ProtocolViolation."""
    try:
        _serve_operations(association, services)
    finally:
        association.hang_up()
        if association.intake is not None:
            association.intake.end()


def _serve_operations(association: Association, services: Mapping[int, Service]) -> None:
    while (request := association.next_request()) is not None:
        if request.command_field == CommandField.C_CANCEL_RQ:
            continue  # for an operation that ended before the cancel arrived
        service = services.get(request.command_field)
        if service is None and request.command_field not in commands.REQUESTS:
            raise ProtocolViolation(
                f"command field {request.command_field:04X}H not expected", reason=AbortReason.UNEXPECTED_PARAMETER
            )
        message_id = request.message_id  # a request without one cannot be answered
        if service is None:
            _decline(association, request)
            continue
        began = time.perf_counter()
        service.serve(association, request)
        seconds = time.perf_counter() - began
        association.observer.answered(
            request.command_field, association.titles.calling_ae, association.last_status, seconds, association.kept
        )
        association.kept = None
        request.drain()
        association.forget_cancel(message_id)
        association.served += 1


def _decline(association: Association, request: Message) -> None:
    """Answer an operation of the standard that nobody here has (PS3.7 Annex C): the others of the association go on."""
    request.drain()
    elements = request.command.elements
    sop_class = elements.get(Element.REQUESTED_SOP_CLASS_UID, elements.get(Element.AFFECTED_SOP_CLASS_UID, b""))
    association.respond(request, status.UNRECOGNIZED_OPERATION, {Element.AFFECTED_SOP_CLASS_UID: sop_class})
