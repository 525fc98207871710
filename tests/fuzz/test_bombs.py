"""Small inputs that would become large or endless: each is refused, with little memory, whoever parses it."""

from __future__ import annotations

import io
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pacsnode.config import loader
from pacsnode.dicom import commitment, header, identifier, items, part10, recode
from pacsnode.dicom.attributes import HEADER_TAGS
from pacsnode.dicom.coding import coding_of
from pacsnode.dicom.elements import Element
from pacsnode.dicom.identifier import Root
from pacsnode.dicom.syntax import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN as DEFLATED
from pacsnode.dicom.syntax import EXPLICIT_VR_LITTLE_ENDIAN as EXPLICIT
from pacsnode.dicom.syntax import IMPLICIT_VR_LITTLE_ENDIAN as IMPLICIT
from pacsnode.dicom.walk import DataSetWalker
from pacsnode.dimse import negotiation
from pacsnode.errors import BadDataset, ConfigError, DatasetTooLarge, InvalidQuery, PacsNodeError, ProtocolViolation
from pacsnode.model import Uid
from pacsnode.wire import command
from pacsnode.wire.pdu import PduLimits, PduSplitter
from tests.dicom.dataset_bytes import NATIVE, deflate
from tests.dimse.raw_peer import Offer, associate_rq, item

MIB = 1024 * 1024
LEVELS = 100_000
SEQUENCE, ITEM = (0x0040, 0xA730), (0xFFFE, 0xE000)


