"""A DIMSE peer on a raw socket that shares no code with ours: what it sends may be as wrong as a test wants it."""

from __future__ import annotations

import fcntl
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_2000 = "1.2.840.10008.1.2.4.90"

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
PATIENT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)

# Elements of group 0000 (PS3.7 Annex E).
SOP_CLASS, COMMAND, MESSAGE_ID, RESPONDED_TO = 0x0002, 0x0100, 0x0110, 0x0120
MOVE_DESTINATION, PRIORITY, DATA_SET_TYPE, STATUS = 0x0600, 0x0700, 0x0800, 0x0900
OFFENDING_ELEMENT, ERROR_COMMENT, SOP_INSTANCE = 0x0901, 0x0902, 0x1000
REMAINING, COMPLETED, FAILED, WARNING = 0x1020, 0x1021, 0x1022, 0x1023
ORIGINATOR_AE, ORIGINATOR_ID = 0x1030, 0x1031

C_STORE, C_GET, C_FIND, C_MOVE, C_ECHO, C_CANCEL = 0x0001, 0x0010, 0x0020, 0x0021, 0x0030, 0x0FFF
RESPONSE = 0x8000
NO_DATA_SET = 0x0101
PENDING = (0xFF00, 0xFF01)

Fields = dict[int, int | str | bytes]
"""Elements of a command set; numbers become US, text is padded."""

_SECONDS = 10.0
_UIDS = (SOP_CLASS, SOP_INSTANCE)


@dataclass(frozen=True)
class Offer:
    """A proposed presentation context."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...] = (IMPLICIT,)


@dataclass(frozen=True)
class Accepted:
    """An A-ASSOCIATE-AC: results by context id as (result, transfer syntax), roles as (SCU, SCP)."""

    results: Mapping[int, tuple[int, str]]
    roles: Mapping[str, tuple[int, int]]
    window: tuple[int, int] | None
    maximum_length: int
    titles: bytes
    user_items: tuple[int, ...]
    """Types of the sub-items of the user information."""


@dataclass(frozen=True)
class Received:
    """A DIMSE message."""

    context_id: int
    elements: Mapping[int, bytes]
    data_set: bytes | None = None

    def number(self, element: int) -> int | None:
        """The value of an US element; None when it is absent."""
        raw = self.elements.get(element)
        return None if raw is None else int(struct.unpack("<H", raw)[0])

    def text(self, element: int) -> str:
        """The value of a UI, AE or LO element without padding."""
        return self.elements[element].decode("ascii").rstrip("\0 ")

    @property
    def status(self) -> int | None:
        """Status (0000,0900)."""
        return self.number(STATUS)

    @property
    def counters(self) -> tuple[int | None, int | None, int | None, int | None]:
        """Remaining, completed, failed and warning sub-operations."""
        return self.number(REMAINING), self.number(COMPLETED), self.number(FAILED), self.number(WARNING)


def pdu(kind: int, body: bytes, *, length: int | None = None) -> bytes:
    """A PDU; its length field may lie."""
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def item(kind: int, body: bytes) -> bytes:
    """An item or sub-item of an association PDU."""
    return struct.pack(">BxH", kind, len(body)) + body


def role(sop_class: str, *, scu: int, scp: int) -> bytes:
    """An SCP/SCU role selection sub-item (PS3.7 D.3.3.4)."""
    uid = sop_class.encode()
    return item(0x54, struct.pack(">H", len(uid)) + uid + bytes([scu, scp]))


def window(invoked: int, performed: int) -> bytes:
    """An asynchronous operations window sub-item (PS3.7 D.3.3.3)."""
    return item(0x53, struct.pack(">HH", invoked, performed))


def associate_rq(
    offers: Iterable[Offer],
    *,
    called: bytes = b"PACSNODE",
    calling: bytes = b"TESTER",
    maximum_length: int = 16384,
    user_items: bytes = b"",
    items: bytes = b"",
    application_context: str = APPLICATION_CONTEXT,
    version: int = 1,
) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2); ``items`` and ``user_items`` are put in as they are."""
    contexts = b"".join(
        item(
            0x20,
            bytes([offer.context_id, 0, 0, 0])
            + item(0x30, offer.abstract_syntax.encode())
            + b"".join(item(0x40, syntax.encode()) for syntax in offer.transfer_syntaxes),
        )
        for offer in offers
    )
    user = item(0x51, struct.pack(">I", maximum_length)) + item(0x52, b"1.2.3.4") + user_items
    titles = called.ljust(16)[:16] + calling.ljust(16)[:16]
    fixed = struct.pack(">Hxx", version) + titles + bytes(32)
    return pdu(ASSOCIATE_RQ, fixed + item(0x10, application_context.encode()) + items + contexts + item(0x50, user))


