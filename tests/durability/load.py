"""Instances on their way into the guest, and the question afterwards which of the acknowledged ones are there."""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.dimse.images import ROOT, image
from tests.dimse.raw_peer import (
    C_FIND,
    CT,
    EXPLICIT,
    STUDY_FIND,
    STUDY_GET,
    Aborted,
    Closed,
    Offer,
    RawPeer,
    associate_rq,
    identifier,
    parse_elements,
    role,
)

SENDERS = 4
SMALLEST_BYTES, LARGEST_BYTES = 1_000, 600_000

_STUDY_UID, _SERIES_UID, _INSTANCE_UID, _LEVEL = 0x0020000D, 0x0020000E, 0x00080018, 0x00080052


@dataclass
class Acknowledged:
    """What was answered with Success: by study, the SHA-256 of each data set by SOP Instance UID."""

    studies: dict[str, dict[str, str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.studies.values()))


@dataclass(frozen=True)
class Missing:
    """What the archive does not have of what it acknowledged; ``altered``: it answers with other bytes."""

    not_found: frozenset[str]
    not_sent: frozenset[str]
    altered: frozenset[str]

    @property
    def lost(self) -> frozenset[str]:
        """All that is lost in one way or another."""
        return self.not_found | self.not_sent | self.altered


class Sender(threading.Thread):
    """Stores instance after instance in a series of its own, until the power is cut."""

    def __init__(self, port: int, study: str, number: int, seed: int, first: threading.Event) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[str, str] = {}
        self.refused: list[int | None] = []
        self._port, self._study, self._number, self._first = port, study, number, first
        self._chance = random.Random(seed)

    def run(self) -> None:
        with contextlib.suppress(OSError, Closed, Aborted), RawPeer(self._port) as peer:  # cut, as intended
            peer.associate([Offer(1, CT, (EXPLICIT,))])
            for count in range(1, 1_000_000):
                uid = f"{self._study}.{self._number}.{count}"
                data = image(
                    count, uid=uid, study=self._study, series=f"{self._study}.{self._number}", pixels=self._pixels()
                )
                status = peer.store(1, CT, uid, data).status
                if status:
                    self.refused.append(status)
                else:
                    self.acknowledged[uid] = hashlib.sha256(data).hexdigest()
                    self._first.set()

    def _pixels(self) -> bytes:
        """As many small as large ones: the logarithm of the size is evenly spread."""
        size = SMALLEST_BYTES * (LARGEST_BYTES / SMALLEST_BYTES) ** self._chance.random()
        return self._chance.randbytes(int(size) // 2 * 2)


def study_of(cut: int) -> str:
    """Study Instance UID of what is sent before a cut."""
    return f"{ROOT}.9.{cut}"


def senders(port: int, cut: int, seed: int, first: threading.Event) -> list[Sender]:
    """The senders of one cut, started; ``first`` is set at the first acknowledgement."""
    started = [Sender(port, study_of(cut), number, seed * 100 + number, first) for number in range(1, SENDERS + 1)]
    for sender in started:
        sender.start()
    return started


def ask(port: int, acknowledged: Acknowledged, studies: Iterable[str]) -> Missing:
    """Ask for all that was acknowledged of the studies: by C-FIND, and every bit of it by C-GET."""
    found: set[str] = set()
    sent: dict[str, str] = {}
    expected: dict[str, str] = {}
    for study in studies:
        expected |= acknowledged.studies[study]
        found |= _found(port, study)
        sent |= _sent(port, study)
    return Missing(
        frozenset(expected.keys() - found),
        frozenset(expected.keys() - sent.keys()),
        frozenset(uid for uid, digest in expected.items() if uid in sent and sent[uid] != digest),
    )


def _found(port: int, study: str) -> set[str]:
    uids: set[str] = set()
    with RawPeer(port) as peer:
        peer.associate([Offer(1, STUDY_FIND)])
        for number in range(1, SENDERS + 1):
            keys = identifier(
                {_LEVEL: "IMAGE ", _INSTANCE_UID: "", _STUDY_UID: study, _SERIES_UID: f"{study}.{number}"}
            )
            peer.start_query(1, C_FIND, STUDY_FIND, keys)
            for answer in peer.responses():
                if answer.data_set is not None:
                    uids.add(parse_elements(answer.data_set)[_INSTANCE_UID].decode().rstrip("\0 "))
        peer.release()
    return uids


def _sent(port: int, study: str) -> dict[str, str]:
    offers = [Offer(1, STUDY_GET), Offer(3, CT, (EXPLICIT,))]
    with RawPeer(port) as peer:
        peer.associate(request=associate_rq(offers, maximum_length=128 * 1024, user_items=role(CT, scu=0, scp=1)))
        keys = identifier({_LEVEL: "STUDY ", _STUDY_UID: study})
        instances, _ = peer.get(1, STUDY_GET, keys)
        peer.release()
    return {
        _instance_uid(instance.elements[0x1000]): hashlib.sha256(instance.data_set or b"").hexdigest()
        for instance in instances
    }


def _instance_uid(raw: bytes) -> str:
    return raw.decode().rstrip("\0 ")
