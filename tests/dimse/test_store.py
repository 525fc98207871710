"""C-STORE over the wire: every status that there is today, and that nothing is left of what was not stored."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pacsnode.errors import IndexFailure, StoreError
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Arrival, DuplicatePolicy, Instance, Level, OneOf, Outcome, Peer, Query, Uid
from pacsnode.storage.memory import MemoryStore, MemoryUpload
from tests.dicom.dataset_bytes import Leaf, encode
from tests.dimse import images
from tests.dimse.conftest import STARTED, Nodes, Running, eventually, limits
from tests.dimse.raw_peer import (
    C_STORE,
    COMMAND,
    CT,
    DATA_SET_TYPE,
    ERROR_COMMENT,
    EXPLICIT,
    IMPLICIT,
    MESSAGE_ID,
    MR,
    NO_DATA_SET,
    OFFENDING_ELEMENT,
    RESPONDED_TO,
    RESPONSE,
    SOP_CLASS,
    SOP_INSTANCE,
    STUDY_FIND,
    VERIFICATION,
    Fields,
    Offer,
    RawPeer,
    Received,
)

STORAGE = (Offer(1, VERIFICATION), Offer(3, CT, (EXPLICIT,)), Offer(5, MR, (EXPLICIT,)), Offer(7, STUDY_FIND))
UID = images.uid_of(1)


def offending(response: Received) -> int | None:
    """The tag of Offending Element; None when it is absent."""
    raw = response.elements.get(OFFENDING_ELEMENT)
    if raw is None:
        return None
    group, element = struct.unpack("<HH", raw)
    return int(group << 16 | element)


def stored_instances(node: Running) -> int:
    """How many instances the index counts."""
    return node.archive.index.totals().instances


def test_stored(node: Running) -> None:
    """Success names class, instance and message of the request, and the instance is there bit by bit."""
    data = images.image()
    with node.connect(*STORAGE) as peer:
        response = peer.store(3, CT, UID, data)
        peer.release()

    assert 0x0000 == response.status
    assert (CT, UID) == (response.text(SOP_CLASS), response.text(SOP_INSTANCE))
    assert (C_STORE | RESPONSE, 1) == (response.number(COMMAND), response.number(RESPONDED_TO))
    assert NO_DATA_SET == response.number(DATA_SET_TYPE)
    assert not {ERROR_COMMENT, OFFENDING_ELEMENT} & response.elements.keys()
    assert [data] == stored_data(node)


def test_time_of_each_commit_is_told(node: Running) -> None:
    """Of what was stored, so that jobs can wait while it takes long; not of what was refused."""
    with node.connect(*STORAGE) as peer:
        peer.store(3, CT, UID, images.image())
        peer.store(3, CT, UID, b"no data set")
        peer.release()

    (seconds,) = node.commits
    assert 0 < seconds < 10


def stored_data(node: Running) -> list[bytes]:
    """The data sets of all objects, in order of arrival."""
    store = node.archive.store
    found = []
    for key in store.keys():  # noqa: SIM118 - a store is no mapping
        with store.open(key) as source:
            source.seek(store.info(key).offset)
            found.append(source.read())
    return found


def test_same_again(node: Running) -> None:
    """A repeated send is Success, and is not kept twice."""
    with node.connect(*STORAGE) as peer:
        statuses = [peer.store(3, CT, UID, images.image()).status for _ in range(3)]

    assert [0, 0, 0] == statuses
    assert (1, 1) == (len(node.keys()), stored_instances(node))


def test_other_content_is_a_new_version(node: Running) -> None:
    """Other content under a known UID is Success, and nothing is overwritten."""
    first, second = images.image(), images.image(pixels=b"\5\6\7\x08")
    with node.connect(*STORAGE) as peer:
        statuses = [peer.store(3, CT, UID, data).status for data in (first, second)]

    assert [0, 0] == statuses
    assert ([first, second], 1) == (stored_data(node), stored_instances(node))


@pytest.mark.parametrize(
    ("policy", "status"), [(DuplicatePolicy.FIRST, 0x0000), (DuplicatePolicy.REJECT, 0xC010)], ids=["first", "reject"]
)
def test_duplicate_policies(nodes: Nodes, tmp_path: Path, policy: DuplicatePolicy, status: int) -> None:
    """By policy the first content stays, silently or with a failure that is not worth a retry."""
    node = nodes.start(index=SqliteIndex(tmp_path / "policy.db", duplicates=policy))
    first, second = images.image(), images.image(pixels=b"\5\6\7\x08")
    with node.connect(*STORAGE) as peer:
        statuses = [peer.store(3, CT, UID, data).status for data in (first, second, first)]

    assert [0, status, 0] == statuses
    assert [first] == stored_data(node)


def _without(*tags: int) -> bytes:
    return images.image(without=tags)


def _leaf(tag: int, raw: bytes) -> bytes:
    return encode([Leaf(tag, "LO", raw)], Uid(EXPLICIT))


def _sequences(depth: int) -> bytes:
    """Sequences of undefined length in each other."""
    begin = b"\x09\0\x10\x11SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
    end = b"\xfe\xff\x0d\xe0" + bytes(4) + b"\xfe\xff\xdd\xe0" + bytes(4)
    return begin * depth + end * depth


_OVERLONG = b"\x09\0\x10\x11SQ\0\0\x10\0\0\0" + b"\xfe\xff\x00\xe0" + b"\x40\0\0\0" + bytes(64)
_FRAGMENTS = b"\xe0\x7f\x20\0OB\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\4\0\0\0" + bytes(4)
_LONG_NAME = encode([Leaf(0x00100010, "UT", bytes(2 << 20))], Uid(EXPLICIT))
WHOLE = images.image(pixels=bytes(1000))
REFUSED: dict[str, tuple[str, bytes, int, int | None]] = {
    "class of the data set differs": (UID, images.image(sop_class=MR), 0xA900, 0x00080016),
    "instance of the data set differs": (UID, images.image(2), 0xA900, 0x00080018),
    "cut within a value": (UID, WHOLE[:-1], 0xC000, None),
    "cut within a header": (UID, WHOLE[:13], 0xC000, None),
    "no SOP Class UID": (UID, _without(0x00080016), 0xC001, 0x00080016),
    "no SOP Instance UID": (UID, _without(0x00080018), 0xC001, 0x00080018),
    "no Study Instance UID": (UID, _without(0x0020000D), 0xC001, 0x0020000D),
    "no Series Instance UID": (UID, _without(0x0020000E), 0xC001, 0x0020000E),
    "empty Study Instance UID": (UID, images.image(study=""), 0xC001, 0x0020000D),
    "malformed Study Instance UID": (UID, images.image(study="not.a.uid"), 0xC001, 0x0020000D),
    "malformed Series Instance UID": (UID, images.image(series="1" * 65), 0xC001, 0x0020000E),
    "an element twice": (UID, images.image() + _leaf(0x00100020, b"P2"), 0xC001, 0x00100020),
    "a patient's name of 2 MiB": (UID, _without(0x00100010) + _LONG_NAME, 0xC001, 0x00100010),
    "sequences in each other without an end": (UID, images.image() + _sequences(65), 0xC002, None),
    "too many elements": (UID, images.image() + _leaf(0x00091001, b"") * 1_000_000, 0xC002, None),
    "a sequence without its delimiter": (UID, images.image() + _sequences(2)[:-8], 0xC000, None),
    "a sequence longer than what it is in": (UID, images.image() + _OVERLONG, 0xC000, None),
    "fragments without an end": (UID, images.image() + _FRAGMENTS, 0xC000, None),
    "implicit VR under explicit VR": (UID, images.image(syntax=IMPLICIT), 0xC000, None),
    "no DICOM": (UID, b"rubbish " * 40, 0xC000, None),
    "empty": (UID, b"", 0xC000, None),
    "malformed SOP Instance UID": ("../../etc/passwd", images.image(uid="../../etc/passwd"), 0x0117, None),
    "SOP Instance UID too long": ("1." * 33 + "1", images.image(uid="1." * 33 + "1"), 0x0117, None),
}


@pytest.mark.parametrize(("uid", "data", "status", "tag"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(node: Running, uid: str, data: bytes, status: int, tag: int | None) -> None:
    """What is wrong with the instance has its own status, is not kept, and does not end the association."""
    with node.connect(*STORAGE) as peer:
        response = peer.store(3, CT, uid, data)
        after = peer.store(3, CT, images.uid_of(9), images.image(9)).status
        peer.release()

    assert (status, tag) == (response.status, offending(response))
    assert (uid, 0) == (response.text(SOP_INSTANCE), after)
    assert 0 < len(response.elements[ERROR_COMMENT]) <= 64
    assert response.elements[ERROR_COMMENT].isascii()
    assert [images.image(9)] == stored_data(node)


def test_leading_zeros_of_a_uid_are_taken(node: Running) -> None:
    """Components with leading zeros break PS3.5 9.1, are common, and harm nobody."""
    uid = "1.2.003.04"
    with node.connect(*STORAGE) as peer:
        status = peer.store(3, CT, uid, images.image(uid=uid)).status

    assert 0 == status


@pytest.mark.parametrize("padding", [b"\0", b"\0\0", b" ", b" \0"])
def test_padded_uids_are_the_same(node: Running, padding: bytes) -> None:
    """Whatever pads the UIDs of the command, they name the same instance; the response repeats them."""
    raw = UID.encode() + padding
    with node.connect(*STORAGE) as peer:
        fields: Fields = {SOP_CLASS: CT.encode() + padding, COMMAND: C_STORE, MESSAGE_ID: 3, SOP_INSTANCE: raw}
        peer.send_command(3, fields, has_data_set=True)
        peer.send_data_set(3, images.image())
        response = peer.read_message()

    assert 0 == response.status
    assert raw + b"\0" * (len(raw) % 2) == response.elements[SOP_INSTANCE]


def test_no_data_set_at_all(node: Running) -> None:
    """A C-STORE that says that no data set follows is a failure, not a reason to wait."""
    with node.connect(*STORAGE) as peer:
        peer.send_command(3, {SOP_CLASS: CT, COMMAND: C_STORE, MESSAGE_ID: 1, SOP_INSTANCE: UID})
        status = peer.read_message().status
        echo = peer.echo()

    assert (0xC000, 0) == (status, echo)


@pytest.mark.parametrize(("context_id", "sop_class"), [(5, CT), (1, CT), (1, VERIFICATION), (7, STUDY_FIND)])
def test_class_of_another_context(node: Running, context_id: int, sop_class: str) -> None:
    """A class that is not the context's, or nothing to store, is "SOP class not supported"."""
    with node.connect(*STORAGE) as peer:
        status = peer.store(context_id, sop_class, UID, images.image(sop_class=sop_class)).status
        echo = peer.echo()

    assert (0x0122, 0) == (status, echo)
    assert [] == node.keys()


