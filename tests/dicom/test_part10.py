import io
import shutil
import struct
import subprocess
import zlib
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import cast

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacsnode.dicom.part10 import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    FileHead,
    HeadTemplate,
    read_foreign_head,
    read_head,
)
from pacsnode.dicom.syntax import EXPLICIT_VR_LITTLE_ENDIAN
from pacsnode.errors import BadDataset, MalformedUid, ObjectDamaged
from pacsnode.model import Arrival, Original, Uid
from tests.dicom.dataset_bytes import Leaf, encode

ARRIVAL = Arrival(
    Uid("1.2.840.10008.5.1.4.1.1.2"),
    Uid("1.2.3.4"),
    EXPLICIT_VR_LITTLE_ENDIAN,
    "CT01",
    "PACSNODE",
    datetime(2026, 11, 24, 5, 0, 0, 123456, tzinfo=UTC),
)
DIGEST = "0123456789abcdef" * 4
UIDS = st.from_regex(r"[0-2](\.(0|[1-9][0-9]{0,9})){1,5}", fullmatch=True).map(Uid)
AE_TITLES = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_- ", max_size=16).map(str.strip)
META = (
    Leaf(0x00020001, "OB", b"\0\1"),
    Leaf(0x00020002, "UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
    Leaf(0x00020003, "UI", b"1.2.3.4\0"),
    Leaf(0x00020010, "UI", b"1.2.840.10008.1.2.1\0"),
)
DATA_SET = encode(
    (Leaf(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2\0"), Leaf(0x00100010, "PN", b"A^B ")),
    ARRIVAL.transfer_syntax_uid,
)


class Trickle(io.RawIOBase):
    """A source that gives a few bytes at a time, as unbuffered ones may."""

    def __init__(self, data: bytes, most_bytes: int) -> None:
        self._rest = memoryview(data)
        self._most_bytes = most_bytes
        self.read_bytes = 0

    def read(self, size: int = -1) -> bytes:
        size = min(size, self._most_bytes)
        piece, self._rest = bytes(self._rest[:size]), self._rest[size:]
        self.read_bytes += len(piece)
        return piece


@given(st.builds(Arrival, UIDS, UIDS, UIDS, AE_TITLES, AE_TITLES, st.datetimes(timezones=st.just(UTC))))
def test_own_head_round_trip(arrival: Arrival) -> None:
    """What was written of an arrival is read again, to the microsecond, and the data set begins behind it."""
    head = read_head(io.BytesIO(HeadTemplate(arrival).filled(DIGEST) + DATA_SET))

    assert (arrival, DIGEST, HeadTemplate(arrival).size) == (head.arrival, head.digest, head.offset)


@pytest.mark.parametrize("number", [0x0000, 0x0001, 0x0010, 0x0102, 0x0103])
def test_data_set_that_begins_with_a_group_0002(number: int) -> None:
    """Devices send such data sets: neither our head nor that of others goes on into them."""
    own = encode((Leaf(0x00020000 | number, "UI", b"1.2.3\0"),), EXPLICIT_VR_LITTLE_ENDIAN)
    head = read_head(io.BytesIO(HeadTemplate(ARRIVAL).filled(DIGEST) + own + DATA_SET))
    others = read_foreign_head(io.BytesIO(HeadTemplate(ARRIVAL).filled(DIGEST) + own + DATA_SET))

    assert (ARRIVAL, DIGEST, HeadTemplate(ARRIVAL).size) == (head.arrival, head.digest, head.offset)
    assert number == 0x0103 or (HeadTemplate(ARRIVAL).size, ARRIVAL.transfer_syntax_uid) == (
        others.offset,
        others.transfer_syntax_uid,
    )


def test_size_does_not_depend_on_the_digest() -> None:
    """A head can be written before the digest is known and replaced in place afterwards."""
    other = replace(ARRIVAL, received_at=datetime(1999, 1, 1, tzinfo=timezone(timedelta(hours=2))))

    assert HeadTemplate(ARRIVAL).size == len(HeadTemplate(ARRIVAL).filled(DIGEST)) == HeadTemplate(other).size


def test_read_in_small_pieces() -> None:
    """Short reads of an unbuffered source make no difference."""
    head = read_head(cast(io.BytesIO, Trickle(HeadTemplate(ARRIVAL).filled(DIGEST) + DATA_SET, 7)))

    assert head.arrival == ARRIVAL


def test_pydicom_reads_it() -> None:
    """For pydicom our object is a flawless Part 10 file with all of the mandatory meta elements."""
    read = pydicom.dcmread(io.BytesIO(HeadTemplate(ARRIVAL).filled(DIGEST) + DATA_SET))

    pydicom.dataset.validate_file_meta(read.file_meta)
    assert read.PatientName == "A^B"
    assert ARRIVAL.sop_instance_uid == str(read.file_meta.MediaStorageSOPInstanceUID)
    assert str(read.file_meta.ImplementationClassUID) == IMPLEMENTATION_CLASS_UID
    assert read.file_meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert read.file_meta.SourceApplicationEntityTitle == "CT01"
    assert read.file_meta.ReceivingApplicationEntityTitle == "PACSNODE"
    text = f"received=2026-11-24T05:00:00.123456Z sha256={DIGEST}"
    assert text.encode() == read.file_meta.PrivateInformation


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="dcmdump is not installed")
def test_dcmdump_reads_it(tmp_path: Path) -> None:
    """DCMTK reads our object without a warning."""
    path = tmp_path / "object.dcm"
    path.write_bytes(HeadTemplate(ARRIVAL).filled(DIGEST) + DATA_SET)
    dump = subprocess.run(["dcmdump", path], capture_output=True, text=True, check=True)

    assert dump.stderr == ""
    assert "PN [A^B]" in dump.stdout


def test_implementation_identity() -> None:
    """Class UID and version name keep the limits of PS3.7 D.3.3.2."""
    assert pydicom.uid.UID(IMPLEMENTATION_CLASS_UID).is_valid
    assert 1 <= len(IMPLEMENTATION_VERSION_NAME) <= 16


@pytest.mark.parametrize("uid", ["", "1.2.x", "1" * 65, "1.2\\3"])
def test_no_head_of_malformed_uids(uid: str) -> None:
    """UIDs that cannot be one are refused before a byte is written."""
    with pytest.raises(MalformedUid):
        HeadTemplate(replace(ARRIVAL, sop_instance_uid=Uid(uid)))


def test_damaged_heads() -> None:
    """A head that is cut anywhere, or altered in what it says of the object, is reported as damage."""
    head = HeadTemplate(ARRIVAL).filled(DIGEST)
    for length in range(len(head)):
        with pytest.raises(ObjectDamaged):
            read_head(io.BytesIO(head[:length]))
    for old, new in (
        (b"received=2", b"received=x"),
        (b"sha256=0", b"sha256=z"),
        (b"2.25.", b"2.26."),
        (b"DICM", b"DCIM"),
    ):
        with pytest.raises(ObjectDamaged):
            read_head(io.BytesIO(head.replace(old, new)))


def test_head_of_others_is_not_ours() -> None:
    """A Part 10 file that somebody else wrote is no object of the store."""
    with pytest.raises(ObjectDamaged, match="not one of ours"):
        read_head(io.BytesIO(foreign()))


def foreign(meta: tuple[Leaf, ...] = META, *, preamble: bytes = bytes(128)) -> bytes:
    return preamble + b"DICM" + encode(meta, EXPLICIT_VR_LITTLE_ENDIAN) + DATA_SET


@pytest.mark.parametrize("preamble", [bytes(128), b"II*\0" + b"\xff" * 124, b""])
@pytest.mark.parametrize("group_length", [None, 0, 28, 1 << 31])
def test_foreign_heads(group_length: int | None, preamble: bytes) -> None:
    """Preamble and group length may be anything or nothing: the group's elements are what counts."""
    meta = META if group_length is None else (Leaf(0x00020000, "UL", struct.pack("<I", group_length)), *META)
    data = foreign(meta, preamble=preamble)
    expected = FileHead(
        ARRIVAL.sop_class_uid, ARRIVAL.sop_instance_uid, ARRIVAL.transfer_syntax_uid, len(data) - len(DATA_SET)
    )

    assert expected == read_foreign_head(io.BytesIO(data))


def test_foreign_head_without_media_storage_uids() -> None:
    """Media storage UIDs may be absent; the data set has them, too."""
    head = read_foreign_head(io.BytesIO(foreign(META[-1:])))

    assert (head.sop_class_uid, head.sop_instance_uid, head.transfer_syntax_uid) == ("", "", EXPLICIT_VR_LITTLE_ENDIAN)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "no Part 10 file"),
        (DATA_SET, "no Part 10 file"),
        (bytes(200), "no Part 10 file"),
        (bytes(128) + b"DICM" + DATA_SET, "no file meta"),
        (foreign(META[:3]), "lacks \\(0002,0010\\)"),
        (bytes(128) + b"DICM" + struct.pack("<HH2s2xI", 2, 1, b"OB", 0xFFFFFFFF) + bytes(99), "no sensible length"),
        (bytes(128) + b"DICM" + struct.pack("<HH2sH", 2, 2, b"UI", 20) + b"1.2", "truncated"),
    ],
)
def test_no_foreign_head(data: bytes, complaint: str) -> None:
    """What has no readable file meta information is refused with the reason."""
    with pytest.raises(BadDataset, match=complaint):
        read_foreign_head(io.BytesIO(data))


