"""Items and sub-items of association PDUs (PS3.8 9.3.2 and following, PS3.7 Annex D): bytes ⇄ values.

What stands for a UID and is none becomes ``NO_UID``, which nobody supports, so that one bad item harms no other.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from pacsnode.errors import ProtocolViolation
from pacsnode.wire.pdu import AbortReason


class ItemType(IntEnum):
    """The items that we look at or write; others are skipped (PS3.8 9.3.1, PS3.7 D.2)."""

    APPLICATION_CONTEXT = 0x10
    PROPOSED_CONTEXT = 0x20
    ANSWERED_CONTEXT = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS_UID = 0x52
    ASYNCHRONOUS_WINDOW = 0x53
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION_NAME = 0x55
    EXTENDED_NEGOTIATION = 0x56
    USER_IDENTITY = 0x58
    USER_IDENTITY_ANSWER = 0x59


class ProposedContext(NamedTuple):
    """A presentation context of an A-ASSOCIATE-RQ (PS3.8 9.3.2.2)."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]  # at least one


class ContextResult(NamedTuple):
    """A presentation context of an A-ASSOCIATE-AC (PS3.8 9.3.3.2); its transfer syntax counts when accepted."""

    context_id: int
    result: int
    transfer_syntax: str


class Roles(NamedTuple):
    """What the requestor may be for a SOP class (PS3.7 D.3.3.4)."""

    scu: bool
    scp: bool


class IdentityType(IntEnum):
    """How a user is told (PS3.7 Table D.3-14)."""

    USERNAME = 1
    PASSCODE = 2
    KERBEROS = 3
    SAML = 4
    JSON_WEB_TOKEN = 5


class Identity(NamedTuple):
    """A user that the requestor speaks for; ``primary`` and ``secondary`` are as its type says."""

    type: int
    wants_answer: bool
    primary: bytes
    secondary: bytes


MOST_ITEMS = 512  # of an association PDU, and of its user information: 128 contexts, as many role selections, others
_MOST_OF_A_CONTEXT = 72  # an abstract syntax, transfer syntaxes of which the standard knows some fifty, unknown ones
NO_UID = "0.0"
_IDENTITY_BYTES = 4  # type, whether an answer is wanted, length of the first field
_HEADER = struct.Struct(">BxH")
_CONTEXT = struct.Struct(">BxBx")
_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*\Z")
_MAX_UID_LENGTH = 64
# Plain numbers for the loops that read: members of an enumeration are slower to compare with.
_ABSTRACT, _TRANSFER = int(ItemType.ABSTRACT_SYNTAX), int(ItemType.TRANSFER_SYNTAX)


def items(data: bytes, most: int = MOST_ITEMS) -> Iterator[tuple[int, bytes]]:
    """Type and content of each item. Raises ProtocolViolation for more than ``most``, or one longer than what is there.

    A mebibyte of tiny items would otherwise cost a second of everybody's time.
    """
    position, end = 0, len(data)
    while position < end:
        most -= 1
        if most < 0:
            raise ProtocolViolation("too many items", reason=AbortReason.INVALID_PARAMETER)
        if end - position < _HEADER.size:
            raise _malformed()
        kind, length = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        if length > end - position:
            raise _malformed()
        yield kind, data[position : position + length]
        position += length


def item(kind: ItemType, content: bytes) -> bytes:
    """An item or sub-item; the content has less than 64 KiB."""
    return _HEADER.pack(kind, len(content)) + content


def read_proposed(content: bytes) -> ProposedContext:
    """A presentation context item of a request. Raises ProtocolViolation for an id that is not odd."""
    if not content or not content[0] & 1:
        raise _malformed()
    abstract_syntaxes, transfer_syntaxes = [], []
    for kind, raw in items(content[_CONTEXT.size :], _MOST_OF_A_CONTEXT):
        if kind == _TRANSFER:
            transfer_syntaxes.append(uid(raw))
        elif kind == _ABSTRACT:
            abstract_syntaxes.append(uid(raw))
    return ProposedContext(content[0], (*abstract_syntaxes, NO_UID)[0], tuple(transfer_syntaxes) or (NO_UID,))


