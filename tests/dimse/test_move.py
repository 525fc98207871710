"""C-MOVE over the wire, row by row of PS3.4 Table C.4-2, with a destination that does what a test wants."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from pacsnode.errors import IndexFailure
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Key, Peer, Query
from pacsnode.storage.memory import MemoryStore
from tests.dimse import images
from tests.dimse.conftest import Nodes, Running, eventually, limits
from tests.dimse.destination import Destination
from tests.dimse.raw_peer import (
    ABORT,
    BIG_ENDIAN,
    C_MOVE,
    COMMAND,
    CT,
    DATA_SET_TYPE,
    ERROR_COMMENT,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    MESSAGE_ID,
    MR,
    NO_DATA_SET,
    ORIGINATOR_AE,
    ORIGINATOR_ID,
    PRIORITY,
    RELEASE_RQ,
    RESPONDED_TO,
    RESPONSE,
    SOP_CLASS,
    SOP_INSTANCE,
    STUDY_FIND,
    STUDY_MOVE,
    VERIFICATION,
    Offer,
    RawPeer,
    Received,
    associate_rq,
    identifier,
    parse_elements,
)

LEVEL, STUDY_UID, SERIES_UID, INSTANCE_UID, FAILED_LIST = 0x00080052, 0x0020000D, 0x0020000E, 0x00080018, 0x00080058
WHOLE_STUDY = identifier({LEVEL: "STUDY", STUDY_UID: images.STUDY})
MOVE = (Offer(1, STUDY_MOVE), Offer(3, VERIFICATION), Offer(5, STUDY_FIND))
TWENTY = range(1, 21)


ABORTED = ([ABORT], [0])  # 0: an answer that crosses the A-ABORT makes the kernel reset the connection


@pytest.fixture
def destination() -> Iterator[Destination]:
    """A move destination that takes everything unless told otherwise."""
    with Destination() as listening:
        yield listening


@pytest.fixture
def node(nodes: Nodes, destination: Destination) -> Running:
    """A node that knows the destination as DEST, and one as DEAD where nobody listens."""
    return nodes.start(dest(destination), Peer("dead", "DEAD", "127.0.0.1", 1), limits=limits(response=1.0))


def dest(destination: Destination) -> Peer:
    """The destination as a configured peer."""
    return Peer("dest", "DEST", "127.0.0.1", destination.port)


def move(node: Running, keys: bytes = WHOLE_STUDY, *, to: str = "DEST", priority: int = 0) -> list[Received]:
    """Every response to a C-MOVE, the final one last; the association has to work afterwards."""
    with node.connect(*MOVE) as peer:
        peer.start_query(1, C_MOVE, STUDY_MOVE, keys, destination=to, priority=priority)
        responses = peer.responses()
        assert 0 == peer.echo(3)
        peer.release()
    return responses


def failed_uids(response: Received) -> list[str]:
    """Failed SOP Instance UID List of the response's identifier; empty where there is no identifier."""
    if response.data_set is None:
        return []
    elements = parse_elements(response.data_set)
    assert [FAILED_LIST] == list(elements)
    return sorted(elements[FAILED_LIST].decode().rstrip("\0").split("\\"))


def uids(numbers: Iterator[int] | range | list[int]) -> list[str]:
    """SOP Instance UIDs of images, sorted."""
    return sorted(images.uid_of(number) for number in numbers)


def test_all_done(node: Running, destination: Destination) -> None:
    """0000: all counters but the remaining ones, no identifier; the destination has every instance bit by bit."""
    node.keep(*TWENTY)
    *pending, final = move(node)

    assert (0x0000, None, (None, 20, 0, 0)) == (final.status, final.data_set, final.counters)
    assert (C_MOVE | RESPONSE, 1, STUDY_MOVE) == (
        final.number(COMMAND), final.number(RESPONDED_TO), final.text(SOP_CLASS),
    )  # fmt: skip
    assert NO_DATA_SET == final.number(DATA_SET_TYPE)
    assert [images.image(number) for number in TWENTY] == [received.data_set for received in destination.received]
    assert eventually(lambda: destination.endings == [RELEASE_RQ])
    assert [1, 11] == [response.counters[1] for response in pending]
    for number, response in zip((1, 11), pending, strict=True):
        assert (0xFF00, None) == (response.status, response.data_set)
        assert (20 - number, number, 0, 0) == response.counters


