"""Names of objects, and nothing else: no I/O here.

A key is ``YYYY/MM/DD/xx/<32 hex digits>``, made of the time of arrival (UTC) and randomness alone, so that the plain
string order of keys is the order of arrival and nothing a peer sends can name a file.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath
from typing import TypeGuard

from pacsnode.model import Key

RANDOM_BYTES = 9
"""How many bytes of randomness a key holds, behind its 56 bits of microseconds since 1970."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIME_BITS = 56
_FRESH_BYTES = 4  # of the randomness: the rest keeps two instances of one microsecond in their order
_SHARDS_A_DAY = 256  # 337.5 s each: what arrives together shares a directory, and so its fsync
_SECONDS_A_DAY = 24 * 60 * 60

_DAY = r"[0-9]{4}/(?:0[1-9]|1[0-2])/(?:0[1-9]|[12][0-9]|3[01])"
_KEY = re.compile(_DAY + r"/[0-9a-f]{2}/[0-9a-f]{32}")
_FOLDER = re.compile(r"[0-9]{4}(?:/(?:0[1-9]|1[0-2])(?:/(?:0[1-9]|[12][0-9]|3[01])(?:/[0-9a-f]{2})?)?)?")


def new_key(received_at: datetime, randomness: bytes) -> Key:
    """A key for what arrived then; keys of different microseconds sort by time.

    Uses the first RANDOM_BYTES of the randomness. Raises ValueError where there are fewer, where the time is not
    aware of its zone, before 1970 or after the year 4253.
    """
    if len(randomness) < RANDOM_BYTES:
        raise ValueError(f"a key takes {RANDOM_BYTES} bytes of randomness, not {len(randomness)}")
    if received_at.utcoffset() is None:
        raise ValueError("a key takes a time that knows its zone")
    utc = received_at.astimezone(UTC)
    microseconds = (utc - _EPOCH) // _MICROSECOND
    if not 0 <= microseconds < 1 << _TIME_BITS:
        raise ValueError(f"a key cannot hold the year {utc.year}")
    second = utc.hour * 3600 + utc.minute * 60 + utc.second
    shard = second * _SHARDS_A_DAY // _SECONDS_A_DAY
    folder = f"{utc.year:04d}/{utc.month:02d}/{utc.day:02d}/{shard:02x}"
    return Key(f"{folder}/{microseconds:014x}{randomness[:RANDOM_BYTES].hex()}")


def sibling(key: Key, randomness: bytes) -> Key:
    """A key for another encoding of what is stored under this one: among other keys it sorts where that one does.

    Uses the first 4 bytes of the randomness. Raises ValueError where there are fewer.
    """
    if len(randomness) < _FRESH_BYTES:
        raise ValueError(f"a sibling takes {_FRESH_BYTES} bytes of randomness, not {len(randomness)}")
    return Key(key[: -2 * _FRESH_BYTES] + randomness[:_FRESH_BYTES].hex())


def arrival_part(key: Key) -> str:
    """What the keys of all encodings of one arrival have in common."""
    return key[: -2 * _FRESH_BYTES]


def is_key(text: str) -> TypeGuard[Key]:
    """Does the text have the form of a key?"""
    return _KEY.fullmatch(text) is not None


def is_folder(text: str) -> bool:
    """Is this a folder, relative to the root, that keys may lie below?"""
    return _FOLDER.fullmatch(text) is not None


def path(root: Path, key: Key) -> Path:
    """Where the object lies below the root. Raises ValueError for what is not a key: nothing leaves the root."""
    if not is_key(key):
        raise ValueError("not a key of the store")
    return root / key


def parse(relative: str | PurePath) -> Key | None:
    """The key of the object at this path relative to the root; None where it is not an object of ours."""
    text = relative if isinstance(relative, str) else relative.as_posix()
    return text if is_key(text) else None
