"""The configuration of TLS; mistakes in it are among all others in test_config.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from pacsnode import config
from pacsnode.config import Address, Tls
from tests.test_config import OWN, PEER, write


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("''", ()),
        ("[]", ()),
        ("'0.0.0.0'", (Address("0.0.0.0", 2762),)),
        ("'[::1]'", (Address("::1", 2762),)),
        ("['pacs.example.org', '127.0.0.1:0']", (Address("pacs.example.org", 2762), Address("127.0.0.1", 0))),
    ],
)
def test_tls_listens_on_its_own_port(tmp_path: Path, text: str, expected: tuple[Address, ...]) -> None:
    """Port 2762 is dicom-tls (PS3.15 B.12) where none is said; nothing and an empty list are nowhere."""
    tables = OWN + "require_client_certificate = false\n"

    loaded = config.load(write(tmp_path, f"[node]\ntls_listen = {text}\n{tables}"))

    assert expected == loaded.node.tls_listen


def test_certificates_are_beside_the_file(tmp_path: Path) -> None:
    """Relative paths of [tls] start at the configuration's folder; what is not given stays so."""
    text = OWN + "client_ca = '/etc/pki/ca.pem'\n"

    loaded = config.load(write(tmp_path, text)).tls

    assert (
        Tls(certificate=str(tmp_path / "node.pem"), key=str(tmp_path / "node.key"), client_ca="/etc/pki/ca.pem")
        == loaded
    )


def test_peers_with_tls(tmp_path: Path) -> None:
    """A peer has TLS when it says so; its certificate may be made out to something else than its host."""
    text = "[tls]\npeer_ca = 'ca.pem'\n" + PEER + "tls = true\n[peers.PLAIN]\nhost = 'h'\nport = 1\n"

    peers = config.load(write(tmp_path, text)).peers
    named = config.load(write(tmp_path, text.replace("tls = true", "tls = true\ntls_name = 'ws'"))).peers

    assert [("", True), ("", False)] == [(peer.tls_name, peer.tls) for peer in peers.values()]
    assert "ws" == named["WS"].tls_name