def test_what_a_sub_operation_says(node: Running, destination: Destination) -> None:
    """Move Originator is who asked and its message (PS3.7 9.1.1.1.6), the priority is the request's (C.4.2.2.1)."""
    node.keep(1, 2)
    with node.connect(*MOVE) as peer:
        peer.message_id = 4710
        peer.start_query(1, C_MOVE, STUDY_MOVE, WHOLE_STUDY, destination="DEST", priority=2)
        peer.responses()

    for received in destination.received:
        assert ("TESTER", 4711) == (received.text(ORIGINATOR_AE), received.number(ORIGINATOR_ID))
        assert (2, CT) == (received.number(PRIORITY), received.text(SOP_CLASS))
    assert uids([1, 2]) == [received.text(SOP_INSTANCE) for received in destination.received]
    assert 2 == len({received.number(MESSAGE_ID) for received in destination.received})
    assert [b"DEST".ljust(16) + b"PACSNODE".ljust(16)] == destination.titles


def test_nothing_matches(node: Running, destination: Destination) -> None:
    """0000 with zero counters, and nobody is called."""
    (final,) = move(node, identifier({LEVEL: "STUDY", STUDY_UID: "1.2.3"}))

    assert (0x0000, None, (None, 0, 0, 0)) == (final.status, final.data_set, final.counters)
    assert [] == destination.titles


@pytest.mark.parametrize("title", ["NOBODY", "dest", "", "DEST\\DEAD", "127.0.0.1"])
def test_unknown_destination(node: Running, title: str) -> None:
    """A801 before any sub-operation: only configured peers are ever called."""
    node.keep(1)
    (final,) = move(node, to=title)

    assert (0xA801, None, (None, None, None, None)) == (final.status, final.data_set, final.counters)
    assert 0 < len(final.elements[ERROR_COMMENT]) <= 64


BAD_IDENTIFIERS = {
    "no level": {STUDY_UID: images.STUDY},
    "level of another model": {LEVEL: "PATIENT", 0x00100020: "P1"},
    "no unique key": {LEVEL: "STUDY"},
    "empty unique key": {LEVEL: "STUDY", STUDY_UID: ""},
    "wildcard": {LEVEL: "STUDY", STUDY_UID: "2.25.*"},
    "other key": {LEVEL: "STUDY", STUDY_UID: images.STUDY, 0x00080060: "CT"},
    "key below the level": {LEVEL: "STUDY", STUDY_UID: images.STUDY, SERIES_UID: images.SERIES},
}


@pytest.mark.parametrize("keys", BAD_IDENTIFIERS.values(), ids=BAD_IDENTIFIERS.keys())
def test_invalid_identifiers(node: Running, destination: Destination, keys: dict[int, str]) -> None:
    """A900 without counters and identifier; nobody is called."""
    node.keep(1)
    (final,) = move(node, identifier(keys))

    assert (0xA900, None, (None, None, None, None)) == (final.status, final.data_set, final.counters)
    assert [] == destination.titles


class FailingIndex(SqliteIndex):
    """An index that cannot count."""

    def count_instances(self, query: Query) -> int:
        raise IndexFailure("database /var/lib/secret is locked")


def test_matches_cannot_be_counted(nodes: Nodes, tmp_path: Path, destination: Destination) -> None:
    """A701, and nothing of our machine is told."""
    node = nodes.start(dest(destination), index=FailingIndex(tmp_path / "failing.db"))
    (final,) = move(node)

    assert (0xA701, None, (None, None, None, None)) == (final.status, final.data_set, final.counters)
    assert b"secret" not in final.elements[ERROR_COMMENT]


def everything_failed(responses: list[Received], count: int) -> None:
    """A702 with all instances failed and listed."""
    final = responses[-1]

    assert (0xA702, (None, 0, count, 0)) == (final.status, final.counters)
    assert uids(range(1, count + 1)) == failed_uids(final)


def test_destination_refuses_the_association(node: Running, destination: Destination) -> None:
    """A destination that we know but that rejects us is A702, not A801."""
    node.keep(1, 2, 3)
    destination.rejection = (1, 1, 3)

    everything_failed(move(node), 3)