@contextmanager
def little_memory(most: int = 4 * MIB) -> Iterator[None]:
    """What is done in the block takes no more bytes at a time than this."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most


def nested(uid: Uid, levels: int = LEVELS, tag: tuple[int, int] = SEQUENCE) -> bytes:
    """Sequences of undefined length in each other, which is all there is of them."""
    coding = coding_of(uid)
    order = "<" if coding.is_little_endian else ">"
    opened = struct.pack(f"{order}HHI", *ITEM, 0xFFFFFFFF)
    if coding.is_implicit:
        begun = struct.pack(f"{order}HHI", *tag, 0xFFFFFFFF)
    else:
        begun = struct.pack(f"{order}HH2sHI", *tag, b"SQ", 0, 0xFFFFFFFF)
    return (begun + opened) * levels


def feed(data: bytes, uid: Uid) -> None:
    walker = DataSetWalker(uid, HEADER_TAGS)
    for start in range(0, len(data), 64 * 1024):
        walker.feed(data[start : start + 64 * 1024])
    walker.finish()


@pytest.mark.parametrize("uid", NATIVE)
def test_nesting(uid: Uid) -> None:
    """A hundred thousand sequences in each other are refused at the 65th, without recursion."""
    data = nested(uid)
    with little_memory(), pytest.raises(DatasetTooLarge, match="deeper than 64"):
        feed(data, uid)


def test_deflated_nesting() -> None:
    """So are they where they come deflated to a thousandth."""
    data = deflate(nested(EXPLICIT))

    assert len(data) < 20_000
    with little_memory(), pytest.raises(DatasetTooLarge, match="deeper than 64"):
        feed(data, DEFLATED)


@pytest.mark.parametrize("uid", NATIVE)
def test_nesting_in_requests(uid: Uid) -> None:
    """Queries, retrieves and storage commitments are refused alike."""
    data = nested(uid, 10_000)
    parsers: tuple[tuple[Callable[[], object], type[PacsNodeError]], ...] = (
        (lambda: identifier.parse_find(data, uid, Root.STUDY), InvalidQuery),
        (lambda: identifier.parse_retrieve(data, uid, Root.STUDY), InvalidQuery),
        (lambda: commitment.parse_request(data, uid), BadDataset),
        (lambda: commitment.parse_report(data, uid), BadDataset),
    )
    for parse, refusal in parsers:
        with little_memory(), pytest.raises(refusal):
            parse()


@pytest.mark.parametrize("levels", [15, 17, 63, 10_000])
def test_nesting_in_what_the_index_keeps(levels: int) -> None:
    """Items of items are read to a depth that nobody needs, and unknown beyond it."""
    data = nested(EXPLICIT, levels, (0x0008, 0x1032)) + struct.pack("<HHI", 0xFFFE, 0xE00D, 0) * levels
    with little_memory():
        assert isinstance(items.read_items(Element("SQ", data[12:]), coding_of(EXPLICIT)), list)


def test_nesting_in_what_is_recoded() -> None:
    """Recoding goes as deep as the walk let through, which bounds its recursion."""
    walked = nested(EXPLICIT, 64)
    with pytest.raises(BadDataset):
        list(recode.to_default_syntax([walked], EXPLICIT, max_bytes=MIB))


@pytest.mark.parametrize("uid", [IMPLICIT, EXPLICIT])
def test_announced_lengths(uid: Uid) -> None:
    """A value of 4 GiB that is wanted is refused by its header, and no memory is set aside for any other."""
    coding = coding_of(uid)
    long = b"" if coding.is_implicit else b"UT\0\0"
    wanted = struct.pack("<HH", 0x0010, 0x0010) + long + struct.pack("<I", 0xFFFFFFF0)
    unwanted = struct.pack("<HH", 0x0011, 0x0010) + long + struct.pack("<I", 0xFFFFFFF0)
    with little_memory(), pytest.raises(BadDataset, match="longer than 1048576"):
        feed(wanted, uid)
    with little_memory(), pytest.raises(BadDataset, match="truncated"):
        feed(unwanted + bytes(100), uid)


def test_endless_items() -> None:
    """A million empty items, deflated to some kilobytes, are refused when they are too many."""
    begun = struct.pack("<HH2sHI", *SEQUENCE, b"SQ", 0, 0xFFFFFFFF)
    data = deflate(begun + struct.pack("<HHI", *ITEM, 0) * 1_100_000)

    assert len(data) < 40_000
    with little_memory(), pytest.raises(DatasetTooLarge, match="more than 1000000 elements"):
        feed(data, DEFLATED)


def test_pixel_sizes_are_not_believed() -> None:
    """Rows, columns and frames of an image are kept as they are said: nothing is set aside for the pixels."""
    element = struct.Struct("<HH2sH")
    uids = ((0x0008, 0x0016), (0x0008, 0x0018), (0x0020, 0x000D), (0x0020, 0x000E))
    data = b"".join(element.pack(*tag, b"UI", 4) + b"1.2\0" for tag in uids)
    data += element.pack(0x0028, 0x0008, b"IS", 10) + b"2147483647"
    data += element.pack(0x0028, 0x0010, b"US", 2) + b"\xff\xff" + element.pack(0x0028, 0x0011, b"US", 2) + b"\xff\xff"
    walker = DataSetWalker(EXPLICIT, HEADER_TAGS)
    with little_memory():
        walker.feed(data)
        found = header.read_header(walker.finish())

    assert ("65535", "65535", "2147483647") == (found.rows, found.columns, found.number_of_frames)


def test_association_requests() -> None:
    """A request of a mebibyte in tiny items is refused after a few hundred of them."""
    request = associate_rq([Offer(1, "1.2.840.10008.1.1")], items=item(0x99, b"") * 200_000)
    with little_memory(), pytest.raises(ProtocolViolation, match="too many items"):
        negotiation.read_request(request)


def test_announced_pdus() -> None:
    """A PDU of 4 GiB is refused by its header."""
    for kind in (1, 2, 4):
        splitter = PduSplitter(PduLimits())
        begun = struct.pack(">BxI", kind, 0xFFFFFFFF)
        splitter.space()[: len(begun)] = begun
        splitter.received(len(begun))
        with little_memory(), pytest.raises(ProtocolViolation, match="4294967295 bytes"):
            splitter.next_event()


def test_announced_command_elements() -> None:
    """An element of a command set that is longer than the command set is refused."""
    with little_memory(), pytest.raises(ProtocolViolation):
        command.decode(struct.pack("<HHI", 0, 2, 0xFFFFFFFF) + bytes(8))


def test_announced_file_meta() -> None:
    """A file that says it begins with 4 GiB of file meta information is refused, with no more than a mebibyte read."""
    data = bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 1, b"OB", 0, 0xFFFFFFF0) + bytes(3 * MIB)
    source = io.BytesIO(data)
    with little_memory(), pytest.raises(BadDataset):
        part10.read_foreign_head(source)

    assert source.tell() <= 2 * MIB


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 20_000, "x = " + "9" * 10_000, "x = " + "{a=" * 20_000, "a." * 20_000 + "a = 1"]
)
def test_configurations(tmp_path: Path, text: str) -> None:
    """A configuration of endless brackets or digits is a mistake like others, told in one line."""
    (tmp_path / "pacsnode.toml").write_text(text)

    with pytest.raises(ConfigError) as caught:
        loader.load(tmp_path / "pacsnode.toml")

    assert 1 == len(str(caught.value).splitlines())
