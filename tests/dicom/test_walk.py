import struct
import tracemalloc
import zlib

import pytest

from pacsnode.dicom.elements import Element
from pacsnode.dicom.syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from pacsnode.dicom.walk import DataSetWalker
from pacsnode.errors import BadDataset
from pacsnode.model import Uid
from tests.dicom.dataset_bytes import JPEG_BASELINE, NATIVE, SYNTAXES, Branch, Leaf, Node, Pixels, deflate, encode, walk

NAME = Leaf(0x00100010, "PN", b"A^B ")
ROWS = Leaf(0x00280010, "US", b"\x02\x00")
PIXELS = Leaf(0x7FE00010, "OW", bytes(range(40)))
REFERENCES, PRIVATE = 0x00081140, 0x00091001
SMALL: tuple[tuple[Node, ...], ...] = (
    (NAME, ROWS, PIXELS),
    (NAME, Branch(REFERENCES, ((NAME, ROWS), (), (ROWS,))), ROWS),
    (NAME, Branch(REFERENCES, ((NAME, ROWS), (), (ROWS,)), has_length=False, items_have_length=False), ROWS),
    (Branch(REFERENCES, ((Branch(REFERENCES, ((NAME,),), has_length=False),),)), NAME),
    (Branch(REFERENCES, ((Branch(REFERENCES, ((NAME,),), items_have_length=False), ROWS),), has_length=False),),
    (Leaf(0x00081155, "UN", b"odd"), Leaf(0x00104000, "LT", b""), Branch(REFERENCES, ()), Leaf(0x00420011, "OB", b"")),
)


def nest(depth: int, *, has_length: bool) -> tuple[Node, ...]:
    """Sequences in sequences, the innermost with an element in it."""
    nodes: tuple[Node, ...] = (NAME,)
    for _ in range(depth):
        nodes = (Branch(REFERENCES, (nodes,), has_length, has_length),)
    return nodes


def element(tag: int, vr: bytes, value: bytes = b"") -> bytes:
    """An element with any VR and 16 bits of length."""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


@pytest.mark.parametrize("uid", SYNTAXES)
def test_wanted_values(uid: Uid) -> None:
    """Values of wanted top-level elements come back untouched; nested ones of the same tag do not count."""
    nodes = (Branch(REFERENCES, ((Leaf(NAME.tag, "PN", b"no"), ROWS),)), NAME, PIXELS)
    found = walk(encode(nodes, uid), uid, frozenset({NAME.tag, ROWS.tag}))

    assert {NAME.tag: Element("" if uid == IMPLICIT_VR_LITTLE_ENDIAN else "PN", b"A^B ")} == found.by_tag
    assert (uid != EXPLICIT_VR_BIG_ENDIAN) == found.is_little_endian


@pytest.mark.parametrize("nodes", SMALL)
@pytest.mark.parametrize("uid", NATIVE)
def test_cut_anywhere(uid: Uid, nodes: tuple[Node, ...]) -> None:
    """Cut inside of a top-level element, a data set is refused; between two it is whole, as far as structure goes."""
    data = encode(nodes, uid)
    boundaries = {len(encode(nodes[:count], uid)) for count in range(1, len(nodes) + 1)}
    accepted = set()
    for length in range(len(data) + 1):
        try:
            walk(data[:length], uid)
        except BadDataset:
            continue
        accepted.add(length)

    assert boundaries == accepted


def test_cut_in_fragments() -> None:
    """Encapsulated pixels end with their delimiter and not before."""
    data = encode((NAME, Pixels((b"", b"\xff\xd8\xff\xd9"))), JPEG_BASELINE)

    for length in set(range(len(data))) - {len(encode((NAME,), JPEG_BASELINE))}:
        with pytest.raises(BadDataset):
            walk(data[:length], JPEG_BASELINE)
    assert [NAME.tag] == list(walk(data, JPEG_BASELINE).by_tag)


def test_cut_in_deflate_stream() -> None:
    """A deflate stream has an end of its own: no cut of it passes, even between two elements."""
    uid = DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
    data = deflate(encode(SMALL[1], EXPLICIT_VR_LITTLE_ENDIAN))

    for length in range(len(data)):
        with pytest.raises(BadDataset):
            walk(data[:length], uid)


@pytest.mark.parametrize("has_length", [True, False])
@pytest.mark.parametrize("uid", NATIVE)
def test_depth(uid: Uid, has_length: bool) -> None:
    """64 nested sequences are read, 65 are not, with lengths as with delimiters."""
    walk(encode(nest(64, has_length=has_length), uid), uid)

    with pytest.raises(BadDataset, match="deeper than 64"):
        walk(encode(nest(65, has_length=has_length), uid), uid)


