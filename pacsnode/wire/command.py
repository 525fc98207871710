"""DIMSE command sets (PS3.7 6.3, Annex E): group 0000, always implicit VR little endian."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from pacsnode.errors import ProtocolViolation
from pacsnode.wire.pdu import AbortReason


class CommandField(IntEnum):
    """Values of Command Field (0000,0100); a response has the highest bit set."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_GET_RSP = 0x8010
    C_FIND_RQ = 0x0020
    C_FIND_RSP = 0x8020
    C_MOVE_RQ = 0x0021
    C_MOVE_RSP = 0x8021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_EVENT_REPORT_RSP = 0x8100
    N_GET_RQ = 0x0110
    N_SET_RQ = 0x0120
    N_ACTION_RQ = 0x0130
    N_ACTION_RSP = 0x8130
    N_CREATE_RQ = 0x0140
    N_DELETE_RQ = 0x0150
    C_CANCEL_RQ = 0x0FFF


RESPONSE_BIT = 0x8000
REQUESTS = frozenset(field for field in CommandField if not field & RESPONSE_BIT)
NO_DATA_SET = 0x0101
_DATA_SET_FOLLOWS = 0x0001
MEDIUM_PRIORITY = 0x0000


class Element(IntEnum):
    """Element numbers of group 0000 (PS3.7 Table E.1-1)."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_BEING_RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    COMMAND_DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    OFFENDING_ELEMENT = 0x0901
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ACTION_TYPE_ID = 0x1008
    REMAINING_SUBOPERATIONS = 0x1020
    COMPLETED_SUBOPERATIONS = 0x1021
    FAILED_SUBOPERATIONS = 0x1022
    WARNING_SUBOPERATIONS = 0x1023
    MOVE_ORIGINATOR_AE_TITLE = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


_HEADER = struct.Struct("<HHI")
_US = struct.Struct("<H")
_US_ELEMENT = struct.Struct("<HHIH")
_GROUP_LENGTH = struct.Struct("<HHII")
_UIDS = frozenset(
    {
        Element.AFFECTED_SOP_CLASS_UID,
        Element.REQUESTED_SOP_CLASS_UID,
        Element.AFFECTED_SOP_INSTANCE_UID,
        Element.REQUESTED_SOP_INSTANCE_UID,
    }
)


@dataclass(frozen=True, slots=True)
class CommandSet:
    """The elements of one command, by element number, as raw values."""

    elements: Mapping[int, bytes] = field(default_factory=dict)

    def number(self, element: Element, default: int | None = None) -> int:
        """An US value. Raises ProtocolViolation when it is missing (without default) or not two bytes long."""
        value = self.elements.get(element)
        if value is None and default is not None:
            return default
        if value is None or len(value) != _US.size:
            raise ProtocolViolation(
                f"command element (0000,{element:04X}) missing or malformed", reason=AbortReason.UNEXPECTED_PARAMETER
            )
        number: int = _US.unpack(value)[0]
        return number

    def text(self, element: Element) -> str:
        """A UI, AE or LO value without its padding; "" when it is missing."""
        return self.elements.get(element, b"").decode("ascii", "replace").strip("\0 ")

    @property
    def has_data_set(self) -> bool:
        """Does a data set follow (PS3.7 E.1: any value but 0101H says so)?"""
        return self.number(Element.COMMAND_DATA_SET_TYPE, NO_DATA_SET) != NO_DATA_SET


def decode(data: bytes | bytearray) -> CommandSet:
    """Read a command set. Raises ProtocolViolation for anything that is not one."""
    elements: dict[int, bytes] = {}
    position, end = 0, len(data)
    while position < end:
        if end - position < _HEADER.size:
            raise ProtocolViolation("command set ends within an element", reason=AbortReason.INVALID_PARAMETER)
        group, element, length = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        if group or length > end - position:
            raise ProtocolViolation("command set is malformed", reason=AbortReason.INVALID_PARAMETER)
        elements[element] = bytes(data[position : position + length])
        position += length
    return CommandSet(elements)


def encode(values: Mapping[Element, int | str | bytes], *, has_data_set: bool) -> bytes:
    """A command set with its group length. Numbers become US, text is padded to even length as its VR says."""
    body = _elements({**values, Element.COMMAND_DATA_SET_TYPE: _DATA_SET_FOLLOWS if has_data_set else NO_DATA_SET})
    return _GROUP_LENGTH.pack(0, Element.GROUP_LENGTH, 4, len(body)) + body


class RequestTemplate:
    """A request with a data set, encoded once: from then on only its message ID and instance change."""

    def __init__(self, values: Mapping[Element, int | str | bytes]) -> None:
        """``values``: all but Message ID and Affected SOP Instance UID."""
        whole = {**values, Element.COMMAND_DATA_SET_TYPE: _DATA_SET_FOLLOWS}
        self._before_id = _elements({e: v for e, v in whole.items() if e < Element.MESSAGE_ID})
        after_id = {e: v for e, v in whole.items() if Element.MESSAGE_ID < e < Element.AFFECTED_SOP_INSTANCE_UID}
        self._after_id = _elements(after_id)
        self._after_uid = _elements({e: v for e, v in whole.items() if e > Element.AFFECTED_SOP_INSTANCE_UID})
        self._fixed_bytes = sum(map(len, (self._before_id, self._after_id, self._after_uid)))

    def encode(self, message_id: int, sop_instance_uid: str) -> bytes:
        """The command set, as ``encode`` gives it."""
        uid = _raw(Element.AFFECTED_SOP_INSTANCE_UID, sop_instance_uid)
        length = self._fixed_bytes + _HEADER.size + _US.size + _HEADER.size + len(uid)
        return b"".join(
            (
                _GROUP_LENGTH.pack(0, Element.GROUP_LENGTH, 4, length),
                self._before_id,
                _US_ELEMENT.pack(0, Element.MESSAGE_ID, _US.size, message_id),
                self._after_id,
                _HEADER.pack(0, Element.AFFECTED_SOP_INSTANCE_UID, len(uid)),
                uid,
                self._after_uid,
            )
        )


def _elements(values: Mapping[Element, int | str | bytes]) -> bytes:
    parts = []
    for element in sorted(values):
        value = _raw(element, values[element])
        parts.append(_HEADER.pack(0, element, len(value)) + value)
    return b"".join(parts)


def _raw(element: Element, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _US.pack(value)
    raw = value if isinstance(value, bytes) else value.encode("ascii", "replace")
    if len(raw) % 2:
        raw += b"\0" if element in _UIDS else b" "
    return raw
