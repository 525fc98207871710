"""The chain of records: each is one line that holds the SHA-256 of itself and all before it. No I/O.

``<sequence> <kind> <bytes of the payload> <SHA-256> <payload>\\n``; the kind is M for a message, S for a seal.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MESSAGE, SEAL = b"M", b"S"
_LINE = re.compile(rb"([0-9]{1,19}) ([MS]) ([0-9]{1,9}) ([0-9a-f]{64}) (.*)\n", re.DOTALL)
_BEGINNING = re.compile(rb"(?:[0-9]{1,19}(?: (?:[MS](?: (?:[0-9]{1,9}(?: [0-9a-f]{0,64})?)?)?)?)?)?")
_HEAD = re.compile(rb"[0-9]{1,19} [MS] ([0-9]{1,9}) [0-9a-f]{64} ")


@dataclass(frozen=True, slots=True)
class Link:
    """Where the chain stands: the last sequence number, and its SHA-256."""

    sequence: int
    digest: bytes  # 64 hex digits


START = Link(0, b"0" * 64)


@dataclass(frozen=True, slots=True)
class Record:
    """One record as its line tells."""

    link: Link
    kind: bytes
    payload: bytes


def encode(after: Link, kind: bytes, payload: bytes) -> tuple[bytes, Link]:
    """The line of a further record, and where the chain stands behind it."""
    head = b"%d %s %d" % (after.sequence + 1, kind, len(payload))
    digest = hashlib.sha256(b"%s %s %s" % (after.digest, head, payload)).hexdigest().encode("ascii")
    return b"%s %s %s\n" % (head, digest, payload), Link(after.sequence + 1, digest)


def decode(line: bytes) -> Record | None:
    """What a line says, true or not; None where it is none."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    return Record(Link(int(found[1]), found[4]), found[2], found[5])


def is_torn(line: bytes) -> bool:
    """Is this, without a line's end, how a record begins that a power cut kept from being written to its end?"""
    told = line.rstrip(b"\0")  # a file may have grown before its bytes came
    if _BEGINNING.fullmatch(told):
        return True
    head = _HEAD.match(told)
    if head is None:
        return False
    missing = int(head[1]) - (len(told) - head.end())
    return missing > 0 or (missing == 0 and told == line)


def seal(after: Link, key: Ed25519PrivateKey) -> bytes:
    """The payload of a seal: a signature of where the chain stands."""
    return base64.b64encode(key.sign(_sealed(after)))


def is_sealed(after: Link, payload: bytes, key: Ed25519PublicKey) -> bool:
    """Is this the seal of where the chain stands, made with this key?"""
    try:
        key.verify(base64.b64decode(payload, validate=True), _sealed(after))
    except (InvalidSignature, ValueError):
        return False
    return True


def _sealed(after: Link) -> bytes:
    return b"pacsnode audit trail %d %s" % (after.sequence, after.digest)