@pytest.mark.parametrize("uid", NATIVE)
def test_nested_lengths_that_do_not_fit(uid: Uid) -> None:
    """Whatever is inside must end exactly where the lengths around it say."""
    data = bytearray(encode((Branch(REFERENCES, ((NAME, ROWS),)), ROWS), uid))
    item = data.index(b"\xff\xfe\xe0\x00" if uid == EXPLICIT_VR_BIG_ENDIAN else b"\xfe\xff\x00\xe0")
    lowest = item + (7 if uid == EXPLICIT_VR_BIG_ENDIAN else 4)
    right = data[lowest]
    for wrong in set(range(256)) - {right}:
        data[lowest] = wrong
        with pytest.raises(BadDataset):
            walk(bytes(data), uid)


@pytest.mark.parametrize("has_length", [True, False])
def test_undefined_inside_of_defined(has_length: bool) -> None:
    """A delimited item whose sequence ends by length before the delimiter comes is refused."""
    uid = EXPLICIT_VR_LITTLE_ENDIAN
    data = encode((Branch(REFERENCES, ((NAME,),), has_length=True, items_have_length=False), ROWS), uid)
    shorter = data.replace(struct.pack("<I", 8 + 12 + 8), struct.pack("<I", 8 + 12), 1)

    assert shorter != data
    with pytest.raises(BadDataset, match="no delimiter"):
        walk(shorter, uid)


@pytest.mark.parametrize("uid", SYNTAXES)
def test_empty(uid: Uid) -> None:
    """No data set is a bad one, and so is nothing but zeros."""
    for data in (b"", encode((), uid), bytes(64)):
        with pytest.raises(BadDataset):
            walk(data, uid)


@pytest.mark.parametrize("uid", [EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN])
def test_unknown_of_undefined_length(uid: Uid) -> None:
    """UN of undefined length is a sequence in implicit VR little endian, whatever is around it (PS3.5 6.2.2)."""
    nodes = (Branch(PRIVATE, ((NAME, Branch(REFERENCES, ((ROWS,),))),), has_length=False, vr="UN"), NAME)
    found = walk(encode(nodes, uid), uid)

    items = encode(nodes[:1], uid)[12:-8]
    assert {PRIVATE: Element("SQ", items, is_implicit=True), NAME.tag: Element("PN", NAME.value)} == found.by_tag


