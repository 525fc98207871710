"""C-GET over the wire: sub-operations on the association that asked (PS3.4 C.4.3)."""

from __future__ import annotations

import errno
import io
import os
import time
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from pacsnode.errors import IndexFailure, ObjectDamaged
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Key, Query
from pacsnode.storage.memory import MemoryStore
from tests.dimse import images
from tests.dimse.conftest import Nodes, Running, eventually, limits
from tests.dimse.raw_peer import (
    BIG_ENDIAN,
    C_GET,
    C_STORE,
    COMMAND,
    CT,
    DEFLATED,
    ERROR_COMMENT,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    MESSAGE_ID,
    MR,
    ORIGINATOR_AE,
    ORIGINATOR_ID,
    P_DATA,
    PENDING,
    PRIORITY,
    RESPONDED_TO,
    RESPONSE,
    SOP_CLASS,
    SOP_INSTANCE,
    STUDY_GET,
    VERIFICATION,
    Aborted,
    Closed,
    Offer,
    RawPeer,
    Received,
    associate_rq,
    command_set,
    identifier,
    parse_elements,
    pdu,
    role,
    store_response,
    value,
)

LEVEL, STUDY_UID, FAILED_LIST = 0x00080052, 0x0020000D, 0x00080058
WHOLE_STUDY = identifier({LEVEL: "STUDY", STUDY_UID: images.STUDY})
GET = (Offer(1, STUDY_GET), Offer(3, CT, (EXPLICIT,)), Offer(5, VERIFICATION))
AS_SCP = role(CT, scu=0, scp=1) + role(MR, scu=0, scp=1)
TWENTY = range(1, 21)


def getter(node: Running, *offers: Offer, roles: bytes = AS_SCP) -> RawPeer:
    """A peer that has associated to get images."""
    peer = RawPeer(node.port)
    peer.associate(request=associate_rq(offers or GET, user_items=roles))
    return peer


def uids(numbers: range | list[int]) -> list[str]:
    """SOP Instance UIDs of images, sorted."""
    return sorted(images.uid_of(number) for number in numbers)


def failed_uids(response: Received) -> list[str]:
    """Failed SOP Instance UID List; empty where there is no identifier."""
    if response.data_set is None:
        return []
    elements = parse_elements(response.data_set)
    assert [FAILED_LIST] == list(elements)
    return sorted(elements[FAILED_LIST].decode().rstrip("\0").split("\\"))


def test_all_done(node: Running) -> None:
    """0000: all counters but the remaining ones, no identifier; every instance comes bit by bit."""
    node.keep(*TWENTY)
    with getter(node) as peer:
        instances, (*pending, final) = peer.get(1, STUDY_GET, WHOLE_STUDY, priority=1)
        echo = peer.echo(5)
        peer.release()

    assert (0x0000, None, (None, 20, 0, 0)) == (final.status, final.data_set, final.counters)
    assert (C_GET | RESPONSE, 1, STUDY_GET) == (
        final.number(COMMAND), final.number(RESPONDED_TO), final.text(SOP_CLASS),
    )  # fmt: skip
    assert ([images.image(number) for number in TWENTY], 0) == ([found.data_set for found in instances], echo)
    assert [1, 11] == [response.counters[1] for response in pending]
    for number, response in zip((1, 11), pending, strict=True):
        assert (0xFF00, None, (20 - number, number, 0, 0)) == (response.status, response.data_set, response.counters)


def test_what_a_sub_operation_says(node: Running) -> None:
    """Class and instance, the priority of the request, message IDs of their own, and no move originator."""
    node.keep(1, 2)
    with getter(node) as peer:
        instances, _ = peer.get(1, STUDY_GET, WHOLE_STUDY, priority=2)

    for number, found in enumerate(instances, start=1):
        assert (CT, images.uid_of(number), 3) == (found.text(SOP_CLASS), found.text(SOP_INSTANCE), found.context_id)
        assert 2 == found.number(PRIORITY)
        assert not {ORIGINATOR_AE, ORIGINATOR_ID} & found.elements.keys()
    assert 2 == len({found.number(MESSAGE_ID) for found in instances})


