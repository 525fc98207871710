"""Association PDUs ⇄ what we want to know of them (PS3.8 9.3.2-9.3.4, PS3.7 Annex D).

Read with our own eyes: pynetdicom's decoders fail on items they do not know and on padding that devices send.
What we send is written by pynetdicom's codec.
"""

from __future__ import annotations

import re
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
)
from pynetdicom.presentation import PresentationContext as Proposed

from pacsnode.dicom import part10
from pacsnode.dimse import contexts
from pacsnode.dimse.contexts import PresentationContext
from pacsnode.errors import PeerFailure, ProtocolViolation
from pacsnode.wire.items import ItemType, items
from pacsnode.wire.pdu import AbortReason

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_PROTOCOL_VERSION = struct.Struct(">6xH")
_TITLES = slice(10, 42)  # called and calling AE title, 16 bytes each
_ITEMS = slice(74, None)
_UID = re.compile(r"(?=.{1,64}\Z)(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*\Z")
_NO_UID = "0.0"  # stands for what is no UID: nobody supports it
_Item = tuple[int, bytes]
# What decoders raise for bytes that are not what they should be.
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError, struct.error)


@dataclass(frozen=True, slots=True)
class Request:
    """An A-ASSOCIATE-RQ. AE titles without padding, and ``titles`` as they were sent."""

    called_ae: str
    calling_ae: str
    titles: bytes
    application_context: str
    speaks_version_1: bool
    maximum_length: int
    proposed: Sequence[Proposed]
    roles: Mapping[str, tuple[bool, bool]]
    asks_for_window: bool


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
        titles = data[_TITLES]
        top, user = _items_of(data)
        return Request(
            called_ae=_title(titles[:16]),
            calling_ae=_title(titles[16:]),
            titles=titles,
            application_context=next((_uid(raw) for kind, raw in top if kind == ItemType.APPLICATION_CONTEXT), ""),
            speaks_version_1=bool(_PROTOCOL_VERSION.unpack_from(data)[0] & 1),
            maximum_length=_maximum_length(user),
            proposed=[_proposed(content) for kind, content in top if kind == ItemType.PROPOSED_CONTEXT],
            roles=dict(_role(raw) for kind, raw in user if kind == ItemType.ROLE_SELECTION),
            asks_for_window=any(kind == ItemType.ASYNCHRONOUS_WINDOW for kind, _ in user),
        )
    except _UNREADABLE as error:
        raise ProtocolViolation("A-ASSOCIATE-RQ cannot be read", reason=AbortReason.INVALID_PARAMETER) from error


def answer(request: Request, ours: Mapping[str, Proposed], maximum_length: int) -> tuple[Answer, bytes]:
    """Accept a request: what was agreed, and the A-ASSOCIATE-AC PDU to send."""
    results, role_items, accepted = contexts.accept(request.proposed, ours, request.roles)
    primitive = A_ASSOCIATE()
    primitive.application_context_name = APPLICATION_CONTEXT
    primitive.calling_ae_title = primitive.called_ae_title = "-"
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
    encoded = bytearray(pdu.encode())
    encoded[_TITLES] = request.titles  # PS3.8 9.3.3: as received
    return Answer(accepted, request.maximum_length), bytes(encoded)


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
        top, user = _items_of(data)
        granted = dict(_granted(content) for kind, content in top if kind == ItemType.ANSWERED_CONTEXT)
        return Answer(contexts.settle(proposed, granted), _maximum_length(user))
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


def _items_of(data: bytes) -> tuple[list[_Item], list[_Item]]:
    """Items of an A-ASSOCIATE-RQ or -AC, and the sub-items of its user information."""
    if len(data) < _ITEMS.start:
        raise ValueError("fixed fields are incomplete")
    top = list(items(data[_ITEMS]))
    return top, [item for kind, content in top if kind == ItemType.USER_INFORMATION for item in items(content)]


def _proposed(content: bytes) -> Proposed:
    """A presentation context item (PS3.8 9.3.2.2)."""
    subitems = list(items(content[4:]))
    context = Proposed()
    context.context_id = content[0]
    context.abstract_syntax = next((_uid(raw) for kind, raw in subitems if kind == ItemType.ABSTRACT_SYNTAX), _NO_UID)
    context.transfer_syntax = [_uid(raw) for kind, raw in subitems if kind == ItemType.TRANSFER_SYNTAX] or [_NO_UID]
    return context


def _granted(content: bytes) -> tuple[int, str]:
    """A result item (PS3.8 9.3.3.2): context id and transfer syntax, "" when it was not accepted."""
    syntaxes = [_uid(raw) for kind, raw in items(content[4:]) if kind == ItemType.TRANSFER_SYNTAX]
    return content[0], syntaxes[0] if content[2] == contexts.ACCEPTED else ""


def _role(raw: bytes) -> tuple[str, tuple[bool, bool]]:
    """An SCP/SCU role selection sub-item (PS3.7 D.3.3.4.1): SOP class, (SCU, SCP)."""
    end = 2 + int.from_bytes(raw[:2], "big")
    return _uid(raw[2:end]), (raw[end] == 1, raw[end + 1] == 1)


def _maximum_length(user: Sequence[_Item]) -> int:
    """PS3.8 D.1; without the sub-item there is no limit."""
    return next((int.from_bytes(raw, "big") for kind, raw in user if kind == ItemType.MAXIMUM_LENGTH), 0)


def _uid(raw: bytes) -> str:
    text = raw.decode("ascii", "replace").strip("\0 ")
    return text if _UID.match(text) else _NO_UID


def _title(raw: bytes) -> str:
    """An AE title; what follows a NUL is not part of it."""
    return raw.partition(b"\0")[0].decode("latin-1").strip(" ")
