"""Hostile peers, all in one process on one thread: ``python -m tests.system.hostile PORT SECONDS`` from loopback.

Each attacker follows a script, and begins again when it has come to its end or was refused. At the end one line of JSON
tells how often each kind was there.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import itertools
import json
import selectors
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field

from tests.dimse.raw_peer import (
    C_STORE,
    COMMAND,
    CT,
    DATA_SET_TYPE,
    MESSAGE_ID,
    P_DATA,
    PRIORITY,
    SOP_CLASS,
    SOP_INSTANCE,
    VERIFICATION,
    Offer,
    associate_rq,
    command_set,
    item,
    pdu,
    value,
)

_AGAIN_SECONDS = 0.5  # the least time between two beginnings of one attacker
_CHUNK = bytes(64 * 1024)
_MIB = 1 << 20
_ITEM_LIMIT = 65_000


@dataclass(frozen=True)
class Say:
    """Send these bytes, as fast as they are taken."""

    data: bytes


@dataclass(frozen=True)
class Hear:
    """Wait until something comes, or the end."""


Script = Generator[Say | Hear, None, None]
_HEAR = Hear()
_STORE = command_set(
    {SOP_CLASS: CT, COMMAND: C_STORE, MESSAGE_ID: 1, PRIORITY: 0, DATA_SET_TYPE: 1, SOP_INSTANCE: "2.25.6666"}
)
_REQUEST = associate_rq((Offer(1, VERIFICATION), Offer(3, CT)), calling=b"HOSTILE")


def dawdler() -> Script:
    """Half a PDU header, and then nothing."""
    yield Say(_REQUEST[:3])
    while True:
        yield _HEAR


def request_bomb(length: int) -> Script:
    """An A-ASSOCIATE-RQ whose body never ends."""
    yield Say(pdu(1, b"", length=length))
    while True:
        yield Say(_CHUNK)


def data_bomb(length: int) -> Script:
    """A P-DATA PDU whose body never ends, within an association."""
    yield Say(_REQUEST)
    yield _HEAR
    yield Say(pdu(P_DATA, b"", length=length))
    while True:
        yield Say(_CHUNK)


def item_bomb(request: bytes) -> Script:
    """An A-ASSOCIATE-RQ of the largest length that is taken, made of tiny items."""
    yield Say(request)
    while True:
        yield _HEAR


def vanisher(stage: int) -> Script:
    """Gone at a stage: before, within and after the request, within an association, a command, a data set."""
    data_set = pdu(P_DATA, value(3, 3, _STORE)) + pdu(P_DATA, value(3, 0, bytes(16000))) * 8
    for number, step in enumerate(
        (Say(_REQUEST[:3]), Say(_REQUEST[3:60]), Say(_REQUEST[60:]), _HEAR, Say(data_set[:20]), Say(data_set[20:]))
    ):
        if number == stage:
            return
        yield step  # type: ignore[misc]  # the tuple's elements are of both kinds


def item_bombs() -> list[bytes]:
    """Requests of nearly 1 MiB: contexts, transfer syntaxes, user sub-items, and items that nobody knows."""
    head = pdu(1, b"\0\1\0\0" + b"PACSNODE".ljust(16) + b"HOSTILE".ljust(16) + bytes(32))[6:]
    empty_context = item(0x20, b"\1\0\0\0")
    many_syntaxes = item(0x20, b"\1\0\0\0" + item(0x30, VERIFICATION.encode()) + item(0x40, b"1") * (_ITEM_LIMIT // 5))
    roles = item(0x50, item(0x54, b"\0\x011\1\1") * (_ITEM_LIMIT // 9))
    bodies = (empty_context, many_syntaxes, roles, item(0x50, b"") * 100, item(0x99, b""))
    return [pdu(1, head + body * ((_MIB - len(head)) // len(body))) for body in bodies]


def kinds() -> dict[str, tuple[int, list[Callable[[], Script]]]]:
    """How many there are of each kind, and what they do in turn."""
    lengths = (_MIB + 1, 1 << 24, 1 << 31, 0xFFFFFFFF)
    return {
        "dawdlers": (500, [dawdler]),
        "length_bombs": (50, [lambda n=n, bomb=b: bomb(n) for n in lengths for b in (request_bomb, data_bomb)]),  # type: ignore[misc]
        "item_bombs": (5, [lambda request=request: item_bomb(request) for request in item_bombs()]),  # type: ignore[misc]
        "vanishers": (20, [lambda stage=stage: vanisher(stage) for stage in range(7)]),  # type: ignore[misc]
    }


@dataclass
class Attacker:
    """One place among the hostile peers; who takes it begins with the next script each time."""

    kind: str
    scripts: Iterable[Callable[[], Script]]
    resets: bool
    began: float = 0.0
    script: Script = field(init=False)
    sock: socket.socket = field(init=False)
    unsent: memoryview = field(init=False, default=memoryview(b""))


class Horde:
    """All attackers, driven by one selector."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._due: list[tuple[float, int, Attacker]] = []
        self._numbers = itertools.count()
        self.begun: Counter[str] = Counter()
        self.refused_connections = 0
        for kind, (count, scripts) in kinds().items():
            turns = itertools.cycle(scripts)
            for number in range(count):
                self._plan(Attacker(kind, turns, resets=bool(number % 2)), 0.0)

    def run(self, seconds: float) -> None:
        """Attack for so long, then leave."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            while self._due and self._due[0][0] <= now:
                self._begin(heapq.heappop(self._due)[2])
            next_due = self._due[0][0] if self._due else until
            for key, mask in self._selector.select(max(min(next_due, until) - time.monotonic(), 0)):
                self._ready(key.data, mask)
        for key in list(self._selector.get_map().values()):
            key.data.sock.close()
        self._selector.close()

    def _plan(self, attacker: Attacker, when: float) -> None:
        heapq.heappush(self._due, (when, next(self._numbers), attacker))

    def _begin(self, attacker: Attacker) -> None:
        attacker.began = time.monotonic()
        attacker.script = next(iter(attacker.scripts))()
        attacker.unsent = memoryview(b"")
        attacker.sock = socket.socket()
        attacker.sock.setblocking(False)
        self.begun[attacker.kind] += 1
        started = attacker.sock.connect_ex(("127.0.0.1", self._port))
        self._selector.register(attacker.sock, selectors.EVENT_WRITE, attacker)
        if started not in (0, errno.EINPROGRESS):
            self.refused_connections += 1
            self._end(attacker)

    def _ready(self, attacker: Attacker, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ:
                if not attacker.sock.recv(4096):
                    raise ConnectionResetError
                self._step(attacker)
            elif attacker.unsent:
                attacker.unsent = attacker.unsent[attacker.sock.send(attacker.unsent) :]
            else:
                self._step(attacker)
        except BlockingIOError:
            return
        except (OSError, StopIteration):
            self._end(attacker)

    def _step(self, attacker: Attacker) -> None:
        step = next(attacker.script)
        wanted = selectors.EVENT_READ
        if isinstance(step, Say):
            wanted = selectors.EVENT_WRITE
            attacker.unsent = memoryview(step.data)
        self._selector.modify(attacker.sock, wanted, attacker)

    def _end(self, attacker: Attacker) -> None:
        self._selector.unregister(attacker.sock)
        if attacker.resets:
            with contextlib.suppress(OSError):
                attacker.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        attacker.sock.close()
        self._plan(attacker, max(attacker.began + _AGAIN_SECONDS, time.monotonic()))


def main(port: int, seconds: float) -> None:
    """Attack a node on loopback and print how often."""
    horde = Horde(port)
    horde.run(seconds)
    print(json.dumps({**horde.begun, "refused": horde.refused_connections}))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
