"""The file of users: a line for each, ``NAME:HASH``, the hash of the passcode being argon2id's (RFC 9106)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from pacsnode.errors import ConfigError

MAX_NAME_BYTES, MAX_PASSCODE_BYTES = 128, 1024
_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)  # 19 MiB, some 30 ms
# Of a passcode that nobody has: who names a user that is not there waits as long as any other.
_NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$FO3KfFpMpZxFbIrIYSnsOLU0mtBTjcZUVnTMEgYbvCM"
_INTRODUCTION = "# Users of pacsnode, written by `pacsnode user`: NAME:HASH\n"


def read(path: str) -> dict[str, str]:
    """The hashes by name. Raises ConfigError."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(
            f'[access] users_file = "{path}": cannot be read: {why}; make it by: pacsnode user add'
        ) from error
    users = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, hashed = line.strip().rpartition(":")
        if not colon or not name or not hashed.startswith("$argon2id$"):
            raise ConfigError(f'[access] users_file = "{path}": line {number} is not NAME:HASH with an argon2id hash')
        users[name] = hashed
    return users


def text(users: Mapping[str, str]) -> str:
    """The file with these users."""
    return _INTRODUCTION + "".join(f"{name}:{hashed}\n" for name, hashed in sorted(users.items()))


def wrong_name(name: str) -> str:
    """Why this cannot be the name of a user; "" where it can."""
    if not name or not name.isprintable() or name.startswith("#") or name != name.strip():
        return "not a user's name; printable characters, no # at the beginning, no blanks around"
    return f"longer than {MAX_NAME_BYTES} bytes" if len(name.encode()) > MAX_NAME_BYTES else ""


def hash_of(passcode: str) -> str:
    """What the file keeps of a passcode."""
    return _HASHER.hash(passcode)


def is_right(users: Mapping[str, str], name: str, passcode: bytes) -> bool:
    """Is this the passcode of the user? Takes as long where there is none of that name."""
    try:
        return _HASHER.verify(users.get(name, _NOBODY), passcode) and name in users
    except (VerificationError, InvalidHashError):
        return False
