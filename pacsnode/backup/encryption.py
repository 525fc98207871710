"""What lies in the backup may be sealed in the age format (age-encryption.org/v1): ``age -d`` opens it without us."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import BinaryIO, Protocol

import pyrage
from pyrage import x25519

from pacsnode.errors import BackupDamaged, BackupFailure, ConfigError

_COPY_BYTES = 1024 * 1024
_IDENTITY, _RECIPIENT = "AGE-SECRET-KEY-1", "age1"


class Encryption(Protocol):
    """How bytes go into the backup, and come out again."""

    suffix: str
    """What the names of sealed files end in."""
    can_open: bool
    """False: only who has the other half of the key can read what is sealed here."""

    def seal(self, source: BinaryIO, sink: BinaryIO) -> None:
        """Write the source's bytes to the sink as they go into the backup. In bounded memory, whatever their number."""

    def unseal(self, source: BinaryIO, sink: BinaryIO) -> None:
        """The other way. Raises BackupDamaged where the bytes are not what was sealed, BackupFailure without the key.

        What the sink got before is of no use then.
        """


class Plain:
    """Nothing is sealed."""

    suffix = ""
    can_open = True

    def seal(self, source: BinaryIO, sink: BinaryIO) -> None:
        """See Encryption.seal."""
        shutil.copyfileobj(source, sink, _COPY_BYTES)

    def unseal(self, source: BinaryIO, sink: BinaryIO) -> None:
        """See Encryption.unseal."""
        shutil.copyfileobj(source, sink, _COPY_BYTES)


class Age:
    """Sealed for one X25519 recipient. Without its identity nothing can be read: not by a thief of this node either."""

    suffix = ".age"

    def __init__(self, recipient: x25519.Recipient, identity: x25519.Identity | None) -> None:
        self._recipient = recipient
        self._identity = identity
        self.can_open = identity is not None

    def seal(self, source: BinaryIO, sink: BinaryIO) -> None:
        """See Encryption.seal."""
        pyrage.encrypt_io(source, sink, [self._recipient])

    def unseal(self, source: BinaryIO, sink: BinaryIO) -> None:
        """See Encryption.unseal."""
        if self._identity is None:
            raise BackupFailure("backup: key_file holds the recipient only; name the file of the identity (--key-file)")
        try:
            pyrage.decrypt_io(source, sink, [self._identity])
        except pyrage.DecryptError as error:
            if "No matching keys" in str(error):
                raise BackupFailure("backup: it was sealed with another key than that of key_file") from error
            raise BackupDamaged(f"cannot be opened: {error}") from error
        except OSError as error:  # how the library tells of a block that is not what was sealed
            if error.errno is not None:
                raise
            raise BackupDamaged(f"cannot be opened: {error}") from error


def load(key_file: Path | None) -> Encryption:
    """What the file asks for: an age identity or a recipient, a line of either, as ``age-keygen`` writes them.

    Raises ConfigError where it cannot be read, or holds neither.
    """
    if key_file is None:
        return Plain()
    try:
        lines = [line.strip() for line in key_file.read_text("ascii").splitlines()]
    except OSError as error:
        raise ConfigError(f"[jobs.backup] key_file: {key_file}: {error.strerror}; name a readable file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"[jobs.backup] key_file: {key_file} is not text; make one by: age-keygen") from error
    told = next((line for line in lines if line and not line.startswith("#")), "")
    try:
        if told.startswith(_IDENTITY):
            identity = x25519.Identity.from_str(told)
            return Age(identity.to_public(), identity)
        if told.startswith(_RECIPIENT):
            return Age(x25519.Recipient.from_str(told), None)
    except (pyrage.IdentityError, pyrage.RecipientError):
        pass
    raise ConfigError(
        f"[jobs.backup] key_file: {key_file} holds no age key; a line AGE-SECRET-KEY-1… or age1…, made by: age-keygen"
    )