def proposed_item(context: ProposedContext) -> bytes:
    """A presentation context item of a request."""
    subitems = [item(ItemType.ABSTRACT_SYNTAX, context.abstract_syntax.encode("ascii"))]
    subitems += [item(ItemType.TRANSFER_SYNTAX, syntax.encode("ascii")) for syntax in context.transfer_syntaxes]
    return item(ItemType.PROPOSED_CONTEXT, _CONTEXT.pack(context.context_id, 0) + b"".join(subitems))


def read_result(content: bytes) -> ContextResult:
    """A presentation context item of an answer. Raises ProtocolViolation."""
    if len(content) < _CONTEXT.size:
        raise _malformed()
    context_id, result = _CONTEXT.unpack_from(content)
    syntaxes = [uid(raw) for kind, raw in items(content[_CONTEXT.size :]) if kind == _TRANSFER]
    if not result and not syntaxes:
        raise _malformed()
    return ContextResult(context_id, result, syntaxes[0] if syntaxes else NO_UID)


def result_item(context: ContextResult) -> bytes:
    """A presentation context item of an answer."""
    syntax = item(ItemType.TRANSFER_SYNTAX, context.transfer_syntax.encode("ascii"))
    return item(ItemType.ANSWERED_CONTEXT, _CONTEXT.pack(context.context_id, context.result) + syntax)


def read_roles(content: bytes) -> tuple[str, Roles]:
    """SOP class and roles of a role selection sub-item (PS3.7 D.3.3.4.1). Raises ProtocolViolation."""
    end = 2 + int.from_bytes(content[:2], "big")
    if len(content) < end + 2:
        raise _malformed()
    return uid(content[2:end]), Roles(content[end] == 1, content[end + 1] == 1)


def roles_item(sop_class_uid: str, roles: Roles) -> bytes:
    """A role selection sub-item."""
    raw = sop_class_uid.encode("ascii")
    return item(ItemType.ROLE_SELECTION, len(raw).to_bytes(2, "big") + raw + bytes(roles))


def read_extended(content: bytes) -> tuple[str, bytes]:
    """SOP class and application information of an extended negotiation sub-item (PS3.7 D.3.3.5). Raises
    ProtocolViolation."""
    end = 2 + int.from_bytes(content[:2], "big")
    if len(content) < end:
        raise _malformed()
    return uid(content[2:end]), content[end:]


def extended_item(sop_class_uid: str, information: bytes) -> bytes:
    """An extended negotiation sub-item."""
    raw = sop_class_uid.encode("ascii")
    return item(ItemType.EXTENDED_NEGOTIATION, len(raw).to_bytes(2, "big") + raw + information)


def read_identity(content: bytes) -> Identity:
    """A user identity sub-item of a request (PS3.7 D.3.3.7.1). Raises ProtocolViolation."""
    if len(content) < _IDENTITY_BYTES:
        raise _malformed()
    primary, rest = _counted(content[2:])
    # Some leave out a secondary field that their type does not have.
    return Identity(content[0], content[1] == 1, primary, _counted(rest)[0] if rest else b"")


def identity_answer_item(response: bytes) -> bytes:
    """The sub-item that says of a user that it is accepted (PS3.7 D.3.3.7.2)."""
    return item(ItemType.USER_IDENTITY_ANSWER, len(response).to_bytes(2, "big") + response)


def _counted(data: bytes) -> tuple[bytes, bytes]:
    """A field that begins with its length, and what follows."""
    end = 2 + int.from_bytes(data[:2], "big")
    if len(data) < end:
        raise _malformed()
    return data[2:end], data[end:]


def uid(raw: bytes) -> str:
    """A UID without the padding that some devices add; ``NO_UID`` for what is none."""
    text = raw.decode("ascii", "replace").strip("\0 ")
    return text if len(text) <= _MAX_UID_LENGTH and _UID.match(text) else NO_UID


def _malformed() -> ProtocolViolation:
    return ProtocolViolation("item of an association PDU is malformed", reason=AbortReason.INVALID_PARAMETER)
