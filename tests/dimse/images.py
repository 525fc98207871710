"""Small data sets to send: made-up patients, UIDs and ramps."""

from __future__ import annotations

from collections.abc import Sequence

from pacsnode.model import Uid
from tests.dicom.dataset_bytes import Branch, Leaf, Pixels, encode
from tests.dimse.raw_peer import CT, EXPLICIT, JPEG_BASELINE

ROOT = "2.25.7001"
STUDY = f"{ROOT}.1"
SERIES = f"{ROOT}.2"


def uid_of(number: int) -> str:
    """SOP Instance UID of an image."""
    return f"{ROOT}.3.{number}"


def image(
    number: int = 1,
    *,
    syntax: str = EXPLICIT,
    sop_class: str = CT,
    uid: str | None = None,
    study: str = STUDY,
    series: str = SERIES,
    pixels: bytes = b"\1\2\3\4",
    name: bytes = b"Made^Up",
    patient_id: bytes = b"P1",
    charset: bytes = b"",
    without: Sequence[int] = (),
    date: bytes = b"20240102",
    time: bytes = b"1015",
    more: Sequence[Leaf | Branch] = (),
) -> bytes:
    """A data set of the transfer syntax; ``without``: tags to leave out; ``more``: what else is in it."""
    leaves = [
        Leaf(0x00080005, "CS", charset),
        Leaf(0x00080016, "UI", _padded_uid(sop_class)),
        Leaf(0x00080018, "UI", _padded_uid(uid or uid_of(number))),
        Leaf(0x00080020, "DA", date),
        Leaf(0x00080030, "TM", time),
        Leaf(0x00080050, "SH", b"ACC1"),
        Leaf(0x00080060, "CS", b"CT"),
        Leaf(0x00100010, "PN", _padded(name)),
        Leaf(0x00100020, "LO", _padded(patient_id)),
        Leaf(0x0020000D, "UI", _padded_uid(study)),
        Leaf(0x0020000E, "UI", _padded_uid(series)),
        Leaf(0x00200010, "SH", b"1 "),
        Leaf(0x00200011, "IS", b"1 "),
        Leaf(0x00200013, "IS", _padded(str(number).encode())),
    ]
    body: list[Leaf | Branch] = [
        leaf for leaf in leaves if leaf.tag not in without and (leaf.value or leaf.tag != 0x00080005)
    ]
    body = sorted([*body, *more], key=lambda node: node.tag)
    ending = Pixels((b"", pixels)) if syntax == JPEG_BASELINE else Leaf(0x7FE00010, "OW", pixels)
    return encode([*body, ending], Uid(syntax))


def _padded(raw: bytes) -> bytes:
    return raw + b" " * (len(raw) % 2)


def _padded_uid(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)
