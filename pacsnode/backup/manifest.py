"""The chain of manifests: each names what was added since the one before, and that one's digest. No I/O here.

Manifests and lists are readable text also where all else is sealed: they tell when, how much and how large, no more.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from pacsnode.errors import BackupDamaged, BackupFailure
from pacsnode.model import Key
from pacsnode.storage import layout

FORMAT = 1
OWNER = "owner.json"
MANIFESTS = "manifests"
LISTS = "lists"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"objects/[0-9a-f]{2}/[0-9a-f]{64}(?:\.age)?")
_NUMBER = re.compile(MANIFESTS + r"/([0-9]{10})\.json")


@dataclass(frozen=True, slots=True)
class Piece:
    """A file of the backup, as it was before it was sealed, and as it lies there."""

    name: str
    digest: str  # SHA-256, 64 hex digits, of what went in
    size: int  # bytes of that
    stored: str  # SHA-256 of the bytes that lie there; the same where nothing is sealed


@dataclass(frozen=True, slots=True)
class Copied:
    """An object that is in the backup: the whole Part 10 file under ``piece.name``, to be restored to its key."""

    key: Key
    content: str  # SHA-256 of the data set, as the index knows it
    piece: Piece


@dataclass(frozen=True, slots=True)
class Gone:
    """An object that was removed here; the backup keeps it for a while."""

    key: Key


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The index of one moment, and the list of all objects that were in the backup then."""

    index: Piece
    objects: Piece
    schema: int
    state: Mapping[str, Piece] = field(default_factory=dict)  # other databases and the configuration, by file name
    answers: Piece | None = None  # to queries, as that index gave them


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a run added to the backup."""

    number: int
    node: str
    at: datetime  # but for what is pending, everything that was stored before is in the backup
    previous: str  # SHA-256 of the manifest before it; "" for the first
    program: str
    pending: int = 0  # objects that were still to be copied
    changes: Piece | None = None  # the objects that came and went since the one before
    snapshot: Snapshot | None = None


def name_of(number: int) -> str:
    """Where the manifest of this number lies."""
    return f"{MANIFESTS}/{number:010d}.json"


def number_of(name: str) -> int | None:
    """The other way; None for what is no manifest."""
    found = _NUMBER.fullmatch(name)
    return int(found[1]) if found else None


def object_name(digest: str, suffix: str) -> str:
    """Where the object with this SHA-256 lies."""
    return f"objects/{digest[:2]}/{digest}{suffix}"


def encode(manifest: Manifest) -> bytes:
    """The bytes of the manifest's file."""
    told = {"format": FORMAT, **asdict(manifest), "at": manifest.at.isoformat()}
    return signed(told)


def signed(told: Mapping[str, object]) -> bytes:
    """A line of JSON, and a line with its SHA-256."""
    body = json.dumps(told, sort_keys=True).encode("ascii")
    return body + b"\n" + hashlib.sha256(body).hexdigest().encode("ascii") + b"\n"


def checked(content: bytes) -> dict[str, Any]:
    """The other way. Raises BackupDamaged where the one is not the SHA-256 of the other."""
    body, _, rest = content.partition(b"\n")
    if rest != hashlib.sha256(body).hexdigest().encode("ascii") + b"\n":
        raise BackupDamaged("damaged: its SHA-256 is not the one at its end")
    told: dict[str, Any] = json.loads(body)
    return told


def digest_of(content: bytes) -> str:
    """What the next manifest names as its ``previous``."""
    return hashlib.sha256(content).hexdigest()


def decode(content: bytes, number: int) -> Manifest:
    """The manifest of that number. Raises BackupDamaged; BackupFailure for one of a newer program."""
    try:
        told = checked(content)
    except BackupDamaged as error:
        raise BackupDamaged(f"{name_of(number)} is {error}") from error
    if told.pop("format") != FORMAT:
        raise BackupFailure(f"backup: {name_of(number)} was written by pacsnode {told['program']}; use that or newer")
    snapshot = told.pop("snapshot")
    found = Manifest(
        **told
        | {
            "at": datetime.fromisoformat(told["at"]),
            "changes": _piece(told["changes"]),
            "snapshot": None if snapshot is None else _snapshot(snapshot),
        }
    )
    if found.number != number:
        raise BackupDamaged(f"{name_of(number)} is damaged: it says it is number {found.number}")
    return found


def line_of(entry: Copied | Gone) -> str:
    """An entry of a list, without its line end."""
    if isinstance(entry, Gone):
        return json.dumps({"gone": entry.key})
    piece = entry.piece
    told = {"key": entry.key, "digest": piece.digest, "size": piece.size, "content": entry.content}
    if piece.stored != piece.digest:
        told |= {"name": piece.name, "stored": piece.stored}
    return json.dumps(told)


def entry_of(line: str) -> Copied | Gone:
    """The other way. Raises BackupDamaged for what no program of ours has written: a key becomes a file's name."""
    try:
        told = json.loads(line)
        if "gone" in told:
            return Gone(_key(told["gone"]))
        digest = _digest(told["digest"])
        name = told.get("name", object_name(digest, ""))
        piece = Piece(_name(name), digest, int(told["size"]), _digest(told.get("stored", digest)))
        return Copied(_key(told["key"]), _digest(told["content"]), piece)
    except (ValueError, KeyError, TypeError) as error:
        raise BackupDamaged("a list of objects in the backup holds something else") from error


def _snapshot(told: dict[str, Any]) -> Snapshot:
    index, objects = _piece(told["index"]), _piece(told["objects"])
    if index is None or objects is None:
        raise BackupDamaged("a snapshot without an index or a list of objects")
    state = {name: piece for name, found in told["state"].items() if (piece := _piece(found)) is not None}
    return Snapshot(index, objects, told["schema"], state, _piece(told["answers"]))


def _piece(told: dict[str, Any] | None) -> Piece | None:
    return None if told is None else Piece(**told)


def _key(text: str) -> Key:
    if not layout.is_key(text):
        raise ValueError("not a key")
    return text


def _digest(text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise ValueError("not a digest")
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("not a name")
    return text
