"""Hostile peers, all in one process on one thread, from loopback: ``python -m benchmarks.attackers PORT SECONDS``.

Each attacker follows a script, and begins again when it has come to its end or was refused. At the end one line of JSON
tells how often each kind was there.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import heapq
import itertools
import json
import selectors
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from benchmarks.associate import Offer, associate_rq, item, pdu
from benchmarks.dataset import CT
from benchmarks.loadgen import IMPLICIT, VERIFICATION
from pacsnode.wire.command import CommandField, Element, encode
from pacsnode.wire.pdu import PduType

_AGAIN_SECONDS = 0.5  # the least time between two beginnings of one attacker
_CHUNK = bytes(64 * 1024)
_HEARD_BYTES = 64 * 1024
_MIB = 1 << 20
_ITEM_LIMIT = 65_000
_LENGTHS = (_MIB + 1, 1 << 24, 1 << 31, 0xFFFFFFFF)
_MAXIMUM_BYTES = 16384
TLS_KIND = "tls_idlers"
KINDS = ("dawdlers", "length_bombs", "item_bombs", "vanishers", "crumbs", "pipelined", TLS_KIND)


@dataclass(frozen=True)
class Titles:
    """Whom the hostile peers call, and what they call themselves."""

    called: str = "PACSNODE"
    calling: str = "HOSTILE"


@dataclass(frozen=True)
class Say:
    """Send these bytes, as fast as they are taken."""

    data: bytes


@dataclass(frozen=True)
class Hear:
    """Wait until something comes, or the end."""


@dataclass(frozen=True)
class Flood:
    """Send these bytes again and again, without an end, and read whatever comes meanwhile."""

    data: bytes


Script = Generator[Say | Hear | Flood, None, None]
_HEAR = Hear()
_TLS_BEGINNINGS = (b"", b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01")  # of a ClientHello, which is 512 bytes long
_STORE = encode(
    {
        Element.AFFECTED_SOP_CLASS_UID: CT.sop_class_uid,
        Element.COMMAND_FIELD: CommandField.C_STORE_RQ,
        Element.MESSAGE_ID: 1,
        Element.PRIORITY: 0,
        Element.AFFECTED_SOP_INSTANCE_UID: "2.25.6666",
    },
    has_data_set=True,
)
_ECHO = encode(
    {
        Element.AFFECTED_SOP_CLASS_UID: VERIFICATION,
        Element.COMMAND_FIELD: CommandField.C_ECHO_RQ,
        Element.MESSAGE_ID: 1,
    },
    has_data_set=False,
)


def value(context_id: int, flags: int, data: bytes) -> bytes:
    """A presentation data value; flags: 1 = command, 2 = last (PS3.8 E.2)."""
    return struct.pack(">IBB", len(data) + 2, context_id, flags) + data


def p_data(values: bytes, *, length: int | None = None) -> bytes:
    """A P-DATA-TF PDU."""
    return pdu(PduType.P_DATA, values, length=length)


def dawdler(beginning: bytes) -> Script:
    """The beginning of something, half a PDU header at most, and then nothing."""
    yield Say(beginning)
    while True:
        yield _HEAR


def request_bomb(length: int) -> Script:
    """An A-ASSOCIATE-RQ whose body never ends."""
    yield Say(pdu(PduType.ASSOCIATE_RQ, b"", length=length))
    while True:
        yield Say(_CHUNK)


def data_bomb(length: int, request: bytes) -> Script:
    """A P-DATA PDU whose body never ends, within an association."""
    yield Say(request)
    yield _HEAR
    yield Say(p_data(b"", length=length))
    while True:
        yield Say(_CHUNK)


def item_bomb(request: bytes) -> Script:
    """An A-ASSOCIATE-RQ of the largest length that is taken, made of tiny items."""
    yield Say(request)
    while True:
        yield _HEAR


def flood(request: bytes, prelude: bytes, data: bytes) -> Script:
    """The same within an association, over and over."""
    yield Say(request)
    yield _HEAR
    yield Say(prelude)
    yield Flood(data)


def vanisher(stage: int, request: bytes) -> Script:
    """Gone at a stage: before, within and after the request, within an association, a command, a data set."""
    data_set = p_data(value(3, 3, _STORE)) + p_data(value(3, 0, bytes(16000))) * 8
    for number, step in enumerate(
        (Say(request[:3]), Say(request[3:60]), Say(request[60:]), _HEAR, Say(data_set[:20]), Say(data_set[20:]))
    ):
        if number == stage:
            return
        yield step  # type: ignore[misc]  # the tuple's elements are of both kinds


def item_bombs(titles: Titles) -> list[bytes]:
    """Requests of nearly 1 MiB: contexts, transfer syntaxes, user sub-items, and items that nobody knows."""
    names = titles.called.ljust(16) + titles.calling.ljust(16)
    head = b"\0\1\0\0" + names.encode() + bytes(32)
    empty_context = item(0x20, b"\1\0\0\0")
    many_syntaxes = item(0x20, b"\1\0\0\0" + item(0x30, VERIFICATION.encode()) + item(0x40, b"1") * (_ITEM_LIMIT // 5))
    roles = item(0x50, item(0x54, b"\0\x011\1\1") * (_ITEM_LIMIT // 9))
    bodies = (empty_context, many_syntaxes, roles, item(0x50, b"") * 100, item(0x99, b""))
    return [pdu(PduType.ASSOCIATE_RQ, head + body * ((_MIB - len(head)) // len(body))) for body in bodies]


def crumb_floods(request: bytes) -> Sequence[Callable[[], Script]]:
    """Commands and data sets in endless pieces of nothing or of one byte, a PDU for each or thousands in one."""
    store = p_data(value(3, 3, _STORE))
    empty, crumb = value(1, 1, b""), value(3, 0, b"\0")
    return [
        partial(flood, request, b"", p_data(empty) * 1000),
        partial(flood, request, store, p_data(crumb) * 1000),
        partial(flood, request, b"", p_data(empty * 2000)),
        partial(flood, request, store, p_data(crumb * 2000)),
    ]


def kinds(titles: Titles) -> dict[str, tuple[int, Sequence[Callable[[], Script]]]]:
    """How many there are of each kind, and what they do in turn."""
    offers = [Offer(VERIFICATION, IMPLICIT), Offer(CT.sop_class_uid, IMPLICIT)]  # contexts 1 and 3
    request = associate_rq(titles.called, titles.calling, offers, _MAXIMUM_BYTES)
    bombs = [partial(request_bomb, n) for n in _LENGTHS] + [partial(data_bomb, n, request) for n in _LENGTHS]
    return {
        "dawdlers": (500, [partial(dawdler, request[:3])]),
        "length_bombs": (50, bombs),
        "item_bombs": (5, [partial(item_bomb, bomb) for bomb in item_bombs(titles)]),
        "vanishers": (20, [partial(vanisher, stage, request) for stage in range(7)]),
        "crumbs": (6, crumb_floods(request)),
        TLS_KIND: (100, [partial(dawdler, beginning) for beginning in _TLS_BEGINNINGS]),
        "pipelined": (6, [partial(flood, request, b"", p_data(value(1, 3, _ECHO)) * 200)]),
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
    floods_with: bytes = b""


class Horde:
    """All attackers, driven by one selector."""

    def __init__(self, port: int, tls_port: int, titles: Titles, chosen: Iterable[str]) -> None:
        """``tls_port``: where the idle clients of TLS go."""
        self._port = port
        self._tls_port = tls_port
        self._selector = selectors.DefaultSelector()
        self._due: list[tuple[float, int, Attacker]] = []
        self._numbers = itertools.count()
        self.begun: Counter[str] = Counter()
        self.refused_connections = 0
        available = kinds(titles)
        for kind in chosen:
            count, scripts = available[kind]
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
        attacker.unsent, attacker.floods_with = memoryview(b""), b""
        attacker.sock = socket.socket()
        attacker.sock.setblocking(False)
        self.begun[attacker.kind] += 1
        started = attacker.sock.connect_ex(("127.0.0.1", self._tls_port if attacker.kind == TLS_KIND else self._port))
        self._selector.register(attacker.sock, selectors.EVENT_WRITE, attacker)
        if started not in (0, errno.EINPROGRESS):
            self.refused_connections += 1
            self._end(attacker)

    def _ready(self, attacker: Attacker, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ:
                if not attacker.sock.recv(_HEARD_BYTES):
                    raise ConnectionResetError
                if not attacker.floods_with:
                    self._step(attacker)
            elif attacker.unsent:
                attacker.unsent = attacker.unsent[attacker.sock.send(attacker.unsent) :] or memoryview(
                    attacker.floods_with
                )
            else:
                self._step(attacker)
        except BlockingIOError:
            return
        except (OSError, StopIteration):
            self._end(attacker)

    def _step(self, attacker: Attacker) -> None:
        step = next(attacker.script)
        wanted = selectors.EVENT_READ
        if not isinstance(step, Hear):
            wanted = selectors.EVENT_WRITE
            attacker.unsent = memoryview(step.data)
        if isinstance(step, Flood):
            wanted |= selectors.EVENT_READ
            attacker.floods_with = step.data
        self._selector.modify(attacker.sock, wanted, attacker)

    def _end(self, attacker: Attacker) -> None:
        self._selector.unregister(attacker.sock)
        if attacker.resets:
            with contextlib.suppress(OSError):
                attacker.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        attacker.sock.close()
        self._plan(attacker, max(attacker.began + _AGAIN_SECONDS, time.monotonic()))


def main() -> None:
    """Attack a node on loopback and print how often."""
    parser = argparse.ArgumentParser(description="Hostile peers")
    parser.add_argument("port", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--tls-port", type=int, default=0, help="by default PORT")
    parser.add_argument("--called", default="PACSNODE")
    parser.add_argument("--calling", default="HOSTILE")
    parser.add_argument("--kinds", default=",".join(KINDS))
    given = parser.parse_args()
    titles = Titles(given.called, given.calling)
    horde = Horde(given.port, given.tls_port or given.port, titles, given.kinds.split(","))
    horde.run(given.seconds)
    print(json.dumps({**horde.begun, "refused": horde.refused_connections}))


if __name__ == "__main__":
    main()