def test_a_peer_that_may_not_store(nodes: Nodes) -> None:
    """The right to store is the configuration's."""
    node = nodes.start(Peer("tester", "TESTER", "127.0.0.1", 1, allow=frozenset({"echo"})))
    with node.connect(*STORAGE) as peer:
        status = peer.store(3, CT, UID, images.image()).status
        echo = peer.echo()

    assert (0x0124, 0) == (status, echo)
    assert [] == node.keys()


def test_a_data_set_larger_than_allowed(nodes: Nodes) -> None:
    """Beyond the limit the rest is read and forgotten."""
    node = nodes.start(limits=limits(dataset=10_000))
    with node.connect(*STORAGE) as peer:
        statuses = [peer.store(3, CT, UID, images.image(pixels=bytes(size))).status for size in (50_000, 9_000)]

    assert [0xC002, 0] == statuses
    assert 1 == len(node.keys())


class FailingUpload(MemoryUpload):
    """Fails at the commit."""

    def commit(self, key: object) -> None:  # type: ignore[override]
        self.abort()
        raise StoreError("input/output error of /var/lib/secret")


class FailingStore(MemoryStore):
    """A store that cannot make anything durable while ``fails``."""

    fails = True

    def begin(self, arrival: Arrival) -> MemoryUpload:
        return FailingUpload(self, arrival) if self.fails else super().begin(arrival)