def test_nothing_matches(node: Running) -> None:
    """0000 with zero counters."""
    with getter(node) as peer:
        instances, (final,) = peer.get(1, STUDY_GET, WHOLE_STUDY)

    assert ([], 0x0000, (None, 0, 0, 0)) == (instances, final.status, final.counters)


@pytest.mark.parametrize("keys", [identifier({LEVEL: "STUDY"}), identifier({LEVEL: "PATIENT"}), b"rubbish!", b""])
def test_invalid_identifiers(node: Running, keys: bytes) -> None:
    """A900 without counters and identifier."""
    node.keep(1)
    with getter(node) as peer:
        instances, (final,) = peer.get(1, STUDY_GET, keys)

    assert ([], 0xA900, None, (None, None, None, None)) == (instances, final.status, final.data_set, final.counters)


class FailingIndex(SqliteIndex):
    """An index that cannot count."""

    def count_instances(self, query: Query) -> int:
        raise IndexFailure("database /var/lib/secret is locked")


def test_matches_cannot_be_counted(nodes: Nodes, tmp_path: Path) -> None:
    """A701, and nothing of our machine is told."""
    node = nodes.start(index=FailingIndex(tmp_path / "failing.db"))
    with getter(node) as peer:
        _, (final,) = peer.get(1, STUDY_GET, WHOLE_STUDY)

    assert (0xA701, None) == (final.status, final.data_set)
    assert b"secret" not in final.elements[ERROR_COMMENT]


@pytest.mark.parametrize(
    ("roles", "offers"),
    [
        (b"", GET),
        (role(CT, scu=1, scp=0), GET),
        (AS_SCP, (Offer(1, STUDY_GET), Offer(3, MR, (EXPLICIT,)))),
        (AS_SCP, (Offer(1, STUDY_GET), Offer(3, CT, (JPEG_BASELINE,)))),
        (AS_SCP, (Offer(1, STUDY_GET),)),
    ],
    ids=["no roles", "SCU only", "other class", "other syntax", "no storage"],
)
def test_no_context_to_send_in(node: Running, roles: bytes, offers: tuple[Offer, ...]) -> None:
    """Where role selection or syntaxes leave us no way to send, every sub-operation has failed: A702, all listed."""
    node.keep(1, 2)
    with getter(node, *offers, roles=roles) as peer:
        instances, responses = peer.get(1, STUDY_GET, WHOLE_STUDY)

    assert ([], 0xA702, (None, 0, 2, 0)) == (instances, responses[-1].status, responses[-1].counters)
    assert uids([1, 2]) == failed_uids(responses[-1])


def test_both_roles(node: Running) -> None:
    """SCU=1 and SCP=1 of one class: the same context stores and gets."""
    with getter(node, roles=role(CT, scu=1, scp=1)) as peer:
        stored = peer.store(3, CT, images.uid_of(1), images.image()).status
        instances, responses = peer.get(1, STUDY_GET, WHOLE_STUDY)
        again = peer.store(3, CT, images.uid_of(1), images.image()).status

    assert (0, 0, 0) == (stored, responses[-1].status, again)
    assert [images.image()] == [found.data_set for found in instances]


def test_every_instance_in_a_context_of_its_syntax(node: Running) -> None:
    """Several syntaxes of one class, each offered apart."""
    syntaxes = (EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED, JPEG_BASELINE)
    offers = [Offer(2 * number + 3, CT, (syntax,)) for number, syntax in enumerate(syntaxes)]
    for number, syntax in enumerate(syntaxes):
        node.keep(number, syntax=syntax)
    with getter(node, Offer(1, STUDY_GET), *offers) as peer:
        instances, responses = peer.get(1, STUDY_GET, WHOLE_STUDY)

    assert 0x0000 == responses[-1].status
    assert {2 * number + 3: images.image(number, syntax=syntax) for number, syntax in enumerate(syntaxes)} == {
        found.context_id: found.data_set for found in instances
    }


