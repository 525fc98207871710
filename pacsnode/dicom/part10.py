"""File meta information (PS3.10 7.1): the head of our own objects, which says how they came here, and that of others.

Ours has one length for one arrival, whatever the digest: it is written again when the last byte has come.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import BinaryIO

from pacsnode.dicom.coding import LONG_VRS, UNDEFINED_LENGTH
from pacsnode.errors import BadDataset, MalformedUid, ObjectDamaged
from pacsnode.model import Arrival, Original, Uid

IMPLEMENTATION_CLASS_UID = Uid("2.25.173682480959781097596000885272022694857")
IMPLEMENTATION_VERSION_NAME = "PACSNODE_0_1"
_VERSION_NAMES = (IMPLEMENTATION_VERSION_NAME,)
"""Every one that a head was ever written with: an object with another one would be taken for damaged."""
PRIVATE_INFORMATION_CREATOR_UID = Uid("2.25.32078104750458273444281916326389632223")
"""Who defines what our (0002,0102) Private Information holds: time of arrival and digests, in ASCII."""

_PREAMBLE = bytes(128)
_PREFIX = b"DICM"
_NO_DIGEST = "0" * 64
_UL = struct.Struct("<I")
_MAX_META_BYTES = 1024 * 1024
_READ_BYTES = 1024  # more than a head of ours
_HARMLESS_UID = re.compile(r"[0-9.]{1,64}\Z")
_PRIVATE_INFORMATION = re.compile(
    r"received=(\S{26})Z sha256=([0-9a-f]{64})"
    r"(?: original-sha256=([0-9a-f]{64}) original-size=([0-9]{1,19}) original-syntax=([0-9.]{1,64}))? *\Z"
)

_CLASS, _INSTANCE, _SYNTAX, _SOURCE, _RECEIVING = 0x0002, 0x0003, 0x0010, 0x0016, 0x0018
_CREATOR, _PRIVATE = 0x0100, 0x0102
_VERSION = 0x0013
_UIDS = (_CLASS, _INSTANCE, _SYNTAX)


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of one of our objects says. The move originator is not kept there."""

    arrival: Arrival
    digest: str  # SHA-256 of the data set, 64 hex digits
    offset: int  # where the data set begins


@dataclass(frozen=True, slots=True)
class FileHead:
    """What the file meta information of any Part 10 file says; UIDs it does not give are ""."""

    sop_class_uid: Uid
    sop_instance_uid: Uid
    transfer_syntax_uid: Uid
    offset: int  # where the data set begins


class HeadTemplate:
    """The head of an object that is arriving: all of it but the digest, which is known last."""

    def __init__(self, arrival: Arrival, version_name: str = IMPLEMENTATION_VERSION_NAME) -> None:
        """Raises MalformedUid for UIDs that no head should carry (PS3.5 9.1)."""
        private = _private_information(arrival)
        before, after = _repeated(
            arrival.sop_class_uid, arrival.transfer_syntax_uid, version_name, arrival.calling_ae, arrival.called_ae
        )
        meta = b"".join((before, _uid(_INSTANCE, arrival.sop_instance_uid), after, _element(_PRIVATE, b"OB", private)))
        begin = len(meta) - len(private) + private.index(_NO_DIGEST.encode())
        self._start = _BEFORE_LENGTH + _UL.pack(len(meta)) + meta[:begin]
        self._end = meta[begin + len(_NO_DIGEST) :]
        self.size = len(_BEFORE_LENGTH) + _UL.size + len(meta)  # bytes, whatever the digest

    def filled(self, digest: str) -> bytes:
        """The whole head, with the SHA-256 of the data set as 64 hex digits."""
        return self._start + digest.encode("ascii") + self._end