def test_implicit_item_amid_explicit_vr() -> None:
    """An item that begins without a VR is read in implicit VR; the data set around it as before."""
    item = encode((Branch(REFERENCES, ((NAME, ROWS),)),), IMPLICIT_VR_LITTLE_ENDIAN)[8:]
    sequence = struct.pack("<HH2s2xI", REFERENCES >> 16, REFERENCES & 0xFFFF, b"SQ", len(item)) + item
    found = walk(sequence + encode((NAME,), EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN)

    assert {REFERENCES: Element("SQ", item), NAME.tag: Element("PN", NAME.value)} == found.by_tag


@pytest.mark.parametrize(
    "data", [element(PRIVATE, b"??", b"ab"), element(PRIVATE, b"  "), element(PRIVATE, b"ZZ", b"a")]
)
def test_vr_that_is_none(data: bytes) -> None:
    """Two letters, blanks or question marks that are no VR do not hide what follows."""
    found = walk(data + encode((NAME,), EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN)

    assert Element("PN", NAME.value) == found.by_tag[NAME.tag]


def test_vr_of_the_future() -> None:
    """New VRs have 32 bits of length after two zero bytes (PS3.5 6.2)."""
    future = struct.pack("<HH2s2xI", 0x0009, 0x1001, b"ZZ", 70_000) + bytes(70_000)
    found = walk(future + encode((NAME,), EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN)

    assert [PRIVATE, NAME.tag] == list(found.by_tag)
    assert len(found.by_tag[PRIVATE].value) == 70_000


@pytest.mark.parametrize("uid", NATIVE)
def test_tolerated_oddities(uid: Uid) -> None:
    """Group lengths, group 0002, odd lengths, any order, and trailing padding are none of our business."""
    nodes = (
        PIXELS,
        Leaf(0x00080000, "UL", b"\x04\x00\x00\x00"),
        Leaf(0x00020010, "UI", b"1.2.840.10008.1.2"),
        NAME,
        Leaf(0xFFFCFFFC, "OB", bytes(6)),
    )

    assert [node.tag for node in nodes] == list(walk(encode(nodes, uid), uid).by_tag)


@pytest.mark.parametrize("count", [2, 7, 8, 9, 12, 300])
@pytest.mark.parametrize("uid", SYNTAXES)
def test_zeros_after_the_end(uid: Uid, count: int) -> None:
    """Zeros after the data set are padding: no element has the tag (0000,0000). Anything after them is not."""
    data = encode((NAME, ROWS), uid)

    assert [NAME.tag, ROWS.tag] == list(walk(data + bytes(count), uid).by_tag)
    with pytest.raises(BadDataset):
        walk(data + bytes(count) + b"x" + bytes(8), uid)


def test_gzip_trailer() -> None:
    """Writers that use gzip for deflating leave its trailer behind; only the right one is passed over."""
    uid = DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
    plain = encode((NAME,), EXPLICIT_VR_LITTLE_ENDIAN)
    deflated = deflate(plain)
    trailer = struct.pack("<II", zlib.crc32(plain), len(plain))

    assert [NAME.tag] == list(walk(deflated + trailer, uid).by_tag)
    for wrong in (trailer[:-1] + b"x", trailer[:-5], trailer + b"x", b"x" + trailer):
        with pytest.raises(BadDataset):
            walk(deflated + wrong, uid)


def test_deflate_bomb() -> None:
    """A bomb is let off in small pieces, and refused where the sum exceeds the limit."""
    header = struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OW", 64 * 1024 * 1024)
    bomb = deflate(header + bytes(64 * 1024 * 1024))

    tracemalloc.start()
    walk(bomb, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, frozenset())
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    walker = DataSetWalker(DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, frozenset(), max_inflated_bytes=1024 * 1024)

    assert peak_bytes < 4 * 1024 * 1024
    with pytest.raises(BadDataset, match="too long"):
        walker.feed(bomb)


@pytest.mark.parametrize("uid", NATIVE)
def test_too_many_elements(uid: Uid) -> None:
    """Elements are counted, nested ones and items, too."""
    data = encode((NAME, Branch(REFERENCES, ((NAME, NAME),))), uid)
    DataSetWalker(uid, None, max_elements=5).feed(data)

    with pytest.raises(BadDataset, match="more than 4"):
        DataSetWalker(uid, None, max_elements=4).feed(data)


def test_too_long_a_value() -> None:
    """What is wanted by name must not be too long; where everything is wanted, long values are passed over."""
    data = encode((NAME, PIXELS), EXPLICIT_VR_LITTLE_ENDIAN)
    everything = DataSetWalker(EXPLICIT_VR_LITTLE_ENDIAN, None, max_value_bytes=39)
    everything.feed(data)

    assert [NAME.tag] == list(everything.finish().by_tag)
    with pytest.raises(BadDataset, match=r"\(7FE0,0010\) is longer"):
        DataSetWalker(EXPLICIT_VR_LITTLE_ENDIAN, frozenset({PIXELS.tag}), max_value_bytes=39).feed(data)


def test_element_that_is_there_twice() -> None:
    """A wanted element may be repeated, but not contradicted."""
    uid = EXPLICIT_VR_LITTLE_ENDIAN
    walk(encode((NAME, ROWS, NAME), uid), uid)

    with pytest.raises(BadDataset, match="twice"):
        walk(encode((NAME, ROWS, Leaf(NAME.tag, "PN", b"C")), uid), uid)


@pytest.mark.parametrize("uid", SYNTAXES)
def test_buffer_is_free_after_feed(uid: Uid) -> None:
    """The caller's buffer is not kept: it can be overwritten and resized after every feed."""
    walker = DataSetWalker(uid, None)
    data = encode((NAME, ROWS, PIXELS), uid)
    for begin in range(0, len(data), 5):
        buffer = bytearray(data[begin : begin + 5])
        with memoryview(buffer) as view:
            walker.feed(view)
        buffer[:] = b"\xff" * 5
        buffer.clear()

    assert NAME.value == walker.finish().by_tag[NAME.tag].value
    assert PIXELS.value == walker.finish().by_tag[PIXELS.tag].value


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (encode((NAME,), IMPLICIT_VR_LITTLE_ENDIAN), "no VR"),
        (struct.pack("<HH2s2xI", 0x0040, 0xA160, b"UT", 0xFFFFFFFF), "no length"),
        (struct.pack("<HHI", 0xFFFE, 0xE00D, 0), "unexpected"),
        (struct.pack("<HH2s2xIHHI", 0x7FE0, 0x10, b"OB", 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF), "fragment"),
        (struct.pack("<HH2s2xIHHI", 0x7FE0, 0x10, b"OB", 0xFFFFFFFF, 0x0008, 0x0016, 4), "unexpected"),
        (struct.pack("<HH2s2xIHHI", 0x0008, 0x1140, b"SQ", 16, 0xFFFE, 0xE0DD, 0), "unexpected"),
    ],
)
def test_refused_at_once(data: bytes, complaint: str) -> None:
    """What cannot become right is refused while it arrives, not at the end."""
    with pytest.raises(BadDataset, match=complaint):
        DataSetWalker(EXPLICIT_VR_LITTLE_ENDIAN, None).feed(data + bytes(40))


def test_complaints_fit_an_error_comment() -> None:
    """Messages are at most 64 ASCII characters (PS3.7 C, LO), even for objects of many gigabytes."""
    huge = struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OW", 0xFFFFFFFE)
    walker = DataSetWalker(EXPLICIT_VR_LITTLE_ENDIAN, None)
    walker.feed(huge)
    with pytest.raises(BadDataset) as caught:
        walker.finish()

    assert len(str(caught.value)) <= 64
    assert str(caught.value).isascii()
