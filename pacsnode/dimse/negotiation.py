"""Association PDUs ⇄ what we want to know of them, with pynetdicom's codec (PS3.8 9.3.2-9.3.4, PS3.7 Annex D)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext as Proposed

from pacsnode.dicom import part10
from pacsnode.dimse import contexts
from pacsnode.dimse.contexts import PresentationContext
from pacsnode.errors import PeerFailure, ProtocolViolation
from pacsnode.wire.pdu import AbortReason

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_PROTOCOL_VERSION = struct.Struct(">6xH")
# What pynetdicom's decoders raise for bytes that are not what they should be.
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, struct.error)


@dataclass(frozen=True, slots=True)
class Request:
    """An A-ASSOCIATE-RQ. AE titles without padding."""

    called_ae: str
    calling_ae: str
    application_context: str
    speaks_version_1: bool
    maximum_length: int
    proposed: Sequence[Proposed]
    roles: Mapping[str, tuple[bool, bool]]
    asks_for_window: bool
    primitive: A_ASSOCIATE


@dataclass(frozen=True, slots=True)
class Answer:
    """An A-ASSOCIATE-AC that was sent or received: the accepted contexts, by id."""

    contexts: dict[int, PresentationContext]
    maximum_length: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4), with words for the log."""

    result: int
    source: int
    reason: int
    words: str


BAD_APPLICATION_CONTEXT = Rejection(1, 1, 2, "application context not supported")
CALLING_AE_UNKNOWN = Rejection(1, 1, 3, "calling AE title not recognized")
CALLED_AE_UNKNOWN = Rejection(1, 1, 7, "called AE title not recognized")
BAD_PROTOCOL_VERSION = Rejection(1, 2, 2, "protocol version not supported")
CONGESTION = Rejection(2, 3, 1, "temporary congestion")
TOO_MANY = Rejection(2, 3, 2, "local limit exceeded")


def read_request(data: bytes) -> Request:
    """Decode an A-ASSOCIATE-RQ PDU. Raises ProtocolViolation."""
    try:
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(data)
        primitive = pdu.to_primitive()
        roles = {
            str(item.sop_class_uid): (bool(item.scu_role), bool(item.scp_role))
            for item in primitive.user_information
            if isinstance(item, SCP_SCU_RoleSelectionNegotiation)
        }
        return Request(
            called_ae=_title(primitive.called_ae_title),
            calling_ae=_title(primitive.calling_ae_title),
            application_context=str(primitive.application_context_name),
            speaks_version_1=bool(_PROTOCOL_VERSION.unpack_from(data)[0] & 1),
            maximum_length=primitive.maximum_length_received or 0,
            proposed=[context for context in primitive.presentation_context_definition_list if context.transfer_syntax],
            roles=roles,
            asks_for_window=any(
                isinstance(item, AsynchronousOperationsWindowNegotiation) for item in primitive.user_information
            ),
            primitive=primitive,
        )
    except _UNREADABLE as error:
        raise ProtocolViolation("A-ASSOCIATE-RQ cannot be read", reason=AbortReason.INVALID_PARAMETER) from error


def answer(request: Request, ours: Mapping[str, Proposed], maximum_length: int) -> tuple[Answer, bytes]:
    """Accept a request: what was agreed, and the A-ASSOCIATE-AC PDU to send."""
    results, role_items, accepted = contexts.accept(request.proposed, ours, request.roles)
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT
    primitive.calling_ae_title = request.primitive.calling_ae_title
    primitive.called_ae_title = request.primitive.called_ae_title
    primitive.result = 0x00
    primitive.result_source = 0x01
    primitive.presentation_context_definition_results_list = results
    primitive.user_information = [*_about_us(maximum_length), *role_items]
    if request.asks_for_window:
        # We handle one operation at a time, which an answer of 1,1 says (PS3.7 D.3.3.3).
        window = AsynchronousOperationsWindowNegotiation()
        window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 1
        primitive.user_information.append(window)
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(primitive)
    return Answer(accepted, request.maximum_length), pdu.encode()


def request(*, calling_ae: str, called_ae: str, proposed: Sequence[Proposed], maximum_length: int) -> bytes:
    """The A-ASSOCIATE-RQ PDU of an association we ask for."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT
    primitive.calling_ae_title = calling_ae
    primitive.called_ae_title = called_ae
    primitive.presentation_context_definition_list = list(proposed)
    primitive.user_information = list(_about_us(maximum_length))
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return pdu.encode()


def read_answer(data: bytes, proposed: Sequence[Proposed]) -> Answer:
    """Decode an A-ASSOCIATE-AC PDU. Raises ProtocolViolation."""
    try:
        pdu = A_ASSOCIATE_AC()
        pdu.decode(data)
        primitive = pdu.to_primitive()
        granted = contexts.settle(proposed, primitive.presentation_context_definition_results_list, {})
        return Answer(granted, primitive.maximum_length_received or 0)
    except _UNREADABLE as error:
        raise ProtocolViolation("A-ASSOCIATE-AC cannot be read", reason=AbortReason.INVALID_PARAMETER) from error


def refusal(data: bytes) -> PeerFailure:
    """What an A-ASSOCIATE-RJ PDU says, as an error for people."""
    try:
        pdu = A_ASSOCIATE_RJ()
        pdu.decode(data)
        return PeerFailure(f"association rejected: {pdu.result_str}, {pdu.source_str}, {pdu.reason_str}")
    except _UNREADABLE:
        return PeerFailure("association rejected without a valid reason")


def _about_us(
    maximum_length: int,
) -> tuple[MaximumLengthNotification, ImplementationClassUIDNotification, ImplementationVersionNameNotification]:
    maximum = MaximumLengthNotification()
    maximum.maximum_length_received = maximum_length
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = part10.IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = part10.IMPLEMENTATION_VERSION_NAME
    return maximum, implementation, version


def _title(value: str | bytes | None) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value or ""
    return text.strip("\0 ")