def read_head(source: BinaryIO) -> Head:
    """Read the head of one of our own objects, from its first byte. Raises ObjectDamaged when it is none.

    Where the source stands afterwards is not promised.
    """
    try:
        values, offset = _read_meta(source, last=_PRIVATE)
    except BadDataset as error:
        raise ObjectDamaged(f"no readable head: {error}") from error
    if _ascii(values, _CREATOR) != PRIVATE_INFORMATION_CREATOR_UID:
        raise ObjectDamaged("the head is not one of ours")
    private = _PRIVATE_INFORMATION.match(_ascii(values, _PRIVATE))
    if private is None:
        raise ObjectDamaged("the head does not tell time of arrival and digest")
    try:
        received_at = datetime.fromisoformat(private[1]).replace(tzinfo=UTC)
    except ValueError as error:
        raise ObjectDamaged("the head tells no valid time of arrival") from error
    sop_class, sop_instance, transfer_syntax = (Uid(_ascii(values, number)) for number in _UIDS)
    if not all(_HARMLESS_UID.match(uid) for uid in (sop_class, sop_instance, transfer_syntax)):
        raise ObjectDamaged("the head lacks a UID")
    calling_ae, called_ae = _ascii(values, _SOURCE), _ascii(values, _RECEIVING)
    original = Original(private[3], int(private[4]), Uid(private[5])) if private[3] else None
    arrival = Arrival(sop_class, sop_instance, transfer_syntax, calling_ae, called_ae, received_at, original=original)
    return Head(arrival, private[2], offset)


def is_head_of(content: bytes, arrival: Arrival, digest: str) -> bool:
    """Is this, byte for byte, the head of an object that arrived so, with a data set of this SHA-256?

    What a head may tell beyond these is taken from itself.
    """
    if content == HeadTemplate(arrival).filled(digest):
        return True
    try:
        expected = told_besides(arrival, read_head(io.BytesIO(content)).arrival)
    except ObjectDamaged:
        return False
    return any(content == HeadTemplate(expected, version).filled(digest) for version in _VERSION_NAMES)


def told_besides(arrival: Arrival, told: Arrival) -> Arrival:
    """The arrival, with what ``told`` knows and a row does not."""
    return replace(
        told,
        sop_class_uid=arrival.sop_class_uid,
        sop_instance_uid=arrival.sop_instance_uid,
        transfer_syntax_uid=arrival.transfer_syntax_uid,
        calling_ae=arrival.calling_ae,
        called_ae=arrival.called_ae,
        received_at=arrival.received_at,
    )


def read_foreign_head(source: BinaryIO) -> FileHead:
    """Read the file meta information of any Part 10 file, from its first byte; at most 1 MiB of it.

    Any preamble will do, or none; the group length is not relied on. Raises BadDataset where there is no file meta
    information, or none that says the transfer syntax. Where the source stands afterwards is not promised.
    """
    values, offset = _read_meta(source, last=None)
    sop_class, sop_instance, transfer_syntax = (Uid(_ascii(values, number)) for number in _UIDS)
    if not transfer_syntax:
        raise BadDataset("file meta lacks (0002,0010) Transfer Syntax UID")
    return FileHead(sop_class, sop_instance, transfer_syntax, offset)


def _element(number: int, vr: bytes, value: bytes) -> bytes:
    layout = "<HH2s2xI" if vr in LONG_VRS else "<HH2sH"
    return struct.pack(layout, 0x0002, number, vr, len(value) + len(value) % 2) + value + _padding(vr, value)


def _padding(vr: bytes, value: bytes) -> bytes:
    if len(value) % 2 == 0:
        return b""
    return b"\0" if vr in (b"UI", b"OB") else b" "


def _uid(number: int, uid: Uid) -> bytes:
    stripped = uid.strip(" \0")
    if not _HARMLESS_UID.match(stripped):
        raise MalformedUid(f"malformed UID for (0002,{number:04X})")
    return _element(number, b"UI", stripped.encode("ascii"))


@lru_cache(maxsize=256)  # the instances of an association repeat them: 2 us instead of 5 for each
def _repeated(
    sop_class_uid: Uid, transfer_syntax_uid: Uid, version_name: str, calling_ae: str, called_ae: str
) -> tuple[bytes, bytes]:
    """The elements before and after (0002,0003) Media Storage SOP Instance UID, but for the last one."""
    after = (
        _uid(_SYNTAX, transfer_syntax_uid),
        _IMPLEMENTATION,
        _element(_VERSION, b"SH", version_name.encode("ascii")),
        _element(_SOURCE, b"AE", _ae_title(calling_ae)),
        _element(_RECEIVING, b"AE", _ae_title(called_ae)),
        _PRIVATE_CREATOR,
    )
    return _FIRST_ELEMENTS + _uid(_CLASS, sop_class_uid), b"".join(after)


