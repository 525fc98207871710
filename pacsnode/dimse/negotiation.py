"""Association PDUs ⇄ what we want to know of them (PS3.8 9.3.2-9.3.4, PS3.7 Annex D).

Read and written by ourselves: pynetdicom's decoders fail on items they do not know and on padding that devices send,
and its objects cost more than all the rest of a short association (docs/decisions/0003-association-engine.md).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.presentation import PresentationContext as Supported

from pacsnode.dicom import part10
from pacsnode.dimse import contexts
from pacsnode.dimse.contexts import PresentationContext
from pacsnode.errors import PeerFailure, ProtocolViolation
from pacsnode.wire import items as codec
from pacsnode.wire.items import ItemType, ProposedContext, Roles, item, items
from pacsnode.wire.pdu import AbortReason, PduType

_MOST_CONTEXTS = 128  # odd ids from 1 to 255 (PS3.8 9.3.2.2)
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_PDU_HEADER_BYTES = 6
_TITLE_BYTES = 16
_TITLES = slice(10, 42)  # called and calling AE title
_ITEMS = slice(74, None)
_PROTOCOL_VERSION = struct.Struct(">6xH")
_FIXED = struct.Struct(">BxIHxx32s32x")  # type, length, protocol version, titles
_WINDOW_OF_ONE = struct.pack(">HH", 1, 1)
_Item = tuple[int, bytes]
_UNREADABLE = (ValueError, IndexError, struct.error)  # for bytes that are not what they should be


@dataclass(frozen=True, slots=True)
class Request:
    """An A-ASSOCIATE-RQ. AE titles without padding, and ``titles`` as they were sent."""

    called_ae: str
    calling_ae: str
    titles: bytes
    application_context: str
    speaks_version_1: bool
    maximum_length: int
    proposed: Sequence[ProposedContext]
    roles: Mapping[str, Roles]
    asks_for_window: bool
    extended: Mapping[str, bytes] = field(default_factory=dict)  # application information by SOP class
    identity: bytes | None = None  # a user identity sub-item, which is read where it is looked at


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
    is_alert: bool = False  # somebody may pretend to be somebody else


BAD_APPLICATION_CONTEXT = Rejection(1, 1, 2, "application context not supported")
CALLING_AE_UNKNOWN = Rejection(1, 1, 3, "calling AE title not recognized")
CALLED_AE_UNKNOWN = Rejection(1, 1, 7, "called AE title not recognized")
BAD_PROTOCOL_VERSION = Rejection(1, 2, 2, "protocol version not supported")
NOT_THAT_PEER = Rejection(1, 1, 3, "not who the calling AE title belongs to", is_alert=True)
# PS3.7 D.3.3.7.3: permanently, by the service provider (ACSE related function).
USER_REFUSED = Rejection(1, 2, 1, "user identity refused", is_alert=True)
CONGESTION = Rejection(2, 3, 1, "temporary congestion")
TOO_MANY = Rejection(2, 3, 2, "local limit exceeded")
REJECTIONS: Mapping[Rejection, str] = MappingProxyType({
    BAD_APPLICATION_CONTEXT: "Another application context than that of DICOM.",
    CALLING_AE_UNKNOWN: "The calling AE title is no peer's, where unknown peers are rejected; or is none.",
    CALLED_AE_UNKNOWN: "The called AE title is not one of ours; or is none.",
    NOT_THAT_PEER: "The calling AE title is a peer's, whose addresses, TLS or certificate are not those of who calls.",
    USER_REFUSED: "The user is unknown, or not proven to be that; or none is named where one has to be.",
    BAD_PROTOCOL_VERSION: "The requester does not speak version 1 of the protocol.",
    CONGESTION: "The node is stopping, or has many users to check; try again in a minute.",
    TOO_MANY: "As many associations as there may be: in all, of this AE title, or from this address.",
})  # fmt: skip
"""When an association is rejected how (PS3.8 9.3.4): all rejections there are."""


def read_request(data: bytes) -> Request:
    """Decode an A-ASSOCIATE-RQ PDU. Raises ProtocolViolation."""
    try:
        titles = data[_TITLES]
        top, user = _items_of(data)
        return Request(
            called_ae=_title(titles[:_TITLE_BYTES]),
            calling_ae=_title(titles[_TITLE_BYTES:]),
            titles=titles,
            application_context=next((codec.uid(raw) for kind, raw in top if kind == ItemType.APPLICATION_CONTEXT), ""),
            speaks_version_1=bool(_PROTOCOL_VERSION.unpack_from(data)[0] & 1),
            maximum_length=_maximum_length(user),
            proposed=[codec.read_proposed(content) for kind, content in top if kind == ItemType.PROPOSED_CONTEXT],
            roles=dict(codec.read_roles(raw) for kind, raw in user if kind == ItemType.ROLE_SELECTION),
            asks_for_window=any(kind == ItemType.ASYNCHRONOUS_WINDOW for kind, _ in user),
            extended=dict(codec.read_extended(raw) for kind, raw in user if kind == ItemType.EXTENDED_NEGOTIATION),
            identity=next((raw for kind, raw in user if kind == ItemType.USER_IDENTITY), None),
        )
    except _UNREADABLE as error:
        raise ProtocolViolation("A-ASSOCIATE-RQ cannot be read", reason=AbortReason.INVALID_PARAMETER) from error


def answer(
    request: Request, ours: Mapping[str, Supported], maximum_length: int, identity_response: bytes | None = None
) -> tuple[Answer, bytes]:
    """Accept a request: what was agreed, and the A-ASSOCIATE-AC PDU to send. ``identity_response``: see Admitted."""
    agreed = contexts.accept(request.proposed, ours, request.roles, request.extended)
    user = [*_about_us(maximum_length), *(codec.roles_item(uid, agreed.roles[uid]) for uid in sorted(agreed.roles))]
    user += [codec.extended_item(uid, agreed.extended[uid]) for uid in sorted(agreed.extended)]
    if request.asks_for_window:
        # We handle one operation at a time, which an answer of 1,1 says (PS3.7 D.3.3.3).
        user.append(item(ItemType.ASYNCHRONOUS_WINDOW, _WINDOW_OF_ONE))
    if identity_response is not None:
        user.append(codec.identity_answer_item(identity_response))
    results = map(codec.result_item, agreed.results)
    # PS3.8 9.3.3: titles as received.
    return Answer(agreed.accepted, request.maximum_length), _pdu(PduType.ASSOCIATE_AC, request.titles, results, user)


def request(
    *,
    calling_ae: str,
    called_ae: str,
    proposed: Sequence[ProposedContext],
    maximum_length: int,
    roles: Mapping[str, Roles],
) -> bytes:
    """The A-ASSOCIATE-RQ PDU of an association we ask for. ``roles``: ours, where not the default (PS3.7 D.3.3.4)."""
    titles = called_ae.ljust(_TITLE_BYTES) + calling_ae.ljust(_TITLE_BYTES)
    items_of_contexts = map(codec.proposed_item, proposed)
    user = [*_about_us(maximum_length), *(codec.roles_item(uid, ours) for uid, ours in roles.items())]
    return _pdu(PduType.ASSOCIATE_RQ, titles.encode("ascii"), items_of_contexts, user)


def read_answer(data: bytes, proposed: Sequence[ProposedContext], roles: Mapping[str, Roles]) -> Answer:
    """Decode an A-ASSOCIATE-AC PDU, the answer to what we proposed. Raises ProtocolViolation."""
    try:
        top, user = _items_of(data)
        granted = [codec.read_result(content) for kind, content in top if kind == ItemType.ANSWERED_CONTEXT]
        answered = dict(codec.read_roles(raw) for kind, raw in user if kind == ItemType.ROLE_SELECTION)
        return Answer(contexts.settle(proposed, granted, roles, answered), _maximum_length(user))
    except _UNREADABLE as error:
        raise ProtocolViolation("A-ASSOCIATE-AC cannot be read", reason=AbortReason.INVALID_PARAMETER) from error


def refusal(data: bytes) -> PeerFailure:
    """What an A-ASSOCIATE-RJ PDU says, as an error for people."""
    try:
        pdu = A_ASSOCIATE_RJ()
        pdu.decode(data)
        return PeerFailure(f"association rejected: {pdu.result_str}, {pdu.source_str}, {pdu.reason_str}")
    except (*_UNREADABLE, TypeError, KeyError, AttributeError, NotImplementedError):  # what the decoder raises
        return PeerFailure("association rejected without a valid reason")


def _pdu(kind: PduType, titles: bytes, of_contexts: Iterable[bytes], user: Iterable[bytes]) -> bytes:
    """An A-ASSOCIATE-RQ or -AC (PS3.8 9.3.2, 9.3.3)."""
    application = item(ItemType.APPLICATION_CONTEXT, APPLICATION_CONTEXT.encode("ascii"))
    variable = b"".join((application, *of_contexts, item(ItemType.USER_INFORMATION, b"".join(user))))
    return _FIXED.pack(kind, _ITEMS.start - _PDU_HEADER_BYTES + len(variable), 1, titles) + variable


def _about_us(maximum_length: int) -> tuple[bytes, ...]:
    return (
        item(ItemType.MAXIMUM_LENGTH, maximum_length.to_bytes(4, "big")),
        item(ItemType.IMPLEMENTATION_CLASS_UID, part10.IMPLEMENTATION_CLASS_UID.encode("ascii")),
        item(ItemType.IMPLEMENTATION_VERSION_NAME, part10.IMPLEMENTATION_VERSION_NAME.encode("ascii")),
    )


def _items_of(data: bytes) -> tuple[list[_Item], list[_Item]]:
    """Items of an A-ASSOCIATE-RQ or -AC, and the sub-items of its user information."""
    if len(data) < _ITEMS.start:
        raise ValueError("fixed fields are incomplete")
    top = list(items(data[_ITEMS]))
    if sum(kind == ItemType.PROPOSED_CONTEXT for kind, _ in top) > _MOST_CONTEXTS:
        raise ProtocolViolation("more presentation contexts than ids", reason=AbortReason.INVALID_PARAMETER)
    return top, [one for kind, content in top if kind == ItemType.USER_INFORMATION for one in items(content)]


def _maximum_length(user: Sequence[_Item]) -> int:
    """PS3.8 D.1; without the sub-item there is no limit."""
    return next((int.from_bytes(raw, "big") for kind, raw in user if kind == ItemType.MAXIMUM_LENGTH), 0)


def _title(raw: bytes) -> str:
    """An AE title; what follows a NUL is not part of it."""
    return raw.partition(b"\0")[0].decode("latin-1").strip(" ")
