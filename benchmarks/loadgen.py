"""The load generator: a service class user on a raw socket. Its own cost is small, so that it measures the server."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from benchmarks.associate import Offer, associate_rq, context_id, read_associate_ac
from benchmarks.connection import CommandFields, Connection, Ended, Message, Writing
from benchmarks.dataset import DataSet
from pacsnode.wire.command import CommandField, Element, encode
from pacsnode.wire.message import Parts, command_parts, data_set_parts
from pacsnode.wire.pdu import PduType, largest_value, release_rq

CALLING_AE = "BENCH"
VERIFICATION = "1.2.840.10008.1.1"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"
IMPLICIT = "1.2.840.10008.1.2"

MAXIMUM_PDU_BYTES = 131072  # the largest that DCMTK, and Orthanc with it, takes and sends
_SUCCESS = 0x0000
_PENDING = (0xFF00, 0xFF01)
_TIMEOUT_SECONDS = 300.0
_UI_TAGS = (0x00080018, 0x0020000D, 0x0020000E)


class Refused(Exception):
    """The server did not do what was asked: the association's or the operation's end, in words."""


@dataclass(frozen=True, slots=True)
class Papers:
    """What a client needs for TLS, as paths of PEM files, which other processes can be given."""

    ca: Path
    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """A client's side of TLS."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(self.certificate, self.key)
        return context


