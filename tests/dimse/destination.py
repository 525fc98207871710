"""A C-STORE SCP in a thread, to be a move destination: refuses, answers and dies as it is told, and records."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from tests.dimse.raw_peer import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    DATA_SET_TYPE,
    NO_DATA_SET,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    Offer,
    Received,
    command_set,
    item,
    items_of,
    parse_elements,
    pdu,
    store_response,
    value,
)

_SECONDS = 10.0


@dataclass
class Destination:
    """Listens on a free port of loopback for the ``with`` block, with a thread for each association.

    Instances are numbered from 1 over all associations.
    """

    rejection: tuple[int, int, int] | None = None
    answer: Callable[[int], int] = lambda number: 0
    dies_at: int = 0
    """The instance within whose data set it closes, as it does with all that follow; 0 is never."""
    breaks_at: int = 0
    """The instance, by when it begins, within whose data set one association closes; 0 is never."""
    most: int = 1000
    """How many associations it takes; further ones are rejected for now."""
    hold_at: int = 0
    """The instance that it answers only after ``go_on``; ``held`` is set then. 0 is never."""
    takes: Callable[[Offer], bool] = lambda offer: True
    """Which presentation contexts it accepts, in the first syntax offered."""
    maximum_length: int = 16384
    first_words: bytes = b""
    """What it answers an association request with, before it closes; nothing is an acceptance."""
    goodbye: bytes = pdu(RELEASE_RP, bytes(4))
    """What it answers an A-RELEASE-RQ with."""

    port: int = field(init=False)
    received: list[Received] = field(init=False, default_factory=list)
    proposals: list[list[Offer]] = field(init=False, default_factory=list)
    titles: list[bytes] = field(init=False, default_factory=list)
    """Called and calling AE title of each association, 32 bytes."""
    endings: list[int] = field(init=False, default_factory=list)
    """The PDU type that ended each association; 0 where the connection just ended."""
    held: threading.Event = field(init=False, default_factory=threading.Event)
    go_on: threading.Event = field(init=False, default_factory=threading.Event)

    _begun: itertools.count[int] = field(init=False, default_factory=lambda: itertools.count(1))
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __enter__(self) -> Destination:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="destination", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_on.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(_SECONDS)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(_SECONDS)
            threading.Thread(target=self._run, args=(sock,), name="destination", daemon=True).start()

    def _run(self, sock: socket.socket) -> None:
        with sock:
            self.endings.append(self._serve(sock))

    def _serve(self, sock: socket.socket) -> int:
        """One association: the PDU type that ended it."""
        try:
            if not self._associate(sock):
                return ASSOCIATE_RJ
            while True:
                kind, body = _read_pdu(sock)
                if kind == RELEASE_RQ:
                    sock.sendall(self.goodbye)
                if kind in (RELEASE_RQ, ABORT):
                    return kind
                if not self._take_instance(sock, body):
                    return 0
        except OSError:
            return 0

    def _associate(self, sock: socket.socket) -> bool:
        kind, body = _read_pdu(sock)
        if kind != ASSOCIATE_RQ:
            raise OSError(f"PDU of type {kind} where an association was expected")
        self.titles.append(body[4:36])
        rejection = (2, 3, 2) if len(self.titles) > self.most else self.rejection
        if rejection is not None:
            sock.sendall(pdu(ASSOCIATE_RJ, bytes([0, *rejection])))
            return False
        if self.first_words:
            sock.sendall(self.first_words)
            return False
        offers = [_offer(content) for kind, content in items_of(body[68:]) if kind == 0x20]
        self.proposals.append(offers)
        contexts = b"".join(
            item(0x21, bytes([offer.context_id, 0, 0 if self.takes(offer) else 3, 0]) + _syntax(offer))
            for offer in offers
        )
        user = item(0x50, item(0x51, struct.pack(">I", self.maximum_length)) + item(0x52, b"1.2.3.5"))
        sock.sendall(pdu(ASSOCIATE_AC, body[:68] + item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user))
        return True

    def _take_instance(self, sock: socket.socket, first: bytes) -> bool:
        """Take and answer one C-STORE whose first PDU has been read; False when this is where it dies."""
        context_id = first[4]
        command = _read_part(sock, first)
        _, body = _read_pdu(sock)
        if len(self.received) + 1 == self.dies_at or next(self._begun) == self.breaks_at:
            return False
        data = _read_part(sock, body)
        elements = {tag & 0xFFFF: raw for tag, raw in parse_elements(command).items()}
        request = Received(context_id, elements, data)
        with self._lock:
            if len(self.received) + 1 == self.dies_at:
                return False
            self.received.append(request)
            number = len(self.received)
        if number == self.hold_at:
            self.held.set()
            self.go_on.wait(_SECONDS)
        response = command_set({DATA_SET_TYPE: NO_DATA_SET, **store_response(request, self.answer(number))})
        sock.sendall(pdu(P_DATA, value(context_id, 3, response)))
        return True


def _offer(content: bytes) -> Offer:
    subitems = items_of(content[4:])
    abstract = next(raw.decode() for kind, raw in subitems if kind == 0x30)
    return Offer(content[0], abstract, tuple(raw.decode() for kind, raw in subitems if kind == 0x40))


def _syntax(offer: Offer) -> bytes:
    return item(0x40, offer.transfer_syntaxes[0].encode())


def _read_part(sock: socket.socket, body: bytes) -> bytes:
    """A command or data set that begins with this P-DATA PDU, one value in each."""
    collected = bytearray(body[6:])
    while not body[5] & 2:
        _, body = _read_pdu(sock)
        collected += body[6:]
    return bytes(collected)


def _read_pdu(sock: socket.socket) -> tuple[int, bytes]:
    kind, length = struct.unpack(">BxI", _read(sock, 6))
    return kind, _read(sock, length)


def _read(sock: socket.socket, count: int) -> bytes:
    collected = bytearray()
    while len(collected) < count:
        chunk = sock.recv(count - len(collected))
        if not chunk:
            raise OSError("closed")
        collected += chunk
    return bytes(collected)
