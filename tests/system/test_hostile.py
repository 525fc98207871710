"""An unauthenticated peer cannot crash the node, fill its memory or stop others' work.

``PACSNODE_HOSTILE_SECONDS`` says how long the attack takes (8 s).
"""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.certificates import Authority, is_possible
from tests.dimse import images
from tests.dimse.raw_peer import CT, EXPLICIT, VERIFICATION, Aborted, Closed, Offer, RawPeer, Rejected
from tests.system.live import LiveNode

MIB = 1024 * 1024
SECONDS = float(os.environ.get("PACSNODE_HOSTILE_SECONDS", "8"))
ROOT = Path(__file__).parents[2]
RHYTHM_SECONDS = 0.02
CALM_SECONDS = 30.0  # for the deadlines of what the attackers left
TABLES = '[limits]\nassociation_deadline = "5 s"\npdu_deadline = "5 s"\n'


@dataclass(frozen=True)
class Use:
    """What a process holds."""

    descriptors: int
    threads: int


def use(pid: int) -> Use:
    """What the process holds now."""
    return Use(*(len(list(Path(f"/proc/{pid}/{kind}").iterdir())) for kind in ("fd", "task")))


def resident_bytes(pid: int, kind: str) -> int:
    """VmRSS, the resident set, or VmHWM, the largest it has been."""
    match = re.search(rf"{kind}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) * 1024


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until the condition holds: whether it came to that."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (holds := condition()) and time.monotonic() < deadline:
        pause.wait(0.05)
    return holds


@dataclass
class Modality:
    """A legitimate client: echoes and stores in a steady rhythm, an association for each."""

    port: int
    tls_port: int
    tls: ssl.SSLContext
    echo_seconds: list[float] = field(default_factory=list)
    store_seconds: list[float] = field(default_factory=list)
    handshake_seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def work(self, is_over: threading.Event) -> None:
        """Four echoes, the last of them over TLS, one store, and so on until it is over."""
        rounds = 0
        while not is_over.wait(RHYTHM_SECONDS):
            rounds += 1
            stores = rounds % 5 == 0
            began = time.monotonic()
            try:
                status = self._store(rounds) if stores else self._echo_by_tls() if rounds % 5 == 4 else self.echo()
            except (OSError, Closed, Aborted, Rejected) as error:
                status = None
                self.failures.append(f"{'C-STORE' if stores else 'C-ECHO'} {rounds}: {type(error).__name__} {error}")
            if status is not None:
                (self.store_seconds if stores else self.echo_seconds).append(time.monotonic() - began)
                if status:
                    self.failures.append(f"{rounds}: status {status:04X}H")

    def echo(self) -> int | None:
        """Associate, echo, release: the status."""
        with RawPeer(self.port) as peer:
            peer.associate()
            status = peer.echo()
            peer.release()
        return status

    def _echo_by_tls(self) -> int | None:
        began = time.monotonic()
        with RawPeer(self.tls_port, tls=self.tls) as peer:
            self.handshake_seconds.append(time.monotonic() - began)
            peer.associate()
            status = peer.echo()
            peer.release()
        return status

    def _store(self, number: int) -> int | None:
        with RawPeer(self.port) as peer:
            peer.associate((Offer(1, VERIFICATION), Offer(3, CT, (EXPLICIT,))))
            data = images.image(number, pixels=bytes(64 * 1024))
            status = peer.store(3, CT, images.uid_of(number), data).status
            peer.release()
        return status


@contextmanager
def attack(node: LiveNode, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """The hostile peers, in a process of their own."""
    where = [str(node.port), str(seconds), "--tls-port", str(node.tls_port)]
    command = [sys.executable, "-m", "benchmarks.attackers", *where]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def percentile(values: list[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    return sorted(values)[int(len(values) * share)]


@pytest.mark.timeout(SECONDS + 120)
def test_hostile_peers_do_not_stop_others_work(tmp_path: Path) -> None:
    """500 half headers, 50 length bombs, item bombs, 20 vanishing peers, 100 idle clients of the TLS port, floods of
    crumbs and of pipelined requests: others are served, memory stays bounded, and nothing is left of it afterwards."""
    if not is_possible():
        pytest.skip("the openssl command is not here; run: apt-get install openssl")
    authority = Authority(tmp_path / "tls")
    ours = authority.issue("node")
    tables = (
        f'{TABLES}[tls]\ncertificate = "{ours.certificate}"\nkey = "{ours.key}"\nrequire_client_certificate = false\n'
    )
    tls = ssl.create_default_context(cafile=str(authority.certificate))
    with LiveNode(tmp_path / "node", tables, node_keys='tls_listen = "127.0.0.1:0"\n') as node:
        warm = Modality(node.port, node.tls_port, tls)
        over = threading.Event()
        threading.Timer(1.0, over.set).start()
        warm.work(over)
        assert eventually(lambda: '"associations": 0' in node.run("status", "--json"), 10)
        idle, idle_bytes = use(node.pid), resident_bytes(node.pid, "VmRSS")
        modality = Modality(node.port, node.tls_port, tls)
        is_over = threading.Event()
        worker = threading.Thread(target=modality.work, args=(is_over,))
        worker.start()
        with attack(node, SECONDS) as process:
            tally = json.loads(process.communicate(timeout=SECONDS + 60)[0])
        is_over.set()
        worker.join()
        grown = resident_bytes(node.pid, "VmHWM") - idle_bytes
        is_calm = eventually(lambda: use(node.pid) == idle, CALM_SECONDS)
        after = use(node.pid)
        status = node.run("status", "--json")
        spooled = [path for path in (node.folder / "data" / "spool").rglob("*") if path.is_file()]
        answer = modality.echo()
        warnings = [line for line in node.log.splitlines() if " INFO " not in line]
        (tmp_path / "log").write_text(node.log)

    p99 = percentile(modality.echo_seconds, 0.99)
    print(
        f"\n{tally}\nC-ECHO {len(modality.echo_seconds)}: p50 {percentile(modality.echo_seconds, 0.5):.3f} s, "
        f"p99 {p99:.3f} s; C-STORE {len(modality.store_seconds)}: p50 {percentile(modality.store_seconds, 0.5):.3f} s, "
        f"p99 {percentile(modality.store_seconds, 0.99):.3f} s; "
        f"TLS handshake {len(modality.handshake_seconds)}: max {max(modality.handshake_seconds):.3f} s; "
        f"resident set {grown / MIB:.0f} MiB above idle; {len(warnings)} warnings; {idle} {after}"
    )
    assert [] == modality.failures
    assert p99 < 1.0
    assert percentile(modality.handshake_seconds, 0.99) < 0.5
    assert grown < 300 * MIB
    assert '"associations": 0' in status
    assert [] == spooled
    assert is_calm, (idle, after)
    assert 0 == answer