def value(context_id: int, flags: int, data: bytes) -> bytes:
    """A presentation data value; flags: 1 = command, 2 = last (PS3.8 E.2)."""
    return struct.pack(">IBB", len(data) + 2, context_id, flags) + data


def command_set(fields: Fields) -> bytes:
    """A command set with its group length (PS3.7 6.3.1)."""
    body = b""
    for element, given in sorted(fields.items()):
        if isinstance(given, int):
            raw = struct.pack("<H", given)
        else:
            raw = given.encode() if isinstance(given, str) else given
        if len(raw) % 2:
            raw += b"\0" if element in _UIDS else b" "
        body += struct.pack("<HHI", 0, element, len(raw)) + raw
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def identifier(pairs: Mapping[int, str | bytes]) -> bytes:
    """An identifier in implicit VR little endian."""
    encoded = b""
    for tag, given in sorted(pairs.items()):
        raw = given.encode() if isinstance(given, str) else given
        if len(raw) % 2:
            raw += b"\0" if raw.replace(b".", b"").replace(b"\\", b"").isdigit() else b" "
        encoded += struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(raw)) + raw
    return encoded


class Rejected(Exception):
    """An A-ASSOCIATE-RJ."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(f"{result}/{source}/{reason}")
        self.triple = (result, source, reason)


class Aborted(Exception):
    """An A-ABORT."""

    def __init__(self, source: int, reason: int) -> None:
        super().__init__(f"{source}/{reason}")
        self.source_and_reason = (source, reason)


class Closed(Exception):
    """The connection ended where a PDU was expected."""


@dataclass
class RawPeer:
    """One connection to the node. Leaving the ``with`` block closes it without a word."""

    port: int
    message_id: int = 0
    maximum_length: int = 16384
    tls: ssl.SSLContext | None = None
    source: str = ""
    _socket: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self._socket = socket.create_connection(
            ("127.0.0.1", self.port), timeout=_SECONDS, source_address=(self.source, 0)
        )
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is not None:
            self._socket = self.tls.wrap_socket(self._socket, server_hostname="127.0.0.1")

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection without release."""
        self._socket.close()

    def reset(self) -> None:
        """Break the connection: the other side gets a TCP reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def flush(self) -> None:
        """Wait until the other side's system has everything that was sent."""
        deadline = time.monotonic() + _SECONDS
        while struct.unpack("i", fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)))[0]:
            if time.monotonic() > deadline:
                raise TimeoutError("not taken")

    def read_pdu(self) -> tuple[int, bytes]:
        """The next PDU: type and body. Raises Closed."""
        head = self._read(6)
        kind, length = struct.unpack(">BxI", head)
        return kind, self._read(length)

    def read_end(self) -> None:
        """The other side has to close now, and to send nothing before."""
        rest = self._socket.recv(64)
        if rest:
            raise AssertionError(f"more bytes where the end was expected: {rest!r}")

    def expect(self, kind: int) -> bytes:
        """Body of the next PDU, which has to be of this type. Raises Rejected, Aborted."""
        got, body = self.read_pdu()
        if got == ASSOCIATE_RJ:
            raise Rejected(body[1], body[2], body[3])
        if got == ABORT:
            raise Aborted(body[2], body[3])
        if got != kind:
            raise AssertionError(f"PDU of type {got} where {kind} was expected")
        return body

    def associate(
        self, offers: Iterable[Offer] = (Offer(1, VERIFICATION),), *, request: bytes | None = None
    ) -> Accepted:
        """Ask for an association. Raises Rejected, Aborted."""
        self.send(associate_rq(offers) if request is None else request)
        answer = _accepted(self.expect(ASSOCIATE_AC))
        self.maximum_length = answer.maximum_length
        return answer

    def release(self) -> None:
        """Release in good order and wait until the other side has answered."""
        self.send(pdu(RELEASE_RQ, bytes(4)))
        self.expect(RELEASE_RP)
        self.close()

    def send_command(self, context_id: int, fields: Fields, *, has_data_set: bool = False) -> None:
        """A command set in one P-DATA PDU."""
        whole = {DATA_SET_TYPE: 1 if has_data_set else NO_DATA_SET, **fields}
        self.send(pdu(P_DATA, value(context_id, 3, command_set(whole))))

    def send_data_set(self, context_id: int, data: bytes, *, piece: int | None = None) -> None:
        """A data set in pieces of so many bytes; by default as large as the other side takes."""
        size = piece or self.maximum_length - 6
        starts = range(0, max(len(data), 1), size)
        self.send(
            b"".join(
                pdu(P_DATA, value(context_id, 2 if start + size >= len(data) else 0, data[start : start + size]))
                for start in starts
            )
        )

    def read_message(self) -> Received:
        """The next message, with its data set. Raises Aborted, Closed."""
        context_id, command = self._read_part(is_command=True)
        elements = _elements(command)
        if struct.unpack("<H", elements[DATA_SET_TYPE])[0] == NO_DATA_SET:
            return Received(context_id, elements)
        return Received(context_id, elements, self._read_part(is_command=False)[1])

    def next_id(self) -> int:
        """A message ID of its own for each request."""
        self.message_id += 1
        return self.message_id

    def echo(self, context_id: int = 1) -> int | None:
        """C-ECHO: the status."""
        self.send_command(context_id, {SOP_CLASS: VERIFICATION, COMMAND: C_ECHO, MESSAGE_ID: self.next_id()})
        return self.read_message().status

    def start_store(self, context_id: int, sop_class: str, uid: str) -> None:
        """The command of a C-STORE, its data set to follow."""
        self.send_command(context_id, _store_fields(sop_class, uid, self.next_id()), has_data_set=True)

    def store(self, context_id: int, sop_class: str, uid: str, data: bytes, *, piece: int | None = None) -> Received:
        """C-STORE: the response."""
        self.start_store(context_id, sop_class, uid)
        self.send_data_set(context_id, data, piece=piece)
        return self.read_message()

    def start_query(self, context_id: int, command: int, sop_class: str, keys: bytes, **more: int | str) -> int:
        """A C-FIND, C-MOVE or C-GET request; ``more``: priority, destination. Its message ID."""
        message_id = self.next_id()
        fields: Fields = {
            SOP_CLASS: sop_class,
            COMMAND: command,
            MESSAGE_ID: message_id,
            PRIORITY: more.get("priority", 0),
        }
        if "destination" in more:
            fields[MOVE_DESTINATION] = more["destination"]
        self.send_command(context_id, fields, has_data_set=True)
        self.send_data_set(context_id, keys)
        return message_id

    def cancel(self, context_id: int, message_id: int) -> None:
        """C-CANCEL (PS3.7 9.3.2.3)."""
        self.send_command(context_id, {COMMAND: C_CANCEL, RESPONDED_TO: message_id})

    def responses(self) -> list[Received]:
        """All responses to a query or retrieve, the final one last."""
        answers = [self.read_message()]
        while answers[-1].status in PENDING:
            answers.append(self.read_message())
        return answers

    def get(
        self,
        context_id: int,
        sop_class: str,
        keys: bytes,
        *,
        answer: Callable[[int], int] = lambda number: 0,
        priority: int = 0,
    ) -> tuple[list[Received], list[Received]]:
        """C-GET, each sub-operation answered with ``answer(its number from 1)``: instances and responses."""
        self.start_query(context_id, C_GET, sop_class, keys, priority=priority)
        return self.take_instances(answer)

    def take_instances(self, answer: Callable[[int], int]) -> tuple[list[Received], list[Received]]:
        """Be SCP of a running C-GET to its end: instances and responses."""
        instances: list[Received] = []
        responses: list[Received] = []
        while not responses or responses[-1].status in PENDING:
            message = self.read_message()
            if message.number(COMMAND) != C_STORE:
                responses.append(message)
                continue
            instances.append(message)
            self.answer_store(message, answer(len(instances)))
        return instances, responses

    def answer_store(self, request: Received, status: int) -> None:
        """C-STORE response."""
        self.send_command(request.context_id, store_response(request, status))

    def _read(self, count: int) -> bytes:
        collected = bytearray()
        while len(collected) < count:
            try:
                chunk = self._socket.recv(count - len(collected))
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise Closed(f"closed after {len(collected)} of {count} bytes")
            collected += chunk
        return bytes(collected)

    def _read_part(self, *, is_command: bool) -> tuple[int, bytes]:
        """A whole command or data set; the node puts one value into each PDU."""
        collected = bytearray()
        while True:
            body = self.expect(P_DATA)
            length, context_id, flags = struct.unpack(">IBB", body[:6])
            assert length + 4 == len(body)
            assert bool(flags & 1) == is_command
            collected += body[6:]
            if flags & 2:
                return context_id, bytes(collected)


