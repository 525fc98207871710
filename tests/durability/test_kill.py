"""``kill -9`` under load: what was acknowledged is there and intact, whatever the moment.

A few cycles here; ``PACSNODE_KILLS=200 make test T=tests/durability/test_kill.py`` runs more.
"""

from __future__ import annotations

import json
import os
import random
import threading
from pathlib import Path

import pytest

from tests.dimse.images import image, uid_of
from tests.dimse.raw_peer import CT, EXPLICIT, Closed, Offer, RawPeer
from tests.system.live import LiveNode

CYCLES = int(os.environ.get("PACSNODE_KILLS", "4"))
SENDERS = 3
LARGEST_PIXELS = 300_000


class Sender(threading.Thread):
    """Stores instances one after the other until the node is gone; remembers what was acknowledged."""

    def __init__(self, port: int, first: int, chance: random.Random, enough: threading.Event) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[str] = []
        self.refused: list[int | None] = []
        self._port = port
        self._first = first
        self._sizes = [2 * chance.randrange(1, LARGEST_PIXELS) for _ in range(50)]
        self._enough = enough

    def run(self) -> None:
        try:
            with RawPeer(self._port) as peer:
                peer.associate([Offer(1, CT, (EXPLICIT,))])
                for number in range(self._first, self._first + 100_000):
                    data = image(number, pixels=bytes(self._sizes[number % len(self._sizes)]))
                    status = peer.store(1, CT, uid_of(number), data).status
                    (self.refused.append(status) if status else self.acknowledged.append(uid_of(number)))
                    self._enough.set()
        except (OSError, Closed):
            pass  # the node was killed, as intended


@pytest.mark.timeout(60 + 15 * CYCLES)
def test_acknowledged_instances_survive_kills(tmp_path: Path) -> None:
    """After each kill every acknowledged instance is in the index and verifies; what is left over are orphans."""
    chance = random.Random(20240501)
    acknowledged: set[str] = set()
    with LiveNode(tmp_path / "node") as node:
        for cycle in range(CYCLES):
            enough = threading.Event()
            senders = [
                Sender(node.port, cycle * 1_000_000 + number * 300_000, chance, enough) for number in range(SENDERS)
            ]
            for sender in senders:
                sender.start()
            assert enough.wait(30)
            threading.Event().wait(chance.uniform(0.0, 0.5))  # the moment of the kill
            node.kill()
            for sender in senders:
                sender.join(30)
                acknowledged.update(sender.acknowledged)
                assert [] == sender.refused
            node.start()
        answer = _verified(node)
        stored = _stored(node)

    assert set() == acknowledged - stored
    assert [] == [finding for finding in answer["findings"] if not finding["problem"].startswith("orphan")]
    assert len(acknowledged) > CYCLES


def _verified(node: LiveNode) -> dict[str, list[dict[str, str]]]:
    """What ``verify`` says; orphans of the kills make it exit with 3."""
    for code in (0, 3):
        try:
            answer: dict[str, list[dict[str, str]]] = json.loads(node.run("verify", "--json", expect=code))
        except AssertionError:
            continue
        return answer
    raise AssertionError("verify neither succeeded nor found anything")


def _stored(node: LiveNode) -> set[str]:
    """The SOP Instance UIDs of the index."""
    (study,) = json.loads(node.run("study", "list", "--json"))
    shown = json.loads(node.run("study", "show", study["study_uid"], "--json"))
    return {instance["instance_uid"] for series in shown["series"] for instance in series["instances"]}
