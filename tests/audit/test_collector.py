"""Syslog: a collector that was away gets everything, once, in order; one that breaks off loses nothing."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.certificates import Authority, Certificate, is_possible
from pacsnode.audit import delivery, messages, syslog
from pacsnode.audit.delivery import Delivery
from pacsnode.audit.events import Narrator
from pacsnode.audit.trail import Trail
from pacsnode.config import Collector
from tests.audit.schema import read
from tests.dimse.conftest import eventually

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FRAME = re.compile(
    rb'<85>1 2026-01-02T03:04:05\.000000\+00:00 \S+ pacsnode [0-9]+ DICOM\+RFC3881 \[meta sequenceId="([0-9]+)"\] '
    rb"\xef\xbb\xbf(<\?xml .*</AuditMessage>)",
    re.DOTALL,
)


class TlsServer:
    """A collector, which may end connections rudely, or not be there; on one port throughout."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.frames: list[bytes] = []
        self.breaks = 0  # so many connections are reset after their first bytes
        self._context = context
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])

    @contextmanager
    def listening(self) -> Iterator[None]:
        """It is there."""
        with socket.create_server(("127.0.0.1", self.port)) as listener:
            thread = threading.Thread(target=self._serve, args=(listener,))
            thread.start()
            try:
                yield
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with plain, suppress(ssl.SSLError), self._context.wrap_socket(plain, server_side=True) as secured:
                if self.breaks:
                    self.breaks -= 1
                    secured.recv(10)
                    secured.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    continue
                text = b"".join(iter(lambda: secured.recv(65536), b""))
                while text:
                    length, _, text = text.partition(b" ")
                    self.frames.append(text[: int(length)])
                    text = text[int(length) :]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA."""
    if not is_possible():
        pytest.skip("the openssl command is not here; run: apt-get install openssl")
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    """The collector's, and ours."""
    return authority.issue("collector")


@pytest.fixture
def server(authority: Authority, certificate: Certificate) -> TlsServer:
    """A collector that asks for our certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.certificate))
    context.load_cert_chain(certificate.certificate, certificate.key)
    context.verify_mode = ssl.CERT_REQUIRED
    return TlsServer(context)


@pytest.fixture
def deliver(server: TlsServer, authority: Authority, certificate: Certificate) -> syslog.Deliver:
    """Delivery to it."""
    context = syslog.tls_context(str(authority.certificate), str(certificate.certificate), str(certificate.key))
    return syslog.TlsCollector(Collector("tls", "127.0.0.1", server.port), context).deliver


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody tells the delivery of a test that something was added."""
    monkeypatch.setattr(delivery, "_POLL_SECONDS", 0.02)


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    """A trail that is put away often."""
    made = Trail(tmp_path / "audit" / "audit.log", rotate_bytes=20_000)
    yield made
    made.close()


@contextmanager
def delivering(trail: Trail, deliver: syslog.Deliver) -> Iterator[Delivery]:
    """A node that runs, as far as delivery goes."""
    written = threading.Event()
    running = Delivery(trail.path, deliver, last=trail.last, written=written, clock=lambda: AT)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def add(trail: Trail, count: int) -> None:
    """Add messages to a trail."""
    for _ in range(count):
        trail.append([messages.encode(Narrator("PACSNODE").started(AT))])
    trail.seal()


def numbers(frames: list[bytes]) -> list[int]:
    """The sequenceId of every frame, which must be whole and valid."""
    found = [FRAME.fullmatch(frame) for frame in frames]
    assert None not in found
    assert {"Application Activity"} == {read(match[2]).event for match in found if match}
    return [int(match[1]) for match in found if match]


def test_collector_down_for_the_whole_run(
    trail: Trail, server: TlsServer, deliver: syslog.Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was recorded while nobody listened, over a restart too, arrives once and in order when somebody does."""
    monkeypatch.setattr(delivery, "_BATCH", 50)
    with delivering(trail, deliver) as running:
        add(trail, 150)
        assert eventually(lambda: bool(running.degraded))
        assert 0 == running.position
    with server.listening(), delivering(trail, deliver) as running:
        add(trail, 150)
        assert eventually(lambda: len(server.frames) >= 300, 30.0)
        assert eventually(lambda: running.position == trail.last)
    with server.listening(), delivering(trail, deliver):
        add(trail, 1)
        assert eventually(lambda: len(server.frames) >= 301, 30.0)

    got = numbers(server.frames)
    assert 301 == len(got) == len(set(got))
    assert sorted(got) == got
    assert "" == running.degraded


def test_collector_that_breaks_off(trail: Trail, server: TlsServer, deliver: syslog.Deliver) -> None:
    """What a collector has not read to its end when it dies is sent again, whole."""
    server.breaks = 2
    with server.listening(), delivering(trail, deliver) as running:
        add(trail, 20)
        assert eventually(lambda: len(server.frames) >= 20, 30.0)
        assert eventually(lambda: not running.degraded, 30.0)

    assert 20 == len(set(numbers(server.frames)))
    assert 0 == server.breaks


def test_nothing_of_before(trail: Trail, server: TlsServer, deliver: syslog.Deliver) -> None:
    """Where a collector is configured later, it gets what is recorded from then on."""
    add(trail, 5)
    with server.listening(), delivering(trail, deliver):
        add(trail, 2)
        assert eventually(lambda: len(server.frames) >= 2, 30.0)

    assert [7, 8] == numbers(server.frames)


def test_collector_of_another_authority(tmp_path: Path, server: TlsServer) -> None:
    """Nothing is sent to a collector whose certificate is not what it should be."""
    other = Authority(tmp_path / "other")
    context = syslog.tls_context(str(other.certificate), "", "")
    collector = syslog.TlsCollector(Collector("tls", "127.0.0.1", server.port), context)
    with server.listening(), pytest.raises(ssl.SSLCertVerificationError):
        collector.deliver([b"x"])

    assert [] == server.frames


def test_datagrams(trail: Trail) -> None:
    """By UDP each message is a datagram; a host that says nobody listens there is tried again."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        collector = syslog.UdpCollector(Collector("udp", "127.0.0.1", sock.getsockname()[1]))
        with delivering(trail, collector.deliver):
            add(trail, 3)
            got = [sock.recv(65536) for _ in range(3)]
    with pytest.raises(ConnectionRefusedError):
        collector.deliver([b"x"])

    assert [1, 2, 3] == numbers(got)
