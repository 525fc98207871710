"""Who may be whom, decided without a network."""

from __future__ import annotations

import ipaddress

import pytest

from pacsnode import config
from pacsnode.config import Config
from pacsnode.security import bindings
from pacsnode.security.bindings import Binding, Caller
from pacsnode.security.certificates import Certificate

SHOWN = Certificate("a" * 64, "b" * 64, frozenset({"ct01.example.org"}))


@pytest.mark.parametrize(
    ("network", "address", "is_within"),
    [
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "10.0.0.6", False),
        ("10.0.0.0/24", "10.0.0.255", True),
        ("10.0.0.0/24", "10.0.1.0", False),
        ("10.0.0.0/24", "::ffff:10.0.0.7", True),  # a socket for both families
        ("fe80::/10", "fe80::1%eth0", True),
        ("2001:db8::/64", "2001:db8::1", True),
        ("2001:db8::/64", "10.0.0.5", False),
    ],
)
def test_addresses(network: str, address: str, is_within: bool) -> None:
    """A peer comes from its networks, IPv4 in IPv6 and scopes notwithstanding."""
    binding = Binding((ipaddress.ip_network(network),))

    assert is_within == (not binding.mismatch(Caller(address)))


@pytest.mark.parametrize(
    ("binding", "words"),
    [
        (Binding(), ""),
        (Binding(requires_tls=True), ""),
        (Binding(fingerprints=frozenset({"a" * 64})), ""),
        (Binding(fingerprints=frozenset({"b" * 64})), ""),
        (Binding(fingerprints=frozenset({"c" * 64})), "with another certificate than its own"),
        (Binding(names=frozenset({"ct01.example.org", "other"})), ""),
        (Binding(names=frozenset({"example.org"})), "with a certificate that is made out to another name"),
    ],
)
def test_certificates(binding: Binding, words: str) -> None:
    """A certificate is known by its fingerprint, that of its key, or one of its names, whole."""
    assert words == binding.mismatch(Caller("10.0.0.5", is_secured=True, certificate=SHOWN))


def test_what_is_not_shown() -> None:
    """Without TLS, or without a certificate, nothing is proven."""
    pinned = Binding(fingerprints=frozenset({"a" * 64}))

    assert "without TLS" == pinned.mismatch(Caller("10.0.0.5"))
    assert "without TLS" == Binding(requires_tls=True).mismatch(Caller("10.0.0.5"))
    assert "without a certificate" == pinned.mismatch(Caller("10.0.0.5", is_secured=True))


def test_of_the_configuration() -> None:
    """A peer's binding is found by its AE title; names are compared without case."""
    entry = config.PeerEntry(
        ae_title="CT01", host="10.0.0.5", port=104, certificate_names=("CT01.Example.org",), require_tls=True
    )
    made = bindings.of_peers(Config.model_construct(peer_entries={"ct": entry}))

    assert {"CT01": Binding((), True, frozenset(), frozenset({"ct01.example.org"}))} == made
