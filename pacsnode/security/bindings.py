"""Who may be whom: a peer is its AE title together with where it comes from and what it shows."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from pacsnode.config import Config, Network, PeerEntry
from pacsnode.security.certificates import Certificate


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end of a connection, as far as the connection tells."""

    address: str
    is_secured: bool = False
    certificate: Certificate | None = None

    @property
    def is_local(self) -> bool:
        """Is it on this machine?"""
        return _address(self.address).is_loopback


@dataclass(frozen=True, slots=True)
class Binding:
    """What is asked of who calls himself by an AE title."""

    networks: tuple[Network, ...] = ()
    requires_tls: bool = False
    fingerprints: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    def mismatch(self, caller: Caller) -> str:
        """Why the caller is not that peer; "" where it is, as far as can be known."""
        address = _address(caller.address)
        if self.networks and not any(address in network for network in self.networks):
            return "not from one of its addresses"
        if (self.requires_tls or self.fingerprints or self.names) and not caller.is_secured:
            return "without TLS"
        shown = caller.certificate
        if (self.fingerprints or self.names) and shown is None:
            return "without a certificate"
        if self.fingerprints and shown and not self.fingerprints & {shown.fingerprint, shown.key_fingerprint}:
            return "with another certificate than its own"
        if self.names and shown and not self.names & shown.names:
            return "with a certificate that is made out to another name"
        return ""


def of_peers(config: Config) -> Mapping[str, Binding]:
    """The bindings of all peers, by AE title."""
    return {entry.title_for(name): _of(entry) for name, entry in config.peer_entries.items()}


def _of(entry: PeerEntry) -> Binding:
    return Binding(
        entry.addresses,
        entry.require_tls,
        frozenset(entry.certificates),
        frozenset(name.lower() for name in entry.certificate_names),
    )


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address as the system tells it: with a scope, or as IPv4 in IPv6 where one socket listens for both."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
