"""DIMSE messages on a blocking socket, for the load generator and the sink. Data sets are counted, not kept."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from pacsnode.wire.command import CommandSet, Element, decode, encode
from pacsnode.wire.message import Parts, command_parts
from pacsnode.wire.pdu import ControlPdu, Fragment, PduLimits, PduSplitter, PduType

_BUFFER_BYTES = 1024 * 1024
_LIMITS = PduLimits(association=1 << 20, p_data=1 << 24)
_PARTS_PER_CALL = 1000  # Linux takes 1024 (IOV_MAX)

CommandFields = Mapping[Element, int | str | bytes]

_decoded = lru_cache(maxsize=8)(decode)
"""All pending responses to a query are the same: what is measured is the server, not us."""


class Ended(Exception):
    """The other side sent something else than a message: release, abort, or the end of the connection (None)."""

    def __init__(self, kind: PduType | None) -> None:
        super().__init__("closed" if kind is None else kind.name)
        self.kind = kind


class Writing(Enum):
    """How bytes are given to the socket."""

    GATHERED = "TCP_NODELAY"
    """A whole message in as few system calls as possible, TCP_NODELAY set."""
    PIECEMEAL = "default socket options"
    """Header and value of every PDU in a call of their own, Nagle's algorithm on: as many modalities do."""


@dataclass(frozen=True, slots=True)
class Message:
    """A DIMSE message; of its data set only the size."""

    context_id: int
    command: CommandSet
    data_bytes: int


class Connection:
    """One TCP connection, used by one thread."""

    def __init__(self, sock: socket.socket, writing: Writing = Writing.GATHERED) -> None:
        self._socket = sock
        self._splitter = PduSplitter(_LIMITS, _BUFFER_BYTES)
        self._writing = writing
        if writing is Writing.GATHERED:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, parts: Parts) -> None:
        """Send all parts in order."""
        if self._writing is Writing.PIECEMEAL:
            for part in parts:
                self._socket.sendall(part)
            return
        for start in range(0, len(parts), _PARTS_PER_CALL):
            self._send_gathered(parts[start : start + _PARTS_PER_CALL])

    def send_command(self, context_id: int, fields: CommandFields, largest_value: int) -> None:
        """Send a command without a data set."""
        self.send(command_parts(context_id, encode(fields, has_data_set=False), largest_value))

    def next_control(self) -> ControlPdu:
        """The next PDU, which may not be P-DATA."""
        event = self._next_event()
        if isinstance(event, Fragment):
            raise Ended(PduType.P_DATA)
        return event

    def next_message(self) -> Message:
        """The next message to its end. Raises Ended."""
        command = bytearray()
        decoded: CommandSet | None = None
        data_bytes = 0
        while True:
            event = self._next_event()
            if isinstance(event, ControlPdu):
                raise Ended(PduType(event.type))
            if event.is_command:
                command += event.data
                if event.is_last:
                    decoded = _decoded(bytes(command))
                    if not decoded.has_data_set:
                        return Message(event.context_id, decoded, 0)
                continue
            data_bytes += len(event.data)
            if event.is_last and decoded is not None:
                return Message(event.context_id, decoded, data_bytes)

    def _next_event(self) -> Fragment | ControlPdu:
        while (event := self._splitter.next_event()) is None:
            if self._writing is Writing.GATHERED:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            count = self._socket.recv_into(self._splitter.space())
            if not count:
                raise Ended(None)
            self._splitter.received(count)
        return event

    def _send_gathered(self, parts: Parts) -> None:
        if isinstance(self._socket, ssl.SSLSocket):
            self._socket.sendall(b"".join(parts))  # TLS gathers nothing: records are as long as what they are given
            return
        sent = self._socket.sendmsg(parts)
        for index, part in enumerate(parts):
            if sent < len(part):
                rest = [memoryview(part)[sent:], *parts[index + 1 :]]
                self._send_gathered(rest)
                return
            sent -= len(part)