def test_destination_is_not_there(node: Running) -> None:
    """Neither is one that is switched off."""
    node.keep(1, 2)

    everything_failed(move(node, to="DEAD"), 2)


def test_every_sub_operation_fails(node: Running, destination: Destination) -> None:
    """A destination that refuses every instance is A702; the association with it ends in good order."""
    node.keep(1, 2, 3)
    destination.answer = lambda number: 0xA700

    everything_failed(move(node), 3)
    assert eventually(lambda: destination.endings == [RELEASE_RQ])


def test_destination_does_not_answer(node: Running, destination: Destination) -> None:
    """A destination that goes silent is left at the deadline."""
    node.keep(1, 2, 3)
    destination.hold_at = 1

    everything_failed(move(node), 3)


def test_some_fail(node: Running, destination: Destination) -> None:
    """B000 with the list of what failed, and only that."""
    node.keep(*TWENTY)
    destination.answer = lambda number: 0xC000 if number % 4 == 0 else 0
    final = move(node)[-1]

    assert (0xB000, (None, 15, 5, 0)) == (final.status, final.counters)
    assert uids([4, 8, 12, 16, 20]) == failed_uids(final)


@pytest.mark.parametrize("warning", [0xB000, 0xB006, 0xB007, 0x0001, 0x0107])
def test_warnings_are_counted_apart(node: Running, destination: Destination, warning: int) -> None:
    """Warnings are neither completed nor failed, and not listed."""
    node.keep(1, 2, 3)
    destination.answer = lambda number: warning if number == 2 else 0
    final = move(node)[-1]

    assert (0xB000, (None, 2, 0, 1), None) == (final.status, final.counters, final.data_set)


def test_all_warnings(node: Running, destination: Destination) -> None:
    """B000, too (PS3.4 Table C.4-2)."""
    node.keep(1, 2)
    destination.answer = lambda number: 0xB000
    final = move(node)[-1]

    assert (0xB000, (None, 0, 0, 2), None) == (final.status, final.counters, final.data_set)


@pytest.mark.parametrize("dies_at", [1, 2, 11, 20])
def test_destination_dies_on_the_way(node: Running, destination: Destination, dies_at: int) -> None:
    """Whenever the destination is lost, the counters add up and the list is the truth."""
    node.keep(*TWENTY)
    destination.dies_at = dies_at
    final = move(node)[-1]
    there = [received.text(SOP_INSTANCE) for received in destination.received]

    assert (0xA702 if dies_at == 1 else 0xB000) == final.status
    assert (None, dies_at - 1, 21 - dies_at, 0) == final.counters
    assert uids(TWENTY) == sorted([*there, *failed_uids(final)])


def test_no_context_at_the_destination(node: Running, destination: Destination) -> None:
    """An instance that the destination has no context for is a failed sub-operation (PS3.4 C.4.2.3.1)."""
    node.keep(1, 2)
    node.keep(3, sop_class=MR)
    destination.takes = lambda offer: offer.abstract_syntax == CT
    final = move(node)[-1]

    assert (0xB000, (None, 2, 1, 0), uids([3])) == (final.status, final.counters, failed_uids(final))


def test_exactly_what_is_needed_is_proposed(node: Running, destination: Destination) -> None:
    """One context for each class and stored syntax of what is sent, and the native little endian ones where that can be
    converted to them."""
    node.keep(1, 2)
    node.keep(3, syntax=JPEG_BASELINE)
    node.keep(4, sop_class=MR, syntax=IMPLICIT)
    node.keep(5, sop_class=MR, syntax=BIG_ENDIAN)
    status = move(node)[-1].status
    (offers,) = destination.proposals

    assert 0x0000 == status
    stored = {(CT, EXPLICIT), (CT, JPEG_BASELINE), (MR, IMPLICIT), (MR, BIG_ENDIAN)}
    assert stored | {(CT, IMPLICIT), (MR, EXPLICIT)} == {
        (offer.abstract_syntax, *offer.transfer_syntaxes) for offer in offers
    }
    by_id = {offer.context_id: offer for offer in offers}
    for received in destination.received:
        offer = by_id[received.context_id]
        number = int(received.text(SOP_INSTANCE).rpartition(".")[2])
        kept = images.image(number, sop_class=offer.abstract_syntax, syntax=offer.transfer_syntaxes[0])
        assert kept == received.data_set