def store_response(request: Received, status: int) -> Fields:
    """The fields of a C-STORE response."""
    return {
        SOP_CLASS: request.elements[SOP_CLASS],
        COMMAND: C_STORE | RESPONSE,
        RESPONDED_TO: request.number(MESSAGE_ID) or 0,
        STATUS: status,
        SOP_INSTANCE: request.elements[SOP_INSTANCE],
    }


def parse_elements(data: bytes) -> dict[int, bytes]:
    """Raw values of an implicit VR little endian data set without sequences, by tag."""
    found: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        group, element, length = struct.unpack_from("<HHI", data, position)
        found[group << 16 | element] = data[position + 8 : position + 8 + length]
        position += 8 + length
    return found


def _store_fields(sop_class: str, uid: str, message_id: int) -> Fields:
    return {SOP_CLASS: sop_class, COMMAND: C_STORE, MESSAGE_ID: message_id, PRIORITY: 0, SOP_INSTANCE: uid}


def _elements(command: bytes) -> dict[int, bytes]:
    return {tag & 0xFFFF: raw for tag, raw in parse_elements(command).items()}


def _accepted(body: bytes) -> Accepted:
    results: dict[int, tuple[int, str]] = {}
    roles: dict[str, tuple[int, int]] = {}
    asynchronous, maximum_length = None, 0
    kinds: list[int] = []
    for kind, content in items_of(body[68:]):
        if kind == 0x21:
            syntaxes = [raw.decode() for _, raw in items_of(content[4:])]
            results[content[0]] = (content[2], syntaxes[0] if syntaxes else "")
        for sub_kind, raw in items_of(content) if kind == 0x50 else ():
            kinds.append(sub_kind)
            if sub_kind == 0x51:
                maximum_length = struct.unpack(">I", raw)[0]
            elif sub_kind == 0x53:
                asynchronous = struct.unpack(">HH", raw)
            elif sub_kind == 0x54:
                roles[raw[2:-2].decode()] = (raw[-2], raw[-1])
    return Accepted(results, roles, asynchronous, maximum_length, body[4:36], tuple(kinds))


def items_of(data: bytes) -> Sequence[tuple[int, bytes]]:
    """Items of an association PDU, or sub-items of one: type and content."""
    found = []
    position = 0
    while position < len(data):
        kind, length = struct.unpack_from(">BxH", data, position)
        found.append((kind, data[position + 4 : position + 4 + length]))
        position += 4 + length
    return found
