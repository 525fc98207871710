"""TLS with DCMTK and pynetdicom as peers, on certificates made by the commands of docs/tls.md."""

from __future__ import annotations

import queue
import re
import shlex
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association

from benchmarks.certificates import is_possible
from tests.system import dcmtk, material
from tests.system.live import LiveNode
from tests.system.material import Sample

IMAGES = 4
DOCUMENT = Path(__file__).parents[2] / "docs" / "tls.md"
VERIFICATION = "1.2.840.10008.1.1"
COMMITMENT = "1.2.840.10008.1.20.1"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"


@dataclass(frozen=True)
class Secured:
    """A node that listens for TLS, a receiver that has it, and the folder of their certificates."""

    node: LiveNode
    certificates: Path
    samples: list[Sample]
    received: Path
    requester_port: int  # where pynetdicom hears of its storage commitments

    def address(self) -> list[str]:
        """DCMTK's arguments: the modality's certificate, and where the node is."""
        return [*options(self.certificates, "ct01"), *dcmtk.address(self.node.tls_port)]


def options(folder: Path, name: str) -> list[str]:
    """DCMTK's arguments to have this certificate, and to demand one of the CA."""
    return ["+tls", str(folder / f"{name}.key"), str(folder / f"{name}.pem"), "+cf", str(folder / "ca.pem")]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the shell commands of the document leave behind."""
    if not is_possible():
        pytest.skip("the openssl command is not here; run: apt-get install openssl")
    folder = tmp_path_factory.mktemp("certificates")
    for block in re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            subprocess.run(shlex.split(line), cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def secured(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("tls")
    samples = material.series(IMAGES, folder / "samples")
    requester_port = dcmtk.free_port()
    with dcmtk.receiver(folder / "received", tls=options(certificates, "ct01")) as port:
        peer = f'host = "127.0.0.1"\nport = {port}\ntls = true\n'
        tables = (
            f'[tls]\ncertificate = "{certificates}/node.pem"\nkey = "{certificates}/node.key"\n'
            f'client_ca = "{certificates}/ca.pem"\n'
            f'[peers.RECEIVER]\n{peer}tls_name = "ct01.example.org"\n[peers.IMPOSTOR]\n{peer}'
            f'[peers.PYNETDICOM]\nhost = "127.0.0.1"\nport = {requester_port}\ntls = true\n'
            'tls_name = "ct01.example.org"\n'
        )
        with LiveNode(folder / "node", tables, node_keys='tls_listen = "127.0.0.1:0"\n') as node:
            dcmtk.run("storescu", *options(certificates, "ct01"), *dcmtk.address(node.tls_port), *paths(samples))
            yield Secured(node, certificates, samples, folder / "received", requester_port)


@contextmanager
def associated(
    secured: Secured, sop_class: str, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[Association]:
    """pynetdicom with the modality's certificate, which knows the node by its name."""
    folder = secured.certificates
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "ct01.pem", folder / "ct01.key")
    context.minimum_version = context.maximum_version = version
    entity = AE("PYNETDICOM")
    entity.add_requested_context(sop_class)
    association = entity.associate(
        "127.0.0.1", secured.node.tls_port, ae_title="PACSNODE", tls_args=(context, "archive.example.org")
    )
    assert association.is_established
    yield association
    association.release()


def paths(samples: list[Sample]) -> list[str]:
    """Of the files."""
    return [str(sample.path) for sample in samples]


def test_dcmtk_echoes(secured: Secured) -> None:
    """The document's last step: echoscu +tls."""
    assert "Received Echo Response (Success)" in dcmtk.run("echoscu", "-v", *secured.address())


def test_what_was_stored_by_tls_is_found_by_tls(secured: Secured) -> None:
    """storescu +tls, then findscu +tls."""
    answer = dcmtk.run("findscu", "-v", "-S", *secured.address(), *dcmtk.keys(["QueryRetrieveLevel=IMAGE"]))

    assert IMAGES == answer.count("Find Response: ")


def move(secured: Secured, destination: str) -> int:
    """C-MOVE of the study by pynetdicom, which movescu cannot by TLS: the final status."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.StudyInstanceUID = material.instance(0).StudyInstanceUID
    with associated(secured, STUDY_MOVE) as association:
        answers = list(association.send_c_move(identifier, destination, STUDY_MOVE))
    return int(answers[-1][0].Status)


def test_moved_to_a_peer_with_tls(secured: Secured) -> None:
    """C-MOVE to storescp +tls: every byte, over an association of ours whose certificate storescp demands."""
    status = move(secured, "RECEIVER")
    received = [path for path in secured.received.iterdir() if path.is_file()]

    assert 0x0000 == status
    assert sorted(material.digest(sample.path) for sample in secured.samples) == sorted(map(material.digest, received))


def test_a_peer_with_another_name_gets_nothing(secured: Secured) -> None:
    """A destination whose certificate is not made out to its host is left alone, and the log says why."""
    assert 0xA702 == move(secured, "IMPOSTOR")
    assert secured.node.wait_for(r'event=destination_failed peer=IMPOSTOR reason=".*IP address mismatch')


# pynetdicom leaves a socket to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_commitment_is_reported_by_tls(secured: Secured) -> None:
    """A requester that has hung up is called by TLS, and hears that all is safe."""
    events: queue.Queue[int] = queue.Queue()

    def take(event: Any) -> tuple[int, None]:
        events.put(event.event_type)
        return 0x0000, None

    folder, sample = secured.certificates, secured.samples[0]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "ct01.pem", folder / "ct01.key")
    entity = AE("PYNETDICOM")
    entity.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
    listener = entity.start_server(
        ("127.0.0.1", secured.requester_port),
        block=False,
        ssl_context=context,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)],
    )
    assert listener is not None
    try:
        with associated(secured, COMMITMENT) as association:
            status, _ = association.send_n_action(request(sample), 1, COMMITMENT, f"{COMMITMENT}.1")
        event_type = events.get(timeout=20)
    finally:
        listener.shutdown()
        listener.server_close()

    assert (0x0000, 1) == (status.Status, event_type)


def request(sample: Sample) -> Dataset:
    """Ask for the commitment of one instance."""
    reference, asked = Dataset(), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = sample.sop_class_uid, sample.sop_instance_uid
    asked.TransactionUID = "2.25.4711"
    asked.ReferencedSOPSequence = [reference]
    return asked


def test_peer_test_speaks_tls(secured: Secured) -> None:
    """``pacsnode peer test`` shakes hands as a C-MOVE would."""
    assert "associated in" in secured.node.run("peer", "test", "RECEIVER")


def test_nobody_without_a_certificate(secured: Secured) -> None:
    """A client that shows none is not let in, and the log tells what it lacks."""
    refused = dcmtk.run(
        "echoscu",
        "+tla",
        "+cf",
        str(secured.certificates / "ca.pem"),
        *dcmtk.address(secured.node.tls_port),
        expect=None,
    )

    assert "Failed" in refused or "failed" in refused
    assert secured.node.wait_for('event=connection_ended .*reason="TLS handshake failed: peer did not return a cert')


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_pynetdicom_echoes(secured: Secured, version: ssl.TLSVersion) -> None:
    """Both versions of TLS, certificates checked on both sides."""
    with associated(secured, VERIFICATION, version) as association:
        status = association.send_c_echo().Status

    assert 0x0000 == status
