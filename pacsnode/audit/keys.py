"""The key pair that seals the audit trail, made when it is first needed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pacsnode.errors import AuditFailure

_PRIVATE_NAME, _PUBLIC_NAME = "signing.key", "signing.pub"
_PRIVATE_MODE, _PUBLIC_MODE = 0o600, 0o640


def signing_key(folder: Path) -> Ed25519PrivateKey:
    """The private key of a folder, created with its public one where there is none. Raises AuditFailure."""
    path = folder / _PRIVATE_NAME
    try:
        if not path.exists():
            _create(folder)
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise AuditFailure(f"{path}: cannot be used: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise AuditFailure(f"{path}: not a private key; put back the one that was there") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise AuditFailure(f"{path}: not an Ed25519 key; put back the one that was there")
    return key


def public_path(folder: Path) -> Path:
    """Where the public key of a folder is."""
    return folder / _PUBLIC_NAME


def public_key(path: Path) -> Ed25519PublicKey:
    """The public key of a file, or of the folder that a trail is in. Raises AuditFailure."""
    path = path / _PUBLIC_NAME if path.is_dir() else path
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise AuditFailure(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise AuditFailure(f"{path}: not a public key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise AuditFailure(f"{path}: not an Ed25519 key")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of the public key, 64 hex digits: to be compared with what was written down elsewhere."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _create(folder: Path) -> None:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    # The public key first: where the private one is, the other is, too.
    write_file(folder / _PUBLIC_NAME, public, _PUBLIC_MODE)
    write_file(folder / _PRIVATE_NAME, private, _PRIVATE_MODE)


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Put a file in place at once, durably. Raises OSError."""
    beside = path.with_name(path.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