class FailingIndex(SqliteIndex):
    """An index that cannot keep a row while ``fails``."""

    fails = True

    def add(self, instance: Instance) -> Outcome:
        if self.fails:
            raise IndexFailure("database /var/lib/secret is locked")
        return super().add(instance)


def retried(node: Running, mend: Callable[[], None]) -> tuple[Received, int | None]:
    """The response to a send, and the status of another one after the trouble is over, on the same association."""
    with node.connect(*STORAGE) as peer:
        response = peer.store(3, CT, UID, images.image())
        mend()
        after = peer.store(3, CT, UID, images.image()).status
        peer.release()
    assert b"secret" not in response.elements[ERROR_COMMENT]
    assert offending(response) is None  # PS3.7 Annex C: not with A7xx
    return response, after


def test_no_room_before_it_begins(nodes: Nodes) -> None:
    """A store without room answers A700, so that the peer comes again; then the same instance is stored."""
    store = MemoryStore(capacity_bytes=0)
    response, after = retried(nodes.start(store=store), lambda: setattr(store, "_capacity_bytes", 1 << 20))

    assert (0xA700, 0) == (response.status, after)


def test_no_room_on_the_way(nodes: Nodes) -> None:
    """Room that runs out within the data set is A700, too, and nothing of it stays."""
    store = MemoryStore(capacity_bytes=40_000)
    node = nodes.start(store=store)
    with node.connect(*STORAGE) as peer:
        big = images.image(pixels=bytes(100_000))
        statuses = [peer.store(3, CT, UID, data).status for data in (big, images.image())]

    assert [0xA700, 0] == statuses
    assert [images.image()] == stored_data(node)


