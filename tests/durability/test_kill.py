"""``kill -9`` under load: what was acknowledged is there and intact, whatever the moment.

A few cycles here; ``PACSNODE_KILLS=200 make test T=tests/durability/test_kill.py`` runs more. The moment is chance, or
one system call that strace kills at, where it is there and may.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dimse.images import image, uid_of
from tests.dimse.raw_peer import CT, EXPLICIT, Closed, Offer, RawPeer
from tests.system.live import LiveNode

CYCLES = int(os.environ.get("PACSNODE_KILLS", "20"))
SENDERS = 4
LARGEST_PIXELS = 300_000
SYSTEM_CALLS = ("fdatasync", "fsync", "?link,?linkat", "?unlink,?unlinkat", "write", "pwrite64")
NTH = range(1, 1 + max(2, CYCLES // 20))  # which call of an association's thread is the last


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
            senders = start_senders(node, cycle, chance, enough)
            assert enough.wait(30)
            threading.Event().wait(chance.uniform(0.0, 0.3))  # the moment of the kill
            node.kill()
            acknowledged |= acknowledged_by(senders)
            node.start()
        check(node, acknowledged)

    assert len(acknowledged) > CYCLES


@pytest.mark.timeout(60 + 15 * len(SYSTEM_CALLS) * len(NTH))
def test_acknowledged_instances_survive_kills_at_system_calls(tmp_path: Path) -> None:
    """The same, where the last thing the node does is to enter the n-th sync, link, unlink or write of an upload."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    chance = random.Random(20240502)
    acknowledged: set[str] = set()
    with LiveNode(tmp_path / "node") as node:
        for cycle, (call, nth) in enumerate(itertools.product(SYSTEM_CALLS, NTH)):
            with killed_at(node, call, nth):
                senders = start_senders(node, cycle, chance, threading.Event())
                assert -signal.SIGKILL == node.ended(), f"{call} {nth}"
            acknowledged |= acknowledged_by(senders)
            node.start()
        check(node, acknowledged)


def start_senders(node: LiveNode, cycle: int, chance: random.Random, enough: threading.Event) -> list[Sender]:
    senders = [Sender(node.port, cycle * 1_000_000 + number * 200_000, chance, enough) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    return senders


def acknowledged_by(senders: list[Sender]) -> set[str]:
    """What they were told Success for, until the node was gone; nothing may have been refused."""
    for sender in senders:
        sender.join(30)
        assert [] == sender.refused
    return {uid for sender in senders for uid in sender.acknowledged}


def check(node: LiveNode, acknowledged: set[str]) -> None:
    """Everything acknowledged is in the index, and everything in the index is there."""
    answer = _verified(node)

    assert set() == acknowledged - _stored(node)
    assert [] == [finding for finding in answer["findings"] if not finding["problem"].startswith("orphan")]


@contextlib.contextmanager
def killed_at(node: LiveNode, call: str, nth: int) -> Iterator[None]:
    """The node dies as one of its threads enters this system call for the n-th time from now on."""
    command = ["strace", "-f", "-o", os.devnull, "-p", str(node.pid)]
    command += ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={nth}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        said = strace.stderr.readline()
        if "attached" not in said:
            strace.kill()
            pytest.skip(f"strace may not attach: {said.strip()}")
        try:
            yield
        finally:
            strace.kill()


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