def test_endless_meta_is_not_read() -> None:
    """No more than a little over 1 MiB is read in search of the data set."""
    endless = tuple(Leaf(0x00020102 + number, "OB", bytes(60_000)) for number in range(60))
    meta = encode(endless, EXPLICIT_VR_LITTLE_ENDIAN)
    source = Trickle(bytes(128) + b"DICM" + meta, 4096)

    with pytest.raises(BadDataset, match="longer than 1 MiB"):
        read_foreign_head(cast(io.BytesIO, source))
    assert source.read_bytes <= 2 * 1024 * 1024


@given(st.binary(max_size=200))
def test_noise_after_the_prefix(noise: bytes) -> None:
    """Whatever comes after DICM, nothing but BadDataset is raised."""
    offset = 4
    with suppress(BadDataset):
        offset = read_foreign_head(io.BytesIO(b"DICM" + noise)).offset

    assert 4 <= offset <= 4 + len(noise)


@pytest.mark.parametrize("size", [7, 1234])
def test_head_of_what_was_encoded_anew(size: int) -> None:
    """It tells what came, too; its own digest comes first, its length is even, and pydicom reads it."""
    original = Original("ab" * 32, size, Uid("1.2.840.10008.1.2"))
    arrival = replace(ARRIVAL, original=original)
    filled = HeadTemplate(arrival).filled(DIGEST)
    head = read_head(io.BytesIO(filled + DATA_SET))

    assert (arrival, DIGEST, HeadTemplate(arrival).size) == (head.arrival, head.digest, head.offset)
    assert len(filled) % 2 == 0
    told = pydicom.dcmread(io.BytesIO(filled + DATA_SET)).file_meta.PrivateInformation.decode()
    assert told.rstrip() == (
        f"received=2026-11-24T05:00:00.123456Z sha256={DIGEST}"
        f" original-sha256={'ab' * 32} original-size={size} original-syntax=1.2.840.10008.1.2"
        f" original-crc32={zlib.crc32(told.split(DIGEST)[1].split(' original-crc32')[0].encode()):08x}"
    )


def test_no_flip_in_what_came_goes_unnoticed() -> None:
    """No row has what a head tells of the original: each changed byte of it is found by the head alone."""
    original = Original("ab" * 32, 1234, Uid("1.2.840.10008.1.2"))
    filled = HeadTemplate(replace(ARRIVAL, original=original)).filled(DIGEST)
    begin = filled.index(b" original-sha256")
    for place in range(begin, len(filled.rstrip())):
        for bit in range(8):
            changed = bytearray(filled)
            changed[place] ^= 1 << bit
            with pytest.raises(ObjectDamaged):
                read_head(io.BytesIO(bytes(changed) + DATA_SET))