def test_some_fail(node: Running) -> None:
    """B000: warnings and failures are counted apart, failures listed."""
    node.keep(*TWENTY)
    statuses = {2: 0xB000, 3: 0xA700, 7: 0xC123, 8: 0x0122, 9: 0xB007}
    with getter(node) as peer:
        instances, responses = peer.get(1, STUDY_GET, WHOLE_STUDY, answer=lambda number: statuses.get(number, 0))

    assert (20, 0xB000, (None, 15, 3, 2)) == (len(instances), responses[-1].status, responses[-1].counters)
    assert uids([3, 7, 8]) == failed_uids(responses[-1])


def test_everything_fails(node: Running) -> None:
    """A702 with all instances listed."""
    node.keep(1, 2)
    with getter(node) as peer:
        _, responses = peer.get(1, STUDY_GET, WHOLE_STUDY, answer=lambda number: 0xA700)

    assert (0xA702, (None, 0, 2, 0)) == (responses[-1].status, responses[-1].counters)
    assert uids([1, 2]) == failed_uids(responses[-1])


def test_objects_that_are_gone_or_short(node: Running) -> None:
    """What the store cannot give is a failed sub-operation; the others come."""
    node.keep(1, 2, 3, 4)
    store = node.archive.store
    assert isinstance(store, MemoryStore)
    keys: list[Key] = list(store.keys())
    store.delete(keys[0])
    store.objects[keys[2]] += b"x"
    with getter(node) as peer:
        instances, responses = peer.get(1, STUDY_GET, WHOLE_STUDY)

    assert (0xB000, (None, 2, 2, 0)) == (responses[-1].status, responses[-1].counters)
    assert uids([1, 3]) == failed_uids(responses[-1])
    assert uids([2, 4]) == [found.text(SOP_INSTANCE) for found in instances]


@pytest.mark.parametrize("before_the_answer", [True, False])
def test_cancel(node: Running, before_the_answer: bool) -> None:
    """FE00 within one sub-operation, whether the cancel comes before or with a C-STORE response."""
    node.keep(*TWENTY)
    with getter(node) as peer:
        message_id = peer.start_query(1, C_GET, STUDY_GET, WHOLE_STUDY)
        cancel = pdu(P_DATA, value(1, 3, command_set({COMMAND: 0x0FFF, RESPONDED_TO: message_id, 0x0800: 0x0101})))
        instances: list[Received] = []
        responses: list[Received] = []
        while not responses or responses[-1].status in PENDING:
            message = peer.read_message()
            if message.number(COMMAND) != C_STORE:
                responses.append(message)
                continue
            instances.append(message)
            fields = {0x0800: 0x0101, **store_response(message, 0)}
            answer = pdu(P_DATA, value(message.context_id, 3, command_set(fields)))
            if len(instances) == 3:
                answer = cancel + answer if before_the_answer else answer + cancel
            peer.send(answer)
        echo = peer.echo(5)

    assert (3, 0xFE00, (17, 3, 0, 0), 0) == (len(instances), responses[-1].status, responses[-1].counters, echo)
    assert None is responses[-1].data_set


@pytest.mark.parametrize("how", ["close", "reset"])
def test_requester_leaves(node: Running, how: str) -> None:
    """A peer that is lost within a sub-operation ends it all."""
    node.keep(*TWENTY)
    peer = getter(node)
    peer.start_query(1, C_GET, STUDY_GET, WHOLE_STUDY)
    peer.read_message()
    getattr(peer, how)()

    assert eventually(lambda: node.admission.associations == 0)


def test_response_to_another_message(node: Running) -> None:
    """A C-STORE response that answers something else ends the association: what was sent is not known any more."""
    node.keep(1, 2)
    with getter(node) as peer:
        peer.start_query(1, C_GET, STUDY_GET, WHOLE_STUDY)
        message = peer.read_message()
        peer.send_command(message.context_id, {**store_response(message, 0), RESPONDED_TO: 999})
        kind, body = peer.read_pdu()

    assert (7, bytes([0, 0, 2, 2])) == (kind, body)
    assert node.echoes()


