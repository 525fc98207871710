"""The same service over TLS; the handshake is the connection's own affair."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.association import Association

from benchmarks.certificates import Authority, Certificate, is_possible
from pacsnode.config import Tls
from pacsnode.dimse import peers, tls
from pacsnode.dimse.report import ReportCaller
from pacsnode.errors import PeerFailure
from pacsnode.model import Commitment, Peer, Reference, Transaction, Uid
from tests.dimse import images
from tests.dimse.conftest import AE_TITLE, STARTED, Nodes, Running, eventually, limits, serving_threads
from tests.dimse.raw_peer import (
    ASSOCIATE_RQ,
    CT,
    EXPLICIT,
    RELEASE_RP,
    RELEASE_RQ,
    STUDY_GET,
    VERIFICATION,
    Aborted,
    Offer,
    RawPeer,
    associate_rq,
    identifier,
    pdu,
    role,
)

_IDLE_CLIENTS = 100
_BEGINNINGS = (b"\x16\x03\x01\x02\x00\x01", b"", b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x01")
_HANDSHAKES = 20
_DELAY_SECONDS = 0.5
_COMMITMENT = "1.2.840.10008.1.20.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA."""
    if not is_possible():
        pytest.skip("the openssl command is not here; run: apt-get install openssl")
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    """Made out to loopback."""
    return authority.issue("node")


@pytest.fixture
def node(nodes: Nodes, certificate: Certificate) -> Running:
    """A TLS listener that asks for no certificate."""
    return nodes.start(
        tls=tls.for_acceptor(settings(certificate, require_client_certificate=False)),
        limits=limits(association_deadline=2.0, connections_before_association=2 * _IDLE_CLIENTS),
    )


