from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pacsnode.dicom.elements import Element, Elements
from pacsnode.dicom.syntax import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from pacsnode.dicom.walk import DataSetWalker
from pacsnode.errors import BadDataset
from pacsnode.model import Uid
from tests.dicom.dataset_bytes import JPEG_BASELINE, NATIVE, SYNTAXES, Branch, Leaf, Node, Pixels, encode, walk

LEAF_TAGS = st.sampled_from((0x00080000, 0x00080016, 0x00100010, 0x00280010, 0x00091001, 0x60003000, 0xFFFCFFFC))
SEQUENCE_TAGS = st.sampled_from((0x00081140, 0x00400275, 0x52009229))
LEAF_VRS = st.sampled_from(["CS", "PN", "US", "UI", "OB", "OW", "UT", "UN", "LO"])
LEAVES = st.builds(Leaf, LEAF_TAGS, LEAF_VRS, st.binary(max_size=20))


def branches(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    items = st.lists(st.lists(inner, max_size=3).map(tuple), max_size=3).map(tuple)
    sequences = st.builds(Branch, SEQUENCE_TAGS, items, st.booleans(), st.booleans())
    unknown = st.builds(Branch, st.just(0x00091002), items, st.just(False), st.booleans(), st.just("UN"))
    return sequences | unknown


NODES = st.recursive(LEAVES, branches, max_leaves=12)
PIXELS = st.builds(Pixels, st.lists(st.binary(max_size=30), max_size=4).map(tuple))
DATA_SETS = st.lists(
    NODES, min_size=1, max_size=6, unique_by=lambda node: node.tag if not isinstance(node, Pixels) else 0
)


def in_pieces(data: bytes, uid: Uid, cuts: list[int]) -> Elements:
    walker = DataSetWalker(uid, None)
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in pairwise(bounds):
        walker.feed(memoryview(data)[begin:end])
    return walker.finish()


def expected(nodes: list[Node], uid: Uid) -> dict[int, Element]:
    found = {}
    for node in nodes:
        if isinstance(node, Leaf):
            found[node.tag] = Element("" if uid == IMPLICIT_VR_LITTLE_ENDIAN else node.vr, node.value)
        elif isinstance(node, Branch):
            plain = uid if uid in NATIVE else EXPLICIT_VR_LITTLE_ENDIAN
            header, delimiter = 8 if plain == IMPLICIT_VR_LITTLE_ENDIAN else 12, 0 if node.has_length else 8
            whole = encode((node,), plain)
            is_implicit = node.vr == "UN" and plain != IMPLICIT_VR_LITTLE_ENDIAN
            found[node.tag] = Element("SQ", whole[header : len(whole) - delimiter], is_implicit)
    return found


@settings(max_examples=300, deadline=None)
@given(DATA_SETS, st.sampled_from(SYNTAXES), st.lists(st.integers(min_value=0, max_value=2000), max_size=12))
def test_any_split(nodes: list[Node], uid: Uid, cuts: list[int]) -> None:
    """However the stream is split, every top-level element is found, and nothing else."""
    data = encode(nodes, uid)
    found = in_pieces(data, uid, cuts)

    assert expected(nodes, uid) == found.by_tag
    assert (uid != EXPLICIT_VR_BIG_ENDIAN) == found.is_little_endian


@settings(max_examples=100, deadline=None)
@given(DATA_SETS, PIXELS, st.sampled_from(SYNTAXES))
def test_byte_by_byte(nodes: list[Node], pixels: Pixels, uid: Uid) -> None:
    """Single bytes are pieces, too; encapsulated pixels are walked through and not collected."""
    data = encode([*nodes, pixels] if uid == JPEG_BASELINE else nodes, uid)

    assert expected(nodes, uid) == in_pieces(data, uid, list(range(len(data)))).by_tag


@settings(max_examples=100, deadline=None)
@given(DATA_SETS, st.sampled_from(NATIVE))
def test_any_cut(nodes: list[Node], uid: Uid) -> None:
    """Of all beginnings of a data set, only those are accepted that end between two top-level elements."""
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


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(SYNTAXES), st.lists(st.integers(0, 300), max_size=4))
def test_noise(noise: bytes, uid: Uid, cuts: list[int]) -> None:
    """Random bytes are refused or accepted, alike in any split, and raise nothing else."""
    assert outcome(noise, uid, []) == outcome(noise, uid, cuts)


@settings(max_examples=300, deadline=None)
@given(
    DATA_SETS,
    st.sampled_from(SYNTAXES),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=3),
    st.lists(st.integers(0, 2000), max_size=4),
)
def test_damage(nodes: list[Node], uid: Uid, damage: list[tuple[int, int]], cuts: list[int]) -> None:
    """Damaged data sets are refused or accepted, alike in any split, and raise nothing else."""
    data = bytearray(encode(nodes, uid))
    for position, byte in damage:
        data[position % len(data)] = byte

    assert outcome(bytes(data), uid, []) == outcome(bytes(data), uid, cuts)


def outcome(data: bytes, uid: Uid, cuts: list[int]) -> Elements | None:
    try:
        return in_pieces(data, uid, cuts)
    except BadDataset:
        return None
