"""The running node reads its configuration anew: what changes, what is refused, and that nobody is dropped."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pacsnode.security import certificates
from pacsnode.service import control
from tests.certificates import Trust
from tests.dimse import images
from tests.dimse.raw_peer import CT, EXPLICIT, VERIFICATION, Offer, RawPeer, Rejected, associate_rq
from tests.system.live import LiveNode

UNKNOWN_CALLING = (1, 1, 3)
SENDERS, SIGHUPS, SWAPS = 8, 200, 5
TABLES = '[access]\nunknown_peers = "reject"\n'
PEER = '[peers.{}]\nhost = "127.0.0.1"\nport = 11112\n'


@pytest.fixture
def node(tmp_path: Path) -> Iterator[LiveNode]:
    """A node that knows TESTER alone."""
    with LiveNode(tmp_path / "node", TABLES + PEER.format("TESTER")) as live:
        yield live


def edit(node: LiveNode, old: str, new: str) -> None:
    """Replace something in the configuration file."""
    text = node.config.read_text()
    assert old in text
    node.config.write_text(text.replace(old, new, 1))


def outcome(port: int, calling: str) -> tuple[int, int, int] | int | None:
    """Of an association and a C-ECHO: the triple of the rejection, or the status."""
    with RawPeer(port) as peer:
        try:
            peer.associate(request=associate_rq([Offer(1, VERIFICATION)], calling=calling.encode()))
        except Rejected as rejected:
            return rejected.triple
        status = peer.echo()
        peer.release()
        return status


def refused(node: LiveNode) -> str:
    """What ``pacsnode reload`` says to a configuration that it refuses."""
    command = [sys.executable, "-m", "pacsnode", "reload", "--config", str(node.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert 78 == done.returncode
    return done.stderr


def test_sighup_takes_peers_and_rights(node: LiveNode) -> None:
    """A new peer is let in after SIGHUP; an association that is open keeps the rights it began with."""
    before = outcome(node.port, "LATER")
    with RawPeer(node.port) as peer:
        peer.associate()
        edit(node, "\nport = 11112\n", '\nport = 11112\nallow = ["store"]\n' + PEER.format("LATER"))
        os.kill(node.pid, signal.SIGHUP)
        node.wait_for("event=reloaded changed=peers.LATER,peers.TESTER")
        kept = peer.echo()
        peer.release()

    assert (UNKNOWN_CALLING, 0, 0, 0x0124) == (before, kept, outcome(node.port, "LATER"), outcome(node.port, "TESTER"))


def test_the_command_tells_what_changed(node: LiveNode) -> None:
    """``pacsnode reload`` does the same, and names the keys."""
    edit(node, '"reject"', '"accept"')
    said = node.run("reload")

    assert "read anew; changed: access.unknown_peers\n" == said
    assert 0 == outcome(node.port, "ANYBODY")
    assert "read anew; changed: nothing\n" == node.run("reload")


def test_a_bad_file_is_refused(node: LiveNode) -> None:
    """A mistake leaves everything as it was; one line says what and where, in the log and at the command."""
    edit(node, '"reject"', '"perhaps"')
    os.kill(node.pid, signal.SIGHUP)
    line = node.wait_for("event=reload_refused.*").group()
    said = refused(node)

    assert "unknown_peers" in line
    assert "pacsnode.toml: [access] unknown_peers = " in said
    assert 1 == len(said.splitlines())
    assert (UNKNOWN_CALLING, 0) == (outcome(node.port, "ANYBODY"), outcome(node.port, "TESTER"))


def test_what_needs_a_restart_is_refused(node: LiveNode) -> None:
    """Listeners and storage cannot change: the keys are named, and what else has changed waits with them."""
    edit(node, 'min_free = "1 MiB"', 'min_free = "2 MiB"')
    edit(node, "127.0.0.1:0", '127.0.0.1:0"\naliases = ["OTHER"]\nindex = "elsewhere')
    edit(node, '"reject"', '"accept"')
    said = refused(node)

    assert "node.index, storage.min_free: cannot change while the node runs" in said
    assert UNKNOWN_CALLING == outcome(node.port, "ANYBODY")


def test_schedules(node: LiveNode) -> None:
    """A job that is switched on runs by its new schedule, without a restart; one that is switched off no more."""
    edit(node, "[jobs.integrity]\nenabled = false", '[jobs.integrity]\nenabled = true\nschedule = "every 1 s"')
    said = node.run("reload")
    node.wait_for("event=job name=integrity result=done.*")
    edit(node, "[jobs.integrity]\nenabled = true", "[jobs.integrity]\nenabled = false")
    node.run("reload")
    enabled = {job["job"]: job["enabled"] for job in json.loads(node.run("job", "list", "--json"))}

    assert "read anew; changed: jobs.integrity\n" == said
    assert enabled["integrity"] is False
    assert enabled["housekeeping"] is True


def test_log_level(node: LiveNode) -> None:
    """The log's level follows."""
    edit(node, TABLES, '[log]\nlevel = "ERROR"\n' + TABLES)
    node.run("reload")
    outcome(node.port, "QUIET")
    edit(node, '"ERROR"', '"INFO"')
    node.run("reload")
    outcome(node.port, "LOUD")
    node.wait_for("calling=LOUD")

    assert "QUIET" not in node.log


