"""Peers that take the default transfer syntax alone: what is native comes in it (PS3.5 10.1)."""

from __future__ import annotations

import pytest

from tests.dimse import images
from tests.dimse.conftest import Running
from tests.dimse.destination import Destination
from tests.dimse.raw_peer import BIG_ENDIAN, CT, DEFLATED, EXPLICIT, IMPLICIT, JPEG_BASELINE, STUDY_GET, Offer
from tests.dimse.test_get import WHOLE_STUDY, getter
from tests.dimse.test_move import destination, failed_uids, move, node, uids

__all__ = ["destination", "node"]  # fixtures


def test_a_destination_that_takes_the_default_syntax_only(node: Running, destination: Destination) -> None:
    """What is native comes in Implicit VR Little Endian, values as they were (PS3.5 10.1); what is compressed fails."""
    for number, syntax in enumerate((EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, JPEG_BASELINE), start=1):
        pixels = b"\2\1\4\3" if syntax == BIG_ENDIAN else b"\1\2\3\4"
        node.keep(number, syntax=syntax, pixels=pixels)
    destination.takes = lambda offer: offer.transfer_syntaxes == (IMPLICIT,)
    final = move(node)[-1]

    assert (0xB000, (None, 4, 1, 0), uids([5])) == (final.status, final.counters, failed_uids(final))
    assert [images.image(number, syntax=IMPLICIT) for number in (1, 2, 3, 4)] == [
        received.data_set for received in destination.received
    ]


@pytest.mark.parametrize("maximum_length", [16384, 128 * 1024, 0])
def test_something_large_in_the_default_syntax(node: Running, destination: Destination, maximum_length: int) -> None:
    """Many pieces, cut to what the destination takes."""
    pixels = bytes(range(256)) * 4 * 1024 * 3
    node.keep(1, syntax=DEFLATED, pixels=pixels)
    destination.takes = lambda offer: offer.transfer_syntaxes == (IMPLICIT,)
    destination.maximum_length = maximum_length
    final = move(node)[-1]

    assert 0x0000 == final.status
    assert [images.image(1, syntax=IMPLICIT, pixels=pixels)] == [received.data_set for received in destination.received]


def test_the_default_syntax_alone(node: Running) -> None:
    """A requester that offers nothing but Implicit VR Little Endian gets all that is native in it (PS3.5 10.1)."""
    node.keep(1, 2)
    node.keep(3, syntax=JPEG_BASELINE)
    with getter(node, Offer(1, STUDY_GET), Offer(3, CT, (IMPLICIT,))) as peer:
        instances, responses = peer.get(1, STUDY_GET, WHOLE_STUDY)

    assert (0xB000, (None, 2, 1, 0)) == (responses[-1].status, responses[-1].counters)
    assert [images.image(1, syntax=IMPLICIT), images.image(2, syntax=IMPLICIT)] == [got.data_set for got in instances]
    assert uids([3]) == failed_uids(responses[-1])
