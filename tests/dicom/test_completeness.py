"""What is there without what its SOP class is there for was cut between two elements."""

from __future__ import annotations

import pytest

from pacsnode.dicom import completeness
from pacsnode.dicom.attributes import HEADER_TAGS
from pacsnode.dicom.header import read_header
from pacsnode.dicom.syntax import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from pacsnode.dicom.walk import DataSetWalker
from pacsnode.errors import BadDataset
from pacsnode.model import Uid
from tests.dicom.dataset_bytes import JPEG_BASELINE, Branch, Leaf, Node, Pixels, encode

CT, GSPS = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.11.1"
ECG, PDF, DOSE = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.481.2"
ROWS, SAMPLES = Leaf(0x00280010, "US", b"\2\0"), Leaf(0x00280002, "US", b"\1\0")
NATIVE_PIXELS, NO_PIXELS = Leaf(0x7FE00010, "OW", bytes(8)), Leaf(0x7FE00010, "OW", b"")
FLOATS, DOUBLES = Leaf(0x7FE00008, "OF", bytes(8)), Leaf(0x7FE00009, "OD", bytes(8))
URL = Leaf(0x00287FE0, "UR", b"https://example.test/")
LARGE = Leaf(0x7FE00010, "OW", bytes(3 << 20))
DOCUMENT = Leaf(0x00420011, "OB", bytes(3 << 20))
WAVEFORM = Branch(0x54000100, ((Leaf(0x003A0005, "US", b"\1\0"),),))
NESTED = Branch(0x00880200, ((ROWS, NATIVE_PIXELS),))


def check(sop_class: str, *nodes: Node, syntax: Uid = EXPLICIT_VR_LITTLE_ENDIAN) -> None:
    """Walk a data set of the class with these elements besides the four UIDs, in small pieces, and check it."""
    uids = {0x00080016: sop_class, 0x00080018: "1.2", 0x0020000D: "1.3", 0x0020000E: "1.4"}
    leaves = [Leaf(tag, "UI", uid.encode() + b"\0" * (len(uid) % 2)) for tag, uid in uids.items()]
    data = encode([*leaves, *nodes], syntax)
    walker = DataSetWalker(syntax, HEADER_TAGS, noted=completeness.NOTED_TAGS)
    for start in range(0, len(data), 1001):
        walker.feed(data[start : start + 1001])
    elements = walker.finish()
    completeness.check(read_header(elements), elements)


@pytest.mark.parametrize("description", [ROWS, SAMPLES, Leaf(0x00280100, "US", b"\x10\0")])
@pytest.mark.parametrize("sop_class", [CT, DOSE])
@pytest.mark.parametrize("rest", [(), (NESTED,)], ids=["nothing", "an icon"])
def test_images_that_lost_their_pixels(description: Leaf, sop_class: str, rest: tuple[Node, ...]) -> None:
    """Who describes pixels has to bring some; those of an icon are not its own."""
    with pytest.raises(BadDataset, match="there are none"):
        check(sop_class, description, *rest)


@pytest.mark.parametrize("pixels", [NATIVE_PIXELS, NO_PIXELS, FLOATS, DOUBLES, URL, LARGE])
@pytest.mark.parametrize("syntax", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN])
def test_images_with_pixels(pixels: Leaf, syntax: Uid) -> None:
    """Pixels of any kind and size will do, or where to get them."""
    check(CT, SAMPLES, ROWS, pixels, syntax=syntax)


def test_encapsulated_pixels() -> None:
    """Fragments are pixels."""
    check(CT, SAMPLES, ROWS, Pixels((b"", bytes(10))), syntax=JPEG_BASELINE)


def test_what_describes_no_pixels() -> None:
    """Images that are sent without any word on pixels, and classes that need none, are taken as they are."""
    check(CT)
    check(DOSE)
    check(GSPS, ROWS)


def test_documents_and_waveforms() -> None:
    """A document needs its document, a waveform its waveform; neither is held in memory."""
    check(PDF, DOCUMENT)
    check(ECG, WAVEFORM)
    check(ECG, WAVEFORM, syntax=IMPLICIT_VR_LITTLE_ENDIAN)
    with pytest.raises(BadDataset, match="Encapsulated Document"):
        check(PDF)
    with pytest.raises(BadDataset, match="Waveform Sequence"):
        check(ECG)
