"""The same service over TLS; the handshake is the connection's own affair."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.association import Association

from tests.dimse import images
from tests.dimse.conftest import Nodes, Running, eventually, limits, serving_threads
from tests.dimse.raw_peer import CT, EXPLICIT, STUDY_GET, VERIFICATION, Offer, RawPeer, associate_rq, identifier, role

_IDLE_CLIENTS = 20
_DELAY_SECONDS = 0.5


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate and its key in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command is not here")
    folder = tmp_path_factory.mktemp("tls")
    key, cert, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([openssl, *made.split(), *files], check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    return both


@pytest.fixture
def node(nodes: Nodes, certificate: Path) -> Running:
    """A TLS listener."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return nodes.start(tls=context, limits=limits(association_deadline=2.0, connections_before_association=64))


@pytest.fixture
def trusting(certificate: Path) -> ssl.SSLContext:
    """A client that trusts the certificate."""
    return ssl.create_default_context(cafile=str(certificate))


def associated(node: Running, context: ssl.SSLContext) -> Association:
    """pynetdicom, associated over TLS."""
    entity = AE("TESTER")
    entity.add_requested_context(VERIFICATION)
    entity.add_requested_context(CT, [EXPLICIT])
    return entity.associate("127.0.0.1", node.port, ae_title="PACSNODE", tls_args=(context, "127.0.0.1"))


def test_echo(node: Running, trusting: ssl.SSLContext) -> None:
    """C-ECHO over TLS."""
    association = associated(node, trusting)
    assert association.is_established
    status = association.send_c_echo().Status
    association.release()

    assert 0x0000 == status


@pytest.fixture
def idle_clients(node: Running) -> Iterator[None]:
    """TCP clients that begin a TLS handshake and speak no further."""
    clients = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(_IDLE_CLIENTS)]
    for client in clients:
        client.sendall(b"\x16\x03\x01\x02\x00\x01")
    assert eventually(lambda: len(serving_threads()) == _IDLE_CLIENTS)
    yield
    for client in clients:
        client.close()


@pytest.mark.usefixtures("idle_clients")
def test_idle_clients_delay_nobody(node: Running, trusting: ssl.SSLContext) -> None:
    """A handshake that never comes is waited for in its own thread only."""
    began = time.monotonic()
    association = associated(node, trusting)
    status = association.send_c_echo().Status
    association.release()
    took = time.monotonic() - began

    assert 0x0000 == status
    assert took < _DELAY_SECONDS


@pytest.mark.usefixtures("idle_clients")
def test_idle_clients_end_at_the_deadline(node: Running) -> None:
    """Who does not shake hands in time is gone."""
    assert eventually(lambda: not serving_threads())


def test_plain_text_on_the_tls_port(node: Running, trusting: ssl.SSLContext) -> None:
    """A peer without TLS gets no association, and the next one with it does."""
    with RawPeer(node.port) as peer:
        peer.send(associate_rq(()))
        assert eventually(lambda: not serving_threads())
    association = associated(node, trusting)

    assert association.is_established
    association.release()


def test_draining_cuts_idle_associations(node: Running, trusting: ssl.SSLContext) -> None:
    """When the time to drain is over, an idle association over TLS ends, too."""
    with RawPeer(node.port, tls=trusting) as peer:
        peer.associate()
        node.admission.drain(0)

    assert 0 == node.admission.associations


def test_something_large(node: Running, trusting: ssl.SSLContext) -> None:
    """Data sets larger than any buffer come through, record by record."""
    data = images.image(pixels=bytes(range(256)) * 4096)
    roles = role(CT, scu=1, scp=1)
    keys = identifier({0x00080052: "IMAGE", 0x00080018: images.uid_of(1)})
    with RawPeer(node.port, tls=trusting) as peer:
        peer.associate(request=associate_rq((Offer(1, CT, (EXPLICIT,)), Offer(3, STUDY_GET)), user_items=roles))
        status = peer.store(1, CT, images.uid_of(1), data).status
        instances, responses = peer.get(3, STUDY_GET, keys)
        peer.release()

    assert (0, 0) == (status, responses[-1].status)
    assert [data] == [found.data_set for found in instances]
