"""What a certificate says: whose it is, by which fingerprint it is known, when it expires."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

_NAMES = (x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Fingerprints are SHA-256 in hexadecimal digits; names are in lower case."""

    fingerprint: str
    key_fingerprint: str  # of the public key, which a renewed certificate may keep
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a certificate of a file ends; ``key`` is that of table [tls]."""

    key: str
    path: str
    not_after: datetime

    def warning(self, now: datetime, ahead: timedelta) -> str:
        """What to tell of it now, that much ahead; "" as long as there is nothing to tell."""
        left = self.not_after - now
        if left > ahead:
            return ""
        when = f"has expired on {self.not_after:%Y-%m-%d}" if left < timedelta() else f"expires in {left.days} days"
        return f"the certificate of [tls] {self.key} {when}: {self.path}"


def read(der: bytes) -> Certificate:
    """Read the certificate that a peer has shown. Raises ValueError."""
    return _read(x509.load_der_x509_certificate(der))


def read_pem(pem: bytes) -> Certificate:
    """As ``read``, of a PEM file's first certificate. Raises ValueError."""
    return _read(x509.load_pem_x509_certificate(pem))


def expiries(files: Mapping[str, str]) -> list[Expiry]:
    """When the first certificate of each file to end does so, by the key of table [tls]; what cannot be read is left
    out: a context for TLS has been made of these files, or there will be none."""
    found = []
    for key, path in files.items():
        try:
            certificates = x509.load_pem_x509_certificates(Path(path).read_bytes())
        except (OSError, ValueError):
            continue
        found.append(Expiry(key, path, min(one.not_valid_after_utc for one in certificates)))
    return found


def _read(certificate: x509.Certificate) -> Certificate:
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    names = frozenset(name.lower() for name in _names(certificate))
    return Certificate(certificate.fingerprint(SHA256()).hex(), hashlib.sha256(key).hexdigest(), names)


def _names(certificate: x509.Certificate) -> Iterator[str]:
    yield from (str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return
    for kind in _NAMES:
        yield from extension.value.get_values_for_type(kind)
    yield from map(str, extension.value.get_values_for_type(x509.IPAddress))