class FailingFile(io.FileIO):
    """A file whose disk fails when so many reads are through."""

    def __init__(self, descriptor: int, good_reads: int, error: Exception) -> None:
        super().__init__(descriptor)
        self._left = good_reads
        self._error = error

    def readinto(self, buffer: Any) -> int:
        self._count()
        return super().readinto(buffer) or 0

    def read(self, size: int | None = -1) -> bytes:
        self._count()
        return super().read(-1 if size is None else size) or b""

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise self._error


class FailingStore(MemoryStore):
    """A store whose first object is on a failing disk."""

    good_reads = 0
    error: Exception = OSError(errno.EIO, "Input/output error")

    def open(self, key: Key) -> BinaryIO:
        source = super().open(key)
        if key != min(self.objects):
            return source
        with source:
            return FailingFile(os.dup(source.fileno()), self.good_reads, self.error)


# What the operating system says, and what the file store makes of it.
DISK_ERRORS = (OSError(errno.EIO, "Input/output error"), ObjectDamaged("an object cannot be read"))


# To send the bytes as they are, or in the default syntax.
SYNTAXES = pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT], ids=["as stored", "converted"])


@SYNTAXES
@pytest.mark.parametrize("error", DISK_ERRORS)
def test_a_disk_that_fails(nodes: Nodes, error: Exception, syntax: str) -> None:
    """What cannot be read at all is a failed sub-operation."""
    store = FailingStore()
    store.error = error
    node = nodes.start(store=store)
    node.keep(1, 2)
    with getter(node, Offer(1, STUDY_GET), Offer(3, CT, (syntax,))) as peer:
        instances, responses = peer.get(1, STUDY_GET, WHOLE_STUDY)

    assert (0xB000, (None, 1, 1, 0)) == (responses[-1].status, responses[-1].counters)
    assert (uids([2]), uids([1])) == ([found.text(SOP_INSTANCE) for found in instances], failed_uids(responses[-1]))


@SYNTAXES
@pytest.mark.parametrize("error", DISK_ERRORS)
def test_a_disk_that_fails_on_the_way(nodes: Nodes, error: Exception, syntax: str) -> None:
    """An instance that has begun and cannot be ended takes the association with it: nobody may take it for whole."""
    store = FailingStore()
    store.good_reads, store.error = (1 if syntax == EXPLICIT else 5), error
    node = nodes.start(store=store)
    node.keep(1, pixels=bytes(3 << 20))
    with getter(node, Offer(1, STUDY_GET), Offer(3, CT, (syntax,))) as peer:
        peer.start_query(1, C_GET, STUDY_GET, WHOLE_STUDY)
        with pytest.raises((Closed, Aborted)):
            peer.read_message()

    assert node.echoes()


def start_large_get(node: Running) -> RawPeer:
    """A peer that asks for more than all buffers hold, and does not read it."""
    node.keep(*range(1, 9), pixels=bytes(4 << 20))
    peer = getter(node)
    peer.start_query(1, C_GET, STUDY_GET, WHOLE_STUDY)
    return peer


def test_a_peer_that_takes_nothing(nodes: Nodes) -> None:
    """A peer that leaves what it asked for is left at the deadline."""
    node = nodes.start(limits=limits(response=0.3))
    with start_large_get(node):
        assert eventually(lambda: node.admission.associations == 0)


def test_draining_does_not_wait_for_a_peer_that_takes_nothing(nodes: Nodes) -> None:
    """Its association is cut like any other."""
    node = nodes.start(limits=limits(response=30.0))
    with start_large_get(node):
        began = time.monotonic()
        node.admission.drain(0.1)
        took = time.monotonic() - began

    assert (0, True) == (node.admission.associations, took < 2)


def test_five_mebibytes(node: Running) -> None:
    """Something large comes as it was stored."""
    pixels = bytes(range(256)) * 4 * 1024 * 5
    node.keep(1, pixels=pixels)
    with getter(node) as peer:
        instances, responses = peer.get(1, STUDY_GET, WHOLE_STUDY)

    assert (0x0000, images.image(pixels=pixels)) == (responses[-1].status, instances[0].data_set)