def _ae_title(title: str) -> bytes:
    return title.strip(" \0").encode("ascii", "replace")[:16]


def _private_information(arrival: Arrival) -> bytes:
    """With a digest of zeros. It ends even, and the digest comes before what else is recorded."""
    time = arrival.received_at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    told = f"received={time}Z sha256={_NO_DIGEST}"
    if arrival.original is not None:
        came = arrival.original
        told += f" original-sha256={came.digest} original-size={came.size} original-syntax={came.transfer_syntax_uid}"
    return (told + " " * (len(told) % 2)).encode("ascii")


def _read_meta(source: BinaryIO, *, last: int | None) -> tuple[dict[int, bytes], int]:
    """The values of group 0002 by element number, and where the data set begins. Raises BadDataset.

    There are data sets that begin with a group 0002 of their own: the head ends with its ``last`` element where that is
    known, else before one that it has already.
    """
    meta = _Meta(source)
    if meta.peek(4) == _PREFIX:
        meta.skip(4)
    elif meta.peek(132)[128:] == _PREFIX:
        meta.skip(132)
    else:
        raise BadDataset("no Part 10 file: no DICM at its start or after 128 bytes")
    values: dict[int, bytes] = {}
    while last not in values and meta.is_at_element():
        begin = meta.offset
        number, value = meta.read_element()
        if number in values:
            return values, begin
        values[number] = value
    if not values:
        raise BadDataset("no file meta information in explicit VR after DICM")
    return values, meta.offset


class _Meta:
    """Reads forward through elements of group 0002, which are always explicit VR little endian."""

    def __init__(self, source: BinaryIO) -> None:
        self.offset = 0
        self._source = source
        self._buffer = b""  # all that was read so far

    def peek(self, count: int) -> bytes:
        """The next bytes; fewer where the source ends."""
        end = self.offset + count
        if end > _MAX_META_BYTES:
            raise BadDataset("file meta information is longer than 1 MiB")
        while len(self._buffer) < end:
            more = self._source.read(max(_READ_BYTES, len(self._buffer)))
            if not more:
                break
            self._buffer += more
        return self._buffer[self.offset : end]

    def skip(self, count: int) -> None:
        self.offset += count

    def is_at_element(self) -> bool:
        """Whether an element of group 0002 comes; a VR is asked for, too: deflated data might begin like the group."""
        header = self.peek(8)
        return len(header) == 8 and header[:2] == b"\x02\x00" and header[4:6].isalpha() and header[4:6].isupper()

    def read_element(self) -> tuple[int, bytes]:
        number, vr, length = struct.unpack("<2xH2sH", self.peek(8))
        self.skip(8)
        if vr in LONG_VRS:
            long_length = self.peek(4)
            self.skip(4)
            length = int.from_bytes(long_length, "little") if len(long_length) == 4 else UNDEFINED_LENGTH
        if length > _MAX_META_BYTES:
            raise BadDataset(f"(0002,{number:04X}) has no sensible length")
        value = self.peek(length)
        if len(value) < length:
            raise BadDataset(f"truncated in (0002,{number:04X})")
        self.skip(length)
        return number, value


def _ascii(values: dict[int, bytes], number: int) -> str:
    return values.get(number, b"").decode("latin-1").strip(" \0")


_FIRST_ELEMENTS = _element(0x0001, b"OB", b"\x00\x01")
_IMPLEMENTATION = _uid(0x0012, IMPLEMENTATION_CLASS_UID)
_PRIVATE_CREATOR = _uid(_CREATOR, PRIVATE_INFORMATION_CREATOR_UID)
_BEFORE_LENGTH = _PREAMBLE + _PREFIX + struct.pack("<HH2sH", 0x0002, 0x0000, b"UL", _UL.size)
