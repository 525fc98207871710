"""Items and sub-items of association PDUs (PS3.8 9.3.2 and following): type, length, content."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

from pacsnode.errors import ProtocolViolation
from pacsnode.wire.pdu import AbortReason


class ItemType(IntEnum):
    """The items that we look at; others are skipped (PS3.8 9.3.1, PS3.7 D.2)."""

    APPLICATION_CONTEXT = 0x10
    PROPOSED_CONTEXT = 0x20
    ANSWERED_CONTEXT = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    ASYNCHRONOUS_WINDOW = 0x53
    ROLE_SELECTION = 0x54


_HEADER = struct.Struct(">BxH")


def items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and content of each item. Raises ProtocolViolation where one is longer than what is there."""
    position = 0
    while position < len(data):
        if len(data) - position < _HEADER.size:
            raise _malformed()
        kind, length = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        if length > len(data) - position:
            raise _malformed()
        yield kind, data[position : position + length]
        position += length


def _malformed() -> ProtocolViolation:
    return ProtocolViolation("item of an association PDU is malformed", reason=AbortReason.INVALID_PARAMETER)