@dataclass(frozen=True, slots=True)
class Called:
    """A server on loopback; ``papers`` where it is called by TLS."""

    port: int
    ae_title: str
    papers: Papers | None = None


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What came of a C-GET or C-MOVE; the bytes of a C-MOVE went elsewhere and are 0 here."""

    instances: int
    failed: int
    data_bytes: int


class Association:
    """One association; leaving the ``with`` block releases it."""

    def __init__(
        self,
        called: Called,
        offers: Sequence[Offer],
        *,
        writing: Writing = Writing.GATHERED,
        timeout_seconds: float = _TIMEOUT_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        sock = socket.create_connection(("127.0.0.1", called.port), timeout=timeout_seconds)
        try:
            if tls is None and called.papers is not None:
                tls = called.papers.context()
            if tls is not None:
                sock = tls.wrap_socket(sock, server_hostname="localhost")
            self._connection = Connection(sock, writing)
            self._associate(called, offers)
        except BaseException:
            sock.close()
            raise

    def _associate(self, called: Called, offers: Sequence[Offer]) -> None:
        self._connection.send([associate_rq(called.ae_title, CALLING_AE, offers, MAXIMUM_PDU_BYTES)])
        answer = self._connection.next_control()
        if answer.type != PduType.ASSOCIATE_AC:
            raise Refused(f"{called.ae_title} answered with {PduType(answer.type).name}")
        accepted = read_associate_ac(answer.data)
        ids = {offer.abstract_syntax: context_id(position) for position, offer in enumerate(offers)}
        self._contexts = {syntax: number for syntax, number in ids.items() if number in accepted.context_ids}
        self._largest = largest_value(accepted.maximum_bytes, MAXIMUM_PDU_BYTES)
        self._message_id = 0

    def __enter__(self) -> Association:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.release()
        self._connection.close()

    def release(self) -> None:
        """Release and close."""
        self._connection.send([release_rq()])
        self._connection.next_control()
        self._connection.close()

    def echo(self) -> None:
        """C-ECHO. Raises Refused."""
        context = self._context(VERIFICATION)
        fields = self._request(CommandField.C_ECHO_RQ, VERIFICATION)
        self._connection.send_command(context, fields, self._largest)
        self._require(self._connection.next_message(), "C-ECHO")

    def store(self, data_set: DataSet) -> int:
        """C-STORE: the status."""
        context = self._context(data_set.sop_class_uid)
        fields = self._request(CommandField.C_STORE_RQ, data_set.sop_class_uid)
        fields[Element.PRIORITY] = 0
        fields[Element.AFFECTED_SOP_INSTANCE_UID] = data_set.sop_instance_uid
        self._send(context, fields, data_set.pieces)
        return self._connection.next_message().command.number(Element.STATUS)

    def find(self, keys: Mapping[int, str]) -> int:
        """C-FIND, Study Root: how many matches. Raises Refused."""
        self._query(CommandField.C_FIND_RQ, STUDY_FIND, keys)
        matches = 0
        while _status(message := self._connection.next_message()) in _PENDING:
            matches += 1
        self._require(message, "C-FIND")
        return matches

    def move(self, keys: Mapping[int, str], destination: str) -> Retrieved:
        """C-MOVE, Study Root. Raises Refused."""
        self._query(CommandField.C_MOVE_RQ, STUDY_MOVE, keys, destination=destination)
        while _status(message := self._connection.next_message()) in _PENDING:
            pass
        self._require(message, "C-MOVE")
        return _counts(message, 0)

    def get(self, keys: Mapping[int, str]) -> Retrieved:
        """C-GET, Study Root; every instance is taken, counted and dropped. Raises Refused."""
        self._query(CommandField.C_GET_RQ, STUDY_GET, keys)
        data_bytes = 0
        while True:
            message = self._connection.next_message()
            if message.command.number(Element.COMMAND_FIELD) == CommandField.C_STORE_RQ:
                data_bytes += message.data_bytes
                self._connection.send_command(message.context_id, store_response(message), self._largest)
            elif _status(message) not in _PENDING:
                self._require(message, "C-GET")
                return _counts(message, data_bytes)

    def _context(self, abstract_syntax: str) -> int:
        if abstract_syntax not in self._contexts:
            raise Refused(f"presentation context for {abstract_syntax} was not accepted")
        return self._contexts[abstract_syntax]

    def _request(self, field: CommandField, sop_class: str) -> dict[Element, int | str | bytes]:
        self._message_id = self._message_id % 0xFFFF + 1
        return {
            Element.AFFECTED_SOP_CLASS_UID: sop_class,
            Element.COMMAND_FIELD: field,
            Element.MESSAGE_ID: self._message_id,
        }

    def _query(self, field: CommandField, model: str, keys: Mapping[int, str], *, destination: str = "") -> None:
        fields = self._request(field, model)
        fields[Element.PRIORITY] = 0
        if destination:
            fields[Element.MOVE_DESTINATION] = destination
        self._send(self._context(model), fields, [identifier(keys)])

    def _send(self, context: int, fields: CommandFields, pieces: Sequence[bytes]) -> None:
        parts: Parts = command_parts(context, encode(fields, has_data_set=True), self._largest)
        last = len(pieces) - 1
        for position, piece in enumerate(pieces):
            parts += data_set_parts(context, memoryview(piece), self._largest, ends=position == last)
        self._connection.send(parts)

    def _require(self, message: Message, operation: str) -> None:
        status = _status(message)
        if status != _SUCCESS:
            raise Refused(f"{operation} ended with status {status:04X}")


def answers(called: Called) -> bool:
    """Does the server associate and echo now?"""
    try:
        with Association(called, [Offer(VERIFICATION, IMPLICIT)]) as association:
            association.echo()
    except (OSError, Ended, Refused):
        return False
    return True


def identifier(keys: Mapping[int, str]) -> bytes:
    """An identifier in implicit VR little endian."""
    encoded = b""
    for tag, text in sorted(keys.items()):
        value = text.encode()
        if len(value) % 2:
            value += b"\0" if tag in _UI_TAGS else b" "
        encoded += struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value
    return encoded


def store_response(request: Message) -> CommandFields:
    """C-STORE-RSP Success (PS3.7 9.3.1.2)."""
    elements = request.command.elements
    return {
        Element.AFFECTED_SOP_CLASS_UID: elements[Element.AFFECTED_SOP_CLASS_UID],
        Element.COMMAND_FIELD: CommandField.C_STORE_RSP,
        Element.MESSAGE_ID_BEING_RESPONDED_TO: elements[Element.MESSAGE_ID],
        Element.STATUS: _SUCCESS,
        Element.AFFECTED_SOP_INSTANCE_UID: elements[Element.AFFECTED_SOP_INSTANCE_UID],
    }


def _status(message: Message) -> int:
    return message.command.number(Element.STATUS)


def _counts(message: Message, data_bytes: int) -> Retrieved:
    completed = message.command.number(Element.COMPLETED_SUBOPERATIONS, 0)
    return Retrieved(completed, message.command.number(Element.FAILED_SUBOPERATIONS, 0), data_bytes)