@pytest.mark.parametrize("maximum_length", [0, 20, 1001, 4 << 20])
def test_maximum_length_of_the_destination(node: Running, destination: Destination, maximum_length: int) -> None:
    """The destination gets PDUs as it likes them, and the same bytes."""
    destination.maximum_length = maximum_length
    data = images.image(pixels=bytes(range(250)) * 8)
    node.keep(1, pixels=bytes(range(250)) * 8)
    status = move(node)[-1].status

    assert (0x0000, [data]) == (status, [received.data_set for received in destination.received])


def test_something_large(node: Running, destination: Destination) -> None:
    """More than one read from the store, more than one PDU."""
    pixels = bytes(range(256)) * 4096 * 3
    node.keep(1, pixels=pixels)
    status = move(node)[-1].status

    assert (0x0000, [images.image(pixels=pixels)]) == (
        status, [received.data_set for received in destination.received],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "numbers"),
    [
        ({LEVEL: "SERIES", STUDY_UID: images.STUDY, SERIES_UID: f"{images.ROOT}.22"}, [3]),
        ({LEVEL: "SERIES", SERIES_UID: images.SERIES}, [1, 2]),
        ({LEVEL: "IMAGE", INSTANCE_UID: f"{images.uid_of(1)}\\{images.uid_of(4)}"}, [1, 4]),
        ({LEVEL: "STUDY", STUDY_UID: f"{images.STUDY}\\{images.ROOT}.11"}, [1, 2, 3, 4]),
    ],
)
def test_levels(node: Running, destination: Destination, keys: dict[int, str], numbers: list[int]) -> None:
    """Every level of the model, lists of UIDs, and parents that are left out."""
    node.keep(1, 2)
    node.keep(3, series=f"{images.ROOT}.22")
    node.keep(4, study=f"{images.ROOT}.11", series=f"{images.ROOT}.21")
    final = move(node, identifier(keys))[-1]

    assert (0x0000, (None, len(numbers), 0, 0)) == (final.status, final.counters)
    assert uids(numbers) == sorted(received.text(SOP_INSTANCE) for received in destination.received)


def test_objects_that_are_gone_or_short(node: Running, destination: Destination) -> None:
    """What the store cannot give is a failed sub-operation; the others arrive."""
    node.keep(1, 2, 3, 4)
    store = node.archive.store
    assert isinstance(store, MemoryStore)
    keys: list[Key] = list(store.keys())
    store.delete(keys[0])
    store.objects[keys[2]] = store.objects[keys[2]][:-1]
    final = move(node)[-1]

    assert (0xB000, (None, 2, 2, 0), uids([1, 3])) == (final.status, final.counters, failed_uids(final))
    assert uids([2, 4]) == [received.text(SOP_INSTANCE) for received in destination.received]


def test_cancel(node: Running, destination: Destination) -> None:
    """FE00 with all counters, the remaining ones too, within one sub-operation; the destination is released."""
    node.keep(*TWENTY)
    destination.hold_at = 3
    with node.connect(*MOVE) as peer:
        message_id = peer.start_query(1, C_MOVE, STUDY_MOVE, WHOLE_STUDY, destination="DEST")
        assert destination.held.wait(5)
        peer.cancel(1, message_id)
        destination.go_on.set()
        final = peer.responses()[-1]
        echo = peer.echo(3)

    assert (0xFE00, (17, 3, 0, 0), 0) == (final.status, final.counters, echo)
    assert (3, True) == (len(destination.received), eventually(lambda: destination.endings == [RELEASE_RQ]))


def test_cancel_with_failures(node: Running, destination: Destination) -> None:
    """What had failed until then is listed."""
    node.keep(*TWENTY)
    destination.hold_at = 3
    destination.answer = lambda number: 0xA700 if number == 2 else 0
    with node.connect(*MOVE) as peer:
        message_id = peer.start_query(1, C_MOVE, STUDY_MOVE, WHOLE_STUDY, destination="DEST")
        assert destination.held.wait(5)
        peer.cancel(1, message_id)
        destination.go_on.set()
        final = peer.responses()[-1]

    assert (0xFE00, (17, 2, 1, 0), uids([2])) == (final.status, final.counters, failed_uids(final))


