"""What goes in by C-STORE comes out by C-GET bit by bit, whatever it is and in whichever syntax."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pacsnode.dimse import contexts
from pacsnode.model import Uid
from tests.dicom.dataset_bytes import Branch, Leaf, Node, Pixels, encode
from tests.dimse import images
from tests.dimse.conftest import Running
from tests.dimse.raw_peer import (
    BIG_ENDIAN,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    STUDY_GET,
    Offer,
    RawPeer,
    associate_rq,
    identifier,
    role,
)

GET = Offer(255, STUDY_GET)
_fresh = itertools.count(1)


def there_and_back(node: Running, syntax: str, uid: str, data: bytes, piece: int) -> bytes | None:
    """Store the data set in pieces and get it again: what came back."""
    with RawPeer(node.port) as peer:
        offers = (Offer(1, CT, (syntax,)), GET)
        peer.associate(request=associate_rq(offers, user_items=role(CT, scu=1, scp=1)))
        status = peer.store(1, CT, uid, data, piece=piece).status
        keys = identifier({0x00080052: "IMAGE", 0x00080018: uid})
        instances, responses = peer.get(255, STUDY_GET, keys)
        peer.release()
    assert (0, 0) == (status, responses[-1].status)
    (instance,) = instances
    return instance.data_set


_raw = st.binary(max_size=40).map(lambda raw: raw + b"\0" * (len(raw) % 2))
_leaves = st.builds(
    Leaf,
    st.sampled_from([0x00091001, 0x00091002, 0x00104000, 0x00204000, 0x00291010, 0x00400280, 0x7FDF1001]),
    st.sampled_from(["OB", "UN", "LO", "LT", "UT", "PN", "ST"]),
    _raw,
)


def _by_tag(nodes: Sequence[Node]) -> tuple[Node, ...]:
    unique = {node.tag: node for node in nodes if not isinstance(node, Pixels)}
    return tuple(unique[tag] for tag in sorted(unique))


_items = st.recursive(
    st.lists(_leaves, max_size=3).map(_by_tag),
    lambda inner: st.lists(
        st.builds(
            Branch,
            st.sampled_from([0x00081140, 0x00081199, 0x00400260]),
            st.lists(inner, max_size=2).map(tuple),
            has_length=st.booleans(),
            items_have_length=st.booleans(),
        ),
        min_size=1,
        max_size=2,
    ).map(_by_tag),
    max_leaves=4,
)
_extras = st.tuples(st.lists(_leaves, max_size=4).map(_by_tag), _items).map(
    lambda parts: _by_tag([*parts[0], *parts[1]])
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    extras=_extras,
    syntax=st.sampled_from([IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED, JPEG_BASELINE]),
    pixels=st.lists(_raw, min_size=1, max_size=3),
    piece=st.integers(1, 200),
)
def test_any_data_set(node: Running, extras: tuple[Node, ...], syntax: str, pixels: list[bytes], piece: int) -> None:
    """Private elements, unknown VRs, nested and undefined-length sequences: the bytes are those that were sent."""
    uid = images.uid_of(next(_fresh))
    mandatory: list[Node] = [
        Leaf(tag, "UI", value.encode() + b"\0" * (len(value) % 2))
        for tag, value in (
            (0x00080016, CT),
            (0x00080018, uid),
            (0x0020000D, images.STUDY),
            (0x0020000E, images.SERIES),
        )
    ]
    ending = Pixels(tuple(pixels)) if syntax == JPEG_BASELINE else Leaf(0x7FE00010, "OW", b"".join(pixels))
    body = sorted([*mandatory, *extras], key=lambda node: node.tag if not isinstance(node, Pixels) else 0)
    data = encode([*body, ending], Uid(syntax))

    assert data == there_and_back(node, syntax, uid, data, piece)


def _encoding_of(syntax: str) -> str:
    """Which of the encodings of our samples a transfer syntax has (PS3.5 Annex A)."""
    implicit = (IMPLICIT, "1.2.840.113619.5.2")
    deflated = (DEFLATED, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")
    native = (EXPLICIT, "1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.204")
    for encoding, syntaxes in ((IMPLICIT, implicit), (DEFLATED, deflated), (EXPLICIT, native)):
        if syntax in syntaxes:
            return encoding
    return BIG_ENDIAN if syntax == BIG_ENDIAN else JPEG_BASELINE


@pytest.mark.parametrize("syntax", contexts.transfer_syntaxes())
def test_every_transfer_syntax(node: Running, syntax: str) -> None:
    """Every syntax that we accept is kept as it came and sent as it is."""
    data = images.image(syntax=_encoding_of(syntax), pixels=b"\1\2\3\4" * 9)

    assert data == there_and_back(node, syntax, images.uid_of(1), data, 100)
