"""Association PDUs (PS3.8 9.3.2, 9.3.3) as far as the load generator and the sink need them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pacsnode.wire.pdu import PduType

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
_IMPLEMENTATION = "2.25.311"
_HEADER_BYTES = 6
_FIXED_BYTES = 68  # version, titles, reserved
_TITLES = slice(4, 36)
_ACCEPTED = 0
_APPLICATION, _OFFER, _ANSWER, _ABSTRACT, _TRANSFER, _USER = 0x10, 0x20, 0x21, 0x30, 0x40, 0x50
_MAXIMUM_LENGTH, _IMPLEMENTATION_CLASS, _ROLE = 0x51, 0x52, 0x54


@dataclass(frozen=True, slots=True)
class Offer:
    """A proposed presentation context; ``as_scp``: we want to receive C-STOREs on it (PS3.7 D.3.3.4)."""

    abstract_syntax: str
    transfer_syntax: str
    as_scp: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the acceptor granted: the ids of the contexts, and the largest PDU it takes (0: no limit)."""

    context_ids: frozenset[int]
    maximum_bytes: int


def context_id(position: int) -> int:
    """The id of the offer at this position: odd numbers (PS3.8 9.3.2.2)."""
    return 2 * position + 1


def associate_rq(called: str, calling: str, offers: Sequence[Offer], maximum_bytes: int) -> bytes:
    """An A-ASSOCIATE-RQ."""
    contexts = b"".join(
        item(
            _OFFER,
            bytes([context_id(position), 0, 0, 0])
            + item(_ABSTRACT, offer.abstract_syntax.encode())
            + item(_TRANSFER, offer.transfer_syntax.encode()),
        )
        for position, offer in enumerate(offers)
    )
    roles = b"".join(_role(offer.abstract_syntax) for offer in offers if offer.as_scp)
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    body = struct.pack(">Hxx", 1) + titles + bytes(32) + item(_APPLICATION, APPLICATION_CONTEXT.encode())
    return pdu(PduType.ASSOCIATE_RQ, body + contexts + _user_information(maximum_bytes, roles))


def read_associate_ac(answer: bytes) -> Accepted:
    """Read an A-ASSOCIATE-AC."""
    accepted, maximum_bytes = set(), 0
    for kind, content in _items(answer[_HEADER_BYTES + _FIXED_BYTES :]):
        if kind == _ANSWER and content[2] == _ACCEPTED:
            accepted.add(content[0])
        elif kind == _USER:
            lengths = [value for subkind, value in _items(content) if subkind == _MAXIMUM_LENGTH]
            maximum_bytes = int.from_bytes(lengths[0], "big") if lengths else 0
    return Accepted(frozenset(accepted), maximum_bytes)


def associate_ac(request: bytes, maximum_bytes: int) -> bytes:
    """An A-ASSOCIATE-AC that accepts every context of the request in the first transfer syntax offered."""
    body = request[_HEADER_BYTES:]
    answers = b""
    for kind, content in _items(body[_FIXED_BYTES:]):
        if kind == _OFFER:
            syntax = next(value for subkind, value in _items(content[4:]) if subkind == _TRANSFER)
            answers += item(_ANSWER, bytes([content[0], 0, _ACCEPTED, 0]) + item(_TRANSFER, syntax))
    fixed = struct.pack(">Hxx", 1) + body[_TITLES] + bytes(32) + item(_APPLICATION, APPLICATION_CONTEXT.encode())
    return pdu(PduType.ASSOCIATE_AC, fixed + answers + _user_information(maximum_bytes, b""))


def _user_information(maximum_bytes: int, roles: bytes) -> bytes:
    length = item(_MAXIMUM_LENGTH, struct.pack(">I", maximum_bytes))
    return item(_USER, length + item(_IMPLEMENTATION_CLASS, _IMPLEMENTATION.encode()) + roles)


def _role(sop_class: str) -> bytes:
    uid = sop_class.encode()
    return item(_ROLE, struct.pack(">H", len(uid)) + uid + bytes([0, 1]))


def pdu(kind: PduType, body: bytes, *, length: int | None = None) -> bytes:
    """A PDU; its length field may lie."""
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def item(kind: int, body: bytes) -> bytes:
    """An item or sub-item of an association PDU."""
    return struct.pack(">BxH", kind, len(body)) + body


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        kind, length = struct.unpack_from(">BxH", data, position)
        yield kind, data[position + 4 : position + 4 + length]
        position += 4 + length