def test_a_message_id_may_be_used_again_after_a_cancel(node: Running, destination: Destination) -> None:
    """A cancel belongs to one operation."""
    node.keep(1, 2, 3)
    destination.hold_at = 1
    with node.connect(*MOVE) as peer:
        message_id = peer.start_query(1, C_MOVE, STUDY_MOVE, WHOLE_STUDY, destination="DEST")
        assert destination.held.wait(5)
        peer.cancel(1, message_id)
        destination.go_on.set()
        first = peer.responses()[-1]
        peer.message_id = message_id - 1
        peer.start_query(1, C_MOVE, STUDY_MOVE, WHOLE_STUDY, destination="DEST")
        second = peer.responses()[-1]

    assert (0xFE00, 0x0000) == (first.status, second.status)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_requester_leaves(node: Running, destination: Destination, how: str) -> None:
    """When nobody waits for the result, we stop and abort the destination (PS3.4 C.4.2.3.1)."""
    node.keep(*TWENTY)
    destination.hold_at = 3
    peer = node.connect(*MOVE)
    peer.start_query(1, C_MOVE, STUDY_MOVE, WHOLE_STUDY, destination="DEST")
    assert destination.held.wait(5)
    getattr(peer, how)()
    destination.go_on.set()

    assert eventually(lambda: destination.endings in ABORTED)
    assert eventually(lambda: node.admission.associations == 0)
    assert len(destination.received) <= 4


def test_a_request_within_the_operation(node: Running, destination: Destination) -> None:
    """One operation at a time was agreed: another request ends the association."""
    node.keep(*TWENTY)
    destination.hold_at = 3
    with node.connect(*MOVE) as peer:
        peer.start_query(1, C_MOVE, STUDY_MOVE, WHOLE_STUDY, destination="DEST")
        assert destination.held.wait(5)
        peer.send_command(3, {SOP_CLASS: VERIFICATION, COMMAND: 0x0030, MESSAGE_ID: 9})
        destination.go_on.set()
        kinds: list[int] = []
        while not kinds or kinds[-1] != ABORT:
            kind, body = peer.read_pdu()
            kinds.append(kind)

    assert bytes([0, 0, 2, 2]) == body
    assert eventually(lambda: destination.endings in ABORTED)


def test_destination_may_be_the_requester(nodes: Nodes, destination: Destination) -> None:
    """A workstation moves to itself, over another association (PS3.4 C.4.2)."""
    node = nodes.start(Peer("self", "TESTER", "127.0.0.1", destination.port))
    node.keep(1)
    final = move(node, to="TESTER")[-1]

    assert (0x0000, uids([1])) == (final.status, [received.text(SOP_INSTANCE) for received in destination.received])


def test_move_in_another_context(node: Running) -> None:
    """C-MOVE belongs to contexts of C-MOVE: 0122, without counters."""
    node.keep(1)
    with node.connect(*MOVE) as peer:
        peer.start_query(5, C_MOVE, STUDY_FIND, WHOLE_STUDY, destination="DEST")
        (final,) = peer.responses()

    assert (0x0122, (None, None, None, None)) == (final.status, final.counters)


def test_failed_list_in_explicit_vr(node: Running) -> None:
    """The identifier of the final response is in the context's transfer syntax."""
    node.keep(1, 2)
    with RawPeer(node.port) as peer:
        peer.associate(request=associate_rq((Offer(1, STUDY_MOVE, (BIG_ENDIAN,)),)))
        keys = b"".join(
            struct.pack(">HH2sH", tag >> 16, tag & 0xFFFF, vr, len(text)) + text
            for tag, vr, text in (
                (LEVEL, b"CS", b"STUDY "),
                (STUDY_UID, b"UI", images.STUDY.encode() + b"\0" * (len(images.STUDY) % 2)),
            )
        )
        peer.start_query(1, C_MOVE, STUDY_MOVE, keys, destination="DEAD")
        final = peer.responses()[-1]
    listed = "\\".join(uids([1, 2])).encode()
    listed += b"\0" * (len(listed) % 2)

    assert 0xA702 == final.status
    assert struct.pack(">HH2sH", 8, 0x58, b"UI", len(listed)) + listed == final.data_set
