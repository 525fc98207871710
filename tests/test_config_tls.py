"""The configuration of TLS; mistakes in it are among all others in test_config.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from pacsnode import config
from pacsnode.config import Address, Tls
from pacsnode.errors import ConfigError
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


def test_credentials_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may be what systemd hands over; where it does not, for a command beside the service, it is where the
    service has it."""
    path = write(tmp_path, "[tls]\ncertificate = 'credential:tls.pem'\nkey = 'credential:tls.key'\n")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    beside = config.load(path).tls
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/other.service")
    within = config.load(path).tls

    assert "/run/credentials/pacsnode.service/tls.key" == beside.key
    assert "/run/credentials/other.service/tls.pem" == within.certificate


DIGITS = "0123456789abcdef" * 4
BOUND = "[node]\ntls_listen = '0.0.0.0'\n" + OWN + "client_ca = 'ca.pem'\n"
COLONS = ":".join(DIGITS[at : at + 2] for at in range(0, 64, 2)).upper()


def test_bindings_of_peers(tmp_path: Path) -> None:
    """Networks and fingerprints are read as they are commonly written, and written down so that they load again."""
    keys = f"addresses = ['10.0.0.5', '10.1.0.0/16', '::1']\ncertificates = ['sha256:{DIGITS}', '{COLONS}']\n"
    loaded = config.load(write(tmp_path, BOUND + PEER + keys))
    entry = loaded.peer_entries["WS"]
    text = config.toml(loaded)

    assert ["10.0.0.5/32", "10.1.0.0/16", "::1/128"] == [str(network) for network in entry.addresses]
    assert (DIGITS, DIGITS) == entry.certificates
    assert loaded == config.load(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            BOUND + PEER + "addresses = ['10.0.0.5/8']",
            '[peers.WS] addresses = "10.0.0.5/8": not an address or network;',
        ),
        (BOUND + PEER + "addresses = ['ws']", '[peers.WS] addresses = "ws": not an address or network;'),
        (BOUND + PEER + "addresses = [5]", "[peers.WS] addresses = 5: not an address or network;"),
        (BOUND + PEER + "certificates = ['abc']", '[peers.WS] certificates = "abc": not a fingerprint;'),
        (PEER + "require_tls = true", "[peers.WS]: what is asked of its TLS cannot be; [node] tls_listen is missing"),
        (
            BOUND + "require_client_certificate = false\n" + PEER + f"certificates = ['{DIGITS}']",
            "[peers.WS]: its certificate is never seen; [tls] require_client_certificate = true",
        ),
        (PEER + "move_destinations = ['X']", "[peers.WS] move_destinations: X is no peer's AE title; one of those"),
        (PEER + "user_identity = 'require'", "[access] user_identity: nobody can prove anything; users_file"),
        ("[access]\nuser_identity = 'require'", "[access] user_identity: nobody can prove anything; users_file"),
        ("[access]\ntoken_key = 'k'", "[access] token_audience: missing; token_key needs"),
    ],
)
def test_what_cannot_be_asked_of_peers(tmp_path: Path, text: str, complaint: str) -> None:
    """What is no address or fingerprint, and what nobody could ever fulfil, is a mistake."""
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, text))

    assert complaint in str(caught.value)
    assert 1 == len(str(caught.value).splitlines())