def test_a_store_that_fails(nodes: Nodes) -> None:
    """Trouble of ours is A7xx: the peer may send again, and learns nothing of our machine."""
    store = FailingStore()
    response, after = retried(nodes.start(store=store), lambda: setattr(store, "fails", False))

    assert (0xA701, 0) == (response.status, after)
    assert 1 == len(store.objects)


def test_an_index_that_fails(nodes: Nodes, tmp_path: Path) -> None:
    """Without its row an instance is not acknowledged; sent again, it is."""
    index = FailingIndex(tmp_path / "failing.db")
    node = nodes.start(index=index)
    response, after = retried(node, lambda: setattr(index, "fails", False))

    assert (0xA710, 0) == (response.status, after)
    assert 1 == stored_instances(node)


POINTS = [0, 1, 5, 6, 11, 12, 13, 100, 300, -1]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_peer_vanishes_on_the_way(node: Running, how: str) -> None:
    """At whatever byte the peer is lost, nothing of the instance stays, and nobody waits for it."""
    data = images.image(pixels=bytes(600))
    for point in POINTS:
        peer = node.connect(*STORAGE)
        peer.start_store(3, CT, UID)
        message = struct.pack(">BxIIBB", 4, len(data) + 6, len(data) + 2, 3, 2) + data
        peer.send(message[:point])
        getattr(peer, how)()

    assert eventually(lambda: node.admission.associations == 0)
    assert ([], 0) == (node.keys(), stored_instances(node))


def test_peer_vanishes_before_the_answer(node: Running) -> None:
    """A whole instance is kept, even when nobody is there to hear so."""
    for number in range(5):
        peer = node.connect(*STORAGE)
        peer.start_store(3, CT, images.uid_of(number))
        peer.send_data_set(3, images.image(number))
        peer.close()

    assert eventually(lambda: node.admission.associations == 0)
    assert 5 == stored_instances(node)


@pytest.mark.parametrize("piece", [1, 2, 7, 250])
def test_tiny_pieces(node: Running, piece: int) -> None:
    """A data set may come in as many values as it has bytes."""
    data = images.image(pixels=bytes(range(256)))
    with node.connect(*STORAGE) as peer:
        status = peer.store(3, CT, UID, data, piece=piece).status

    assert 0 == status
    assert [data] == stored_data(node)


def test_five_mebibytes(node: Running) -> None:
    """Something large comes through as it was."""
    data = images.image(pixels=bytes(range(256)) * 4 * 1024 * 5)
    with node.connect(*STORAGE) as peer:
        status = peer.store(3, CT, UID, data).status

    assert 0 == status
    assert [data] == stored_data(node)


def test_requests_in_a_row_without_waiting(node: Running) -> None:
    """A peer that does not wait for responses gets them all, in order."""
    with node.connect(*STORAGE) as peer:
        for number in range(1, 11):
            peer.start_store(3, CT, images.uid_of(number))
            peer.send_data_set(3, images.image(number))
        answers = [peer.read_message() for _ in range(10)]

    assert [(number, 0) for number in range(1, 11)] == [(m.number(RESPONDED_TO), m.status) for m in answers]


def test_message_ids_may_repeat(node: Running) -> None:
    """Some devices give every request the same Message ID: it is free again when the one before is answered."""
    with node.connect(*STORAGE) as peer:
        for number in (1, 2, 3):
            peer.message_id = 6
            peer.start_store(3, CT, images.uid_of(number))
            peer.send_data_set(3, images.image(number))
        answers = [peer.read_message() for _ in range(3)]

    assert [(7, 0)] * 3 == [(answer.number(RESPONDED_TO), answer.status) for answer in answers]


def test_who_sent_it_is_recorded(node: Running) -> None:
    """The index knows by which titles an instance came, and when."""
    with node.connect(*STORAGE) as peer:
        peer.store(3, CT, UID, images.image())
    query = Query(Level.IMAGE, {"sop_instance_uid": OneOf((UID,))})
    (instance,) = node.archive.index.instances(query)

    assert ("TESTER", "PACSNODE") == (instance.calling_ae, instance.called_ae)
    assert STARTED < instance.received_at < node.archive.clock()


def test_implicit_and_explicit_of_one_instance(node: Running) -> None:
    """Another encoding is other content: a new version, in the syntax it came in."""
    with RawPeer(node.port) as peer:
        peer.associate((Offer(1, CT, (EXPLICIT,)), Offer(3, CT, (IMPLICIT,))))
        one = peer.store(1, CT, UID, images.image()).status
        other = peer.store(3, CT, UID, images.image(syntax=IMPLICIT)).status

    assert (0, 0) == (one, other)
    assert [images.image(), images.image(syntax=IMPLICIT)] == stored_data(node)
