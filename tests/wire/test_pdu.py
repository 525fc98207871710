"""The splitter gives the same events however the bytes were split, and refuses what is no PDU."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacsnode.errors import ProtocolViolation
from pacsnode.wire import pdu
from pacsnode.wire.pdu import AbortReason, ControlPdu, Fragment, PduLimits, PduSplitter, PduType

LIMITS = PduLimits(association=4096, p_data=4096)
Event = tuple[object, ...]


def feed(data: bytes, cuts: list[int], buffer_bytes: int = 64) -> list[Event]:
    """Events of the data when it arrives in pieces of the given sizes; fragments of one value are joined."""
    splitter = PduSplitter(LIMITS, buffer_bytes)
    events: list[Event] = []
    position = 0
    sizes = iter(cuts)
    while position < len(data):
        space = splitter.space()
        count = min(next(sizes, len(space)), len(space), len(data) - position)
        space[:count] = data[position : position + count]
        splitter.received(count)
        position += count
        while (event := splitter.next_event()) is not None:
            events.append(_plain(event))
    return _joined(events)


def _plain(event: Fragment | ControlPdu) -> Event:
    if isinstance(event, ControlPdu):
        return ("control", event.type, event.data)
    return ("fragment", event.context_id, event.is_command, event.is_last, bytes(event.data))


def _joined(events: list[Event]) -> list[Event]:
    """Messages: pieces of one part put together up to its last fragment."""
    joined: list[Event] = []
    collected = b""
    for event in events:
        if event[0] == "control":
            joined.append(event)
            continue
        _, context_id, is_command, is_last, data = event
        assert isinstance(data, bytes)
        collected += data
        if is_last:
            joined.append(("part", context_id, is_command, collected))
            collected = b""
    return joined


def value(context_id: int, flags: int, data: bytes) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context_id, flags) + data


def p_data(*values: bytes) -> bytes:
    body = b"".join(values)
    return struct.pack(">BBI", 4, 0, len(body)) + body


def control(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(body)) + body


_values = st.builds(
    value, st.sampled_from([1, 3, 255]), st.sampled_from([0, 1, 2, 3, 0xFE, 0xFF]), st.binary(max_size=300)
)
_pdus = st.one_of(
    st.lists(_values, min_size=1, max_size=4).map(lambda values: p_data(*values)),
    st.builds(control, st.sampled_from([1, 2]), st.binary(max_size=300)),
    st.builds(control, st.sampled_from([3, 5, 6, 7]), st.binary(min_size=4, max_size=4)),
)


@given(st.lists(_pdus, max_size=6).map(b"".join), st.lists(st.integers(1, 70)))
def test_any_split_gives_the_same_events(data: bytes, cuts: list[int]) -> None:
    """How the network cuts the stream changes nothing."""
    whole = feed(data, [], buffer_bytes=64 * 1024)

    assert whole == feed(data, cuts)


def test_empty_values_are_taken() -> None:
    """PS3.8 E.1: a value without data is a fragment like any other."""
    events = feed(p_data(value(1, 0, b""), value(1, 2, b"")), [])

    assert [("part", 1, False, b"")] == events


def test_two_values_in_one_pdu_are_two_parts() -> None:
    """Command and data set may share a PDU."""
    events = feed(p_data(value(1, 3, b"command"), value(1, 2, b"data")), [])

    assert [("part", 1, True, b"command"), ("part", 1, False, b"data")] == events


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (control(8, b"1234"), AbortReason.UNRECOGNIZED_PDU),
        (control(0, b""), AbortReason.UNRECOGNIZED_PDU),
        (b"GET / HTTP/1.1\r\n\r\n", AbortReason.UNRECOGNIZED_PDU),
        (control(5, b"12345"), AbortReason.INVALID_PARAMETER),
        (control(7, b""), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BBI", 1, 0, 0xFFFFFFFF), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BBI", 4, 0, 0xFFFFFFFF), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BBI", 4, 0, 0), AbortReason.INVALID_PARAMETER),
        (struct.pack(">BBI", 4, 0, 5) + b"12345", AbortReason.INVALID_PARAMETER),
        (p_data(struct.pack(">IBB", 100, 1, 2) + b"short"), AbortReason.INVALID_PARAMETER),
        (p_data(struct.pack(">IBB", 1, 1, 2) + b"12"), AbortReason.INVALID_PARAMETER),
        (p_data(value(1, 2, b"12") + b"123"), AbortReason.INVALID_PARAMETER),
    ],
)
def test_what_is_no_pdu_is_refused(data: bytes, reason: AbortReason) -> None:
    """Wrong types and lengths are violations with the A-ABORT reason of PS3.8 9.3.8, before anything is buffered."""
    with pytest.raises(ProtocolViolation) as caught:
        feed(data, [])

    assert reason == caught.value.reason


@given(st.binary(max_size=400))
def test_random_bytes_raise_violations_only(data: bytes) -> None:
    """Nothing a peer sends raises anything else."""
    try:
        events = feed(data, [])
    except ProtocolViolation:
        return

    assert isinstance(events, list)


def test_a_begun_pdu_is_known_with_what_is_missing() -> None:
    """Deadlines need to know that a PDU has begun, which one, and how much of it is to come."""
    splitter = PduSplitter(LIMITS)
    idle = splitter.current_pdu, splitter.is_within_pdu
    splitter.space()[:3] = b"\x04\0\0"
    splitter.received(3)
    splitter.next_event()
    half_header = splitter.current_pdu, splitter.is_within_pdu
    splitter.space()[:3] = b"\0\0\x20"
    splitter.received(3)
    splitter.next_event()

    assert (False, True, True) == (idle[1], half_header[1], splitter.is_within_pdu)
    assert half_header[0] != splitter.current_pdu
    assert 0x20 == splitter.missing_bytes


def test_small_pdus_have_the_standard_s_bytes() -> None:
    """PS3.8 9.3.4 and 9.3.6 to 9.3.8, byte by byte."""
    assert bytes.fromhex("03 00 00000004 00 01 01 07") == pdu.associate_rj(1, 1, 7)
    assert bytes.fromhex("05 00 00000004 00000000") == pdu.release_rq()
    assert bytes.fromhex("06 00 00000004 00000000") == pdu.release_rp()
    assert bytes.fromhex("07 00 00000004 0000 02 06") == pdu.abort(2, 6)


@pytest.mark.parametrize(("peer", "expected"), [(0, 994), (500, 494), (501, 494), (10_000, 994), (3, 2)])
def test_largest_value_honours_both_sides(peer: int, expected: int) -> None:
    """The peer's Maximum Length limits what we send, in even pieces; 0 leaves it to us (PS3.8 D.1)."""
    assert expected == pdu.largest_value(peer, 1000)


def test_pdu_types_are_those_of_the_standard() -> None:
    """PS3.8 9.3.1."""
    assert [1, 2, 3, 4, 5, 6, 7] == [kind.value for kind in PduType]
