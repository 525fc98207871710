"""Upper layer PDUs (PS3.8 9.3): a splitter for incoming bytes, and the small PDUs we send.

The splitter works in one fixed buffer. P-DATA values are handed on in pieces as they arrive, so that memory does not
depend on what the peer sends; every other PDU is collected, under a limit.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from pacsnode.errors import ProtocolViolation


class PduType(IntEnum):
    """PDU types of PS3.8 9.3."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class AbortReason(IntEnum):
    """Reasons of an A-ABORT from the service provider, source 2 (PS3.8 9.3.8)."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER = 6


class Fragment(NamedTuple):
    """A piece of a presentation data value. ``is_last``: the message part (command or data set) ends with it.

    ``data`` is a view of the splitter's buffer, valid until more bytes are received.
    """

    context_id: int
    is_command: bool
    is_last: bool
    data: memoryview


class ControlPdu(NamedTuple):
    """A whole PDU other than P-DATA, header included."""

    type: int
    data: bytes


@dataclass(frozen=True, slots=True)
class PduLimits:
    """The largest PDUs that are taken, in bytes of their length field."""

    association: int = 1 << 20
    p_data: int = 1 << 20


_PDU_HEADER = struct.Struct(">BxI")
_PDV_HEADER = struct.Struct(">IBB")
_P_DATA_HEADER = struct.Struct(">BxIIBB")
_PDU_HEADER_BYTES = 6
_PDV_HEADER_BYTES = 6
_FIXED_LENGTH = 4  # A-ASSOCIATE-RJ, A-RELEASE-RQ and -RP, A-ABORT
_COMMAND_BIT = 1  # PS3.8 E.2: bit 0 = command, bit 1 = last fragment; the others are not looked at
_LAST_BIT = 2

BUFFER_BYTES = 256 * 1024


class PduSplitter:
    """Received bytes in, PDU events out: the same events however the bytes were split.

    ::

        count = sock.recv_into(splitter.space())
        splitter.received(count)
        while (event := splitter.next_event()) is not None: …
    """

    def __init__(self, limits: PduLimits, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._limits = limits
        # Anonymous memory is only made real where bytes arrive: an idle association costs a page.
        self._buffer = memoryview(mmap.mmap(-1, buffer_bytes))
        self._start = 0
        self._end = 0
        self._pdu_left = 0  # bytes of the current P-DATA PDU behind _start
        self._pdv_left = 0  # bytes of the current presentation data value behind _start
        self._context_id = 0
        self._flags = 0
        self._control: bytearray | None = None
        self._control_bytes = 0
        self._pdus_begun = 0

    @property
    def is_within_pdu(self) -> bool:
        """Has a PDU begun to arrive that is not complete?"""
        return self._pdu_left > 0 or self._control is not None or self._end > self._start

    @property
    def current_pdu(self) -> int:
        """A number that changes when a PDU begins, and again when its header is complete."""
        is_between = self._control is None and not self._pdu_left
        return 2 * self._pdus_begun + is_between

    @property
    def missing_bytes(self) -> int:
        """How much of the current PDU is still to come, as far as known."""
        if self._control is not None:
            return self._control_bytes - len(self._control)
        return max(self._pdu_left - (self._end - self._start), 0)

    def space(self) -> memoryview:
        """Where to receive into: never empty. Invalidates the views handed out before."""
        left = self._end - self._start
        if left:
            self._buffer[:left] = bytes(self._buffer[self._start : self._end])
        self._start, self._end = 0, left
        return self._buffer[left:]

    def received(self, count: int) -> None:
        """Say how many bytes were put into ``space()``."""
        self._end += count

    def next_event(self) -> Fragment | ControlPdu | None:
        """The next event, or None when more bytes are needed. Raises ProtocolViolation."""
        while True:
            if self._control is not None:
                return self._collect_control()
            if self._pdv_left:
                return self._take_fragment()
            if self._pdu_left:
                if self._end - self._start < _PDV_HEADER_BYTES:
                    return None
                if (fragment := self._begin_value()) is not None:
                    return fragment
            elif self._end - self._start < _PDU_HEADER_BYTES:
                return None
            else:
                self._begin_pdu()

    def _begin_pdu(self) -> None:
        kind, length = _PDU_HEADER.unpack_from(self._buffer, self._start)
        self._pdus_begun += 1
        if kind == PduType.P_DATA:
            if length > self._limits.p_data:
                raise ProtocolViolation(f"P-DATA PDU of {length} bytes", reason=AbortReason.INVALID_PARAMETER)
            if length < _PDV_HEADER_BYTES:
                raise ProtocolViolation("P-DATA PDU without a value", reason=AbortReason.INVALID_PARAMETER)
            self._pdu_left = length
            self._start += _PDU_HEADER_BYTES
            return
        if kind in (PduType.ASSOCIATE_RQ, PduType.ASSOCIATE_AC):
            if length > self._limits.association:
                raise ProtocolViolation(f"association PDU of {length} bytes", reason=AbortReason.INVALID_PARAMETER)
        elif PduType.ASSOCIATE_RJ <= kind <= PduType.ABORT:
            if length != _FIXED_LENGTH:
                raise ProtocolViolation(
                    f"PDU of type {kind} with length {length}", reason=AbortReason.INVALID_PARAMETER
                )
        else:
            raise ProtocolViolation(f"unknown PDU type {kind}", reason=AbortReason.UNRECOGNIZED_PDU)
        self._control = bytearray()
        self._control_bytes = _PDU_HEADER_BYTES + length

    def _collect_control(self) -> ControlPdu | None:
        collected = self._control
        if collected is None:  # pragma: no cover - only called while collecting
            return None
        take = min(self._control_bytes - len(collected), self._end - self._start)
        collected += self._buffer[self._start : self._start + take]
        self._start += take
        if len(collected) < self._control_bytes:
            return None
        self._control = None
        return ControlPdu(collected[0], bytes(collected))

    def _begin_value(self) -> Fragment | None:
        """Read the header of a presentation data value; an empty value is a fragment at once (PS3.8 E.1)."""
        length, self._context_id, self._flags = _PDV_HEADER.unpack_from(self._buffer, self._start)
        self._start += _PDV_HEADER_BYTES
        size = length - 2
        left = self._pdu_left - _PDV_HEADER_BYTES
        if size < 0 or size > left or 0 < left - size < _PDV_HEADER_BYTES:
            raise ProtocolViolation(
                f"presentation data value of {length} bytes in a PDU with {self._pdu_left} left",
                reason=AbortReason.INVALID_PARAMETER,
            )
        self._pdu_left = left
        self._pdv_left = size
        return None if size else self._fragment(self._start, self._start)

    def _take_fragment(self) -> Fragment | None:
        start = self._start
        take = min(self._pdv_left, self._end - start)
        if not take:
            return None
        self._start = start + take
        self._pdu_left -= take
        self._pdv_left -= take
        return self._fragment(start, start + take)

    def _fragment(self, start: int, end: int) -> Fragment:
        is_last = bool(self._flags & _LAST_BIT) and not self._pdv_left
        return Fragment(self._context_id, bool(self._flags & _COMMAND_BIT), is_last, self._buffer[start:end])


def p_data_header(context_id: int, size: int, *, is_command: bool, is_last: bool) -> bytes:
    """Header of a P-DATA PDU that holds one value of ``size`` bytes, the value itself to follow."""
    flags = (_COMMAND_BIT if is_command else 0) | (_LAST_BIT if is_last else 0)
    return _P_DATA_HEADER.pack(PduType.P_DATA, size + _PDV_HEADER_BYTES, size + 2, context_id, flags)


def largest_value(peer_maximum_bytes: int, own_maximum_bytes: int) -> int:
    """Bytes of data that fit one P-DATA PDU. The peer's Maximum Length of 0 means no limit (PS3.8 D.1).

    Always even: there are receivers (DCMTK) that refuse fragments of odd length.
    """
    maximum = min(peer_maximum_bytes or own_maximum_bytes, own_maximum_bytes)
    return max(maximum - _PDV_HEADER_BYTES, 2) & ~1


def associate_rj(result: int, source: int, reason: int) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return struct.pack(">BxIxBBB", PduType.ASSOCIATE_RJ, _FIXED_LENGTH, result, source, reason)


def release_rq() -> bytes:
    """A-RELEASE-RQ (PS3.8 9.3.6)."""
    return struct.pack(">BxI4x", PduType.RELEASE_RQ, _FIXED_LENGTH)


def release_rp() -> bytes:
    """A-RELEASE-RP (PS3.8 9.3.7)."""
    return struct.pack(">BxI4x", PduType.RELEASE_RP, _FIXED_LENGTH)


def abort(source: int, reason: int = 0) -> bytes:
    """A-ABORT (PS3.8 9.3.8): source 0 = the service user, 2 = the service provider."""
    return struct.pack(">BxIxxBB", PduType.ABORT, _FIXED_LENGTH, source, reason)