def settings(certificate: Certificate, **more: str | bool) -> Tls:
    """The [tls] table with this certificate."""
    return Tls.model_validate(
        {"certificate": str(certificate.certificate), "key": str(certificate.key), **more}, strict=True
    )


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    """A client that trusts the CA."""
    return ssl.create_default_context(cafile=str(authority.certificate))


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
    """TCP clients: half of them begin a TLS handshake and speak no further, the others say less or nothing."""
    with ExitStack() as stack:
        for number in range(_IDLE_CLIENTS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", node.port)))
            client.sendall(_BEGINNINGS[number % len(_BEGINNINGS)])
        assert eventually(lambda: len(serving_threads()) == _IDLE_CLIENTS // 2)
        yield


@pytest.mark.usefixtures("idle_clients")
def test_idle_clients_delay_nobody(node: Running, trusting: ssl.SSLContext) -> None:
    """100 handshakes that never come are waited for where nobody else waits: the next client has its own at once."""
    seconds = []
    for _ in range(_HANDSHAKES):
        began = time.monotonic()
        with RawPeer(node.port, tls=trusting) as peer:
            seconds.append(time.monotonic() - began)
            peer.associate()
            assert 0 == peer.echo()
            peer.release()

    assert max(seconds) < _DELAY_SECONDS


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


def test_the_end_is_said(node: Running, trusting: ssl.SSLContext) -> None:
    """An association that is released ends with close_notify: the peer knows that nothing was cut off."""
    with (
        socket.create_connection(("127.0.0.1", node.port), timeout=5) as plain,
        trusting.wrap_socket(plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False) as sock,
    ):
        sock.sendall(associate_rq(()) + pdu(RELEASE_RQ, bytes(4)))
        answers = b"".join(iter(lambda: sock.recv(4096), b""))  # SSLEOFError without close_notify

    assert answers.endswith(pdu(RELEASE_RP, bytes(4)))


def test_last_words_get_through(node: Running, trusting: ssl.SSLContext) -> None:
    """A peer that is aborted while it goes on sending hears so, and does not just find its connection reset."""
    with RawPeer(node.port, tls=trusting) as peer, pytest.raises(Aborted):
        peer.associate(request=pdu(ASSOCIATE_RQ, b"", length=0xFFFFFFFF) + bytes(200_000))


OLD = {
    "TLS 1.1": (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
    "no forward secrecy": (ssl.TLSVersion.TLSv1_2, "kRSA"),
    "CBC": (ssl.TLSVersion.TLSv1_2, "ECDHE+AES128+SHA256:!AESGCM"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("version", "ciphers"), OLD.values(), ids=OLD.keys())
def test_what_is_not_safe_is_refused(
    node: Running, trusting: ssl.SSLContext, version: ssl.TLSVersion, ciphers: str
) -> None:
    """No TLS before 1.2, and no cipher suite without ephemeral keys and authenticated encryption (RFC 9325 4.2)."""
    trusting.minimum_version, trusting.maximum_version = ssl.TLSVersion.TLSv1, version
    trusting.set_ciphers(ciphers)

    with pytest.raises(ssl.SSLError):
        RawPeer(node.port, tls=trusting)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_no_session_tickets(node: Running, trusting: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    """Keys are of one connection alone: nothing is handed out by which a session could be resumed."""
    trusting.minimum_version = trusting.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", node.port), timeout=5) as plain,
        trusting.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        sock.sendall(associate_rq(()))
        sock.recv(100)
        session = sock.session

    assert session is None or not session.has_ticket


@pytest.fixture
def strict(nodes: Nodes, authority: Authority, certificate: Certificate) -> Running:
    """A TLS listener as it is by default: with certificates on both sides."""
    return nodes.start(tls=tls.for_acceptor(settings(certificate, client_ca=str(authority.certificate))))


def probe(node: Running, secure: ssl.SSLContext | None, *, tls_name: str = "") -> None:
    """Associate and echo as requestor over TLS."""
    peer = Peer("US", AE_TITLE, "127.0.0.1", node.port, tls=True, tls_name=tls_name)
    peers.probe(peer, calling_ae="TESTER", limits=limits(), secure=secure)


def test_certificates_on_both_sides(strict: Running, authority: Authority) -> None:
    """As requestor we show our certificate; one of another CA, or none, is not let in."""
    ours = settings(authority.issue("peer"), peer_ca=str(authority.certificate))
    probe(strict, tls.for_requestor(ours))

    with pytest.raises(PeerFailure):
        probe(strict, tls.for_requestor(Tls(peer_ca=str(authority.certificate))))


def test_a_certificate_of_another_authority(strict: Running, authority: Authority, tmp_path: Path) -> None:
    """Who shows a certificate that our CA did not sign is not let in."""
    theirs = settings(Authority(tmp_path).issue("stranger"), peer_ca=str(authority.certificate))

    with pytest.raises(PeerFailure):
        probe(strict, tls.for_requestor(theirs))


def test_a_peer_of_another_authority(strict: Running, authority: Authority, tmp_path: Path) -> None:
    """We give nothing to a peer whose certificate is of a CA that we do not trust."""
    ours = settings(authority.issue("peer"), peer_ca=str(Authority(tmp_path).certificate))

    with pytest.raises(PeerFailure, match=r"US: no TLS with .*: its certificate is refused: "):
        probe(strict, tls.for_requestor(ours))


def test_a_peer_has_its_name(strict: Running, authority: Authority) -> None:
    """A certificate that is not made out to the host, or to tls_name, is refused."""
    context = tls.for_requestor(settings(authority.issue("peer"), client_ca=str(authority.certificate)))
    probe(strict, context, tls_name="localhost")

    with pytest.raises(PeerFailure, match="Hostname mismatch"):
        probe(strict, context, tls_name="elsewhere.example.org")


def test_a_peer_that_does_not_shake_hands(authority: Authority) -> None:
    """Connecting and shaking hands have one deadline together."""
    context = tls.for_requestor(Tls(peer_ca=str(authority.certificate)))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        peer = Peer("SILENT", "SILENT", "127.0.0.1", silent.getsockname()[1], tls=True)

        with pytest.raises(PeerFailure, match="nothing within the deadline"):
            peers.probe(peer, calling_ae="TESTER", limits=limits(connect=0.1), secure=context)


def test_tls_is_never_left_out(node: Running) -> None:
    """Without certificates a peer with TLS is not spoken to in clear text."""
    with pytest.raises(PeerFailure, match="nothing in table"):
        probe(node, None)


# pynetdicom leaves a socket to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_commitment_is_reported_by_tls(authority: Authority, certificate: Certificate) -> None:
    """N-EVENT-REPORT to a pynetdicom requester that demands our certificate."""
    heard = []

    def take(event: Any) -> tuple[int, None]:
        heard.append(event.event_information.TransactionUID)
        return 0x0000, None

    entity = AE("TESTER")
    entity.add_supported_context(_COMMITMENT, scu_role=False, scp_role=True)
    theirs = tls.for_acceptor(settings(authority.issue("ct01"), client_ca=str(authority.certificate)))
    listener = entity.start_server(
        ("127.0.0.1", 0), block=False, ssl_context=theirs, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)]
    )
    assert listener is not None
    peer = Peer("tester", "TESTER", "127.0.0.1", listener.server_address[1], tls=True)
    ours = tls.for_requestor(settings(certificate, client_ca=str(authority.certificate)))
    transaction = Transaction(1, Uid("2.25.1"), "TESTER", AE_TITLE, STARTED)
    commitment = Commitment(transaction, (Reference(Uid(CT), Uid(images.uid_of(1))),), (None,))
    try:
        taken = list(ReportCaller(AE_TITLE, limits(), ours).report(peer, AE_TITLE, [commitment]))
    finally:
        listener.shutdown()
        listener.server_close()

    assert [(commitment, True)] == taken
    assert ["2.25.1"] == heard