def test_no_node_runs(tmp_path: Path) -> None:
    """Without a node there is nothing to reload: exit code 1."""
    config = tmp_path / "pacsnode.toml"
    config.write_text(f'[node]\ndata = "{tmp_path}"\n')
    done = subprocess.run(
        [sys.executable, "-m", "pacsnode", "reload", "--config", str(config)], capture_output=True, text=True
    )

    assert 1 == done.returncode
    assert "no node runs" in done.stderr


class Senders:
    """Peers that store image after image, each on an association that it keeps."""

    def __init__(self, port: int, tls: ssl.SSLContext | None) -> None:
        self._port = port
        self._tls = tls
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(SENDERS)
        self._sent: list[Future[list[int | None]]] = []

    def begin(self) -> None:
        """Start them all."""
        self._sent = [self._pool.submit(self._send, number) for number in range(SENDERS)]

    def end(self) -> list[int | None]:
        """Stop them: the status of each C-STORE. Raises what one of them met, a dropped association above all."""
        self.stop()
        return [status for sent in self._sent for status in sent.result()]

    def stop(self) -> None:
        """Let them end; may be called twice."""
        self._stop.set()
        self._pool.shutdown()

    def _send(self, number: int) -> list[int | None]:
        statuses: list[int | None] = []
        with RawPeer(self._port, tls=self._tls) as peer:
            peer.associate([Offer(1, CT, (EXPLICIT,))])
            while not self._stop.is_set():
                uid = f"{images.uid_of(number)}.{len(statuses)}"
                statuses.append(peer.store(1, CT, uid, images.image(number, uid=uid)).status)
            peer.release()
        return statuses


@contextmanager
def sending(node: LiveNode, tls: ssl.SSLContext | None = None) -> Iterator[Senders]:
    """Senders that are at work."""
    senders = Senders(node.port if tls is None else node.tls_port, tls)
    senders.begin()
    try:
        node.wait_for("event=stored")
        yield senders
    finally:
        senders.stop()


def test_sighups_drop_nobody(node: LiveNode) -> None:
    """200 SIGHUPs under 8 senders, with other peers each time: every image is stored, no association is lost."""
    with sending(node) as senders:
        for number in range(SIGHUPS):
            text = node.config.read_text()
            draft = node.config.with_suffix(".draft")
            draft.write_text(re.sub(r"(?ms)^\[peers.EXTRA.*\Z", "", text) + PEER.format(f"EXTRA{number}"))
            draft.replace(node.config)
            os.kill(node.pid, signal.SIGHUP)
        last = f"changed=peers.EXTRA{SIGHUPS - 1}|,peers.EXTRA{SIGHUPS - 1}"
        node.wait_for(last, 60)
        answers = control.ask(node.folder / "data")
        statuses = senders.end()

    assert {0} == set(statuses)
    assert answers is not None
    assert SENDERS == answers["associations"]
    assert f'"instances": {len(statuses)}' in node.run("status", "--json")
    assert "ERROR" not in node.log


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    """The CA of the node's certificate and of a modality's."""
    made = Trust.made(tmp_path / "tls")
    made.issue("node")
    made.issue("ct01")
    return made


def served(node: LiveNode, trust: Trust) -> str:
    """The fingerprint of the certificate that the next handshake is shown."""
    with (
        socket.create_connection(("127.0.0.1", node.tls_port), timeout=10) as plain,
        trust.client("ct01").wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        return certificates.read(secured.getpeercert(binary_form=True) or b"").fingerprint


def test_certificate_swapped_under_load(tmp_path: Path, trust: Trust) -> None:
    """A renewed certificate is in the next handshake after a reload; associations under way go on with the old one."""
    with LiveNode(tmp_path / "node", trust.tables(), node_keys='tls_listen = "127.0.0.1:0"\n') as node:
        with sending(node, tls=trust.client("ct01")) as senders:
            for _ in range(SWAPS):
                renewed = trust.issue("node").fingerprint
                assert renewed != served(node, trust)
                node.run("reload")
                assert renewed == served(node, trust)
            statuses = senders.end()

        assert {0} == set(statuses)
        assert SENDERS <= len(statuses)


def test_half_a_swap_is_refused(tmp_path: Path, trust: Trust) -> None:
    """A certificate whose key has not come yet is refused, and the old pair goes on."""
    with LiveNode(tmp_path / "node", trust.tables(), node_keys='tls_listen = "127.0.0.1:0"\n') as node:
        before = served(node, trust)
        key = (trust.folder / "node.key").read_bytes()
        trust.issue("node")
        (trust.folder / "node.key").write_bytes(key)
        said = refused(node)

        assert "is not the key of" in said
        assert before == served(node, trust)


def test_expiry_is_told(tmp_path: Path, trust: Trust) -> None:
    """A certificate near its end is in ``status`` and in the log, until a renewed one is loaded."""
    trust.issue("node", now=datetime.now(UTC) - timedelta(days=800))
    with LiveNode(tmp_path / "node", trust.tables(), node_keys='tls_listen = "127.0.0.1:0"\n') as node:
        node.wait_for("event=certificate_expires reason=.*expires in 24 days")
        before = json.loads(node.run("status", "--json"))["degraded"]
        trust.issue("node")
        node.run("reload")

        assert [f"the certificate of [tls] certificate expires in 24 days: {trust.folder / 'node.pem'}"] == before
        assert [] == json.loads(node.run("status", "--json"))["degraded"]
