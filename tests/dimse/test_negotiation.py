"""What an association request is answered: reject codes, context results, roles, window (PS3.8 9.3, PS3.7 D.3)."""

from __future__ import annotations

import struct
import threading

import pytest
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from pacsnode.dimse import contexts
from pacsnode.model import Peer
from tests.dimse.conftest import Nodes, Running, eventually, limits
from tests.dimse.raw_peer import (
    ABORT,
    ASSOCIATE_AC,
    CT,
    EXPLICIT,
    IMPLICIT,
    JPEG_BASELINE,
    MR,
    STORAGE_COMMITMENT,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Offer,
    RawPeer,
    Rejected,
    associate_rq,
    item,
    role,
    window,
)

ECHO = (Offer(1, VERIFICATION),)


def rejection(port: int, request: bytes) -> tuple[int, int, int]:
    """The triple with which a request is rejected; the connection has to end behind it."""
    with RawPeer(port) as peer:
        with pytest.raises(Rejected) as caught:
            peer.associate(request=request)
        peer.read_end()
    return caught.value.triple


def accepts(port: int) -> bool:
    """Does an association come about?"""
    with RawPeer(port) as peer:
        try:
            peer.associate()
        except Rejected:
            return False
    return True


@pytest.mark.parametrize(
    ("request_pdu", "triple"),
    [
        (associate_rq(ECHO, called=b"SOMEBODY"), (1, 1, 7)),
        (associate_rq(ECHO, called=b"pacsnode"), (1, 1, 7)),
        (associate_rq(ECHO, calling=b"STRANGER"), (1, 1, 3)),
        (associate_rq(ECHO, application_context="1.2.3"), (1, 1, 2)),
        (associate_rq(ECHO, version=2), (1, 2, 2)),
    ],
    ids=["called", "lower-case called", "calling", "application context", "version"],
)
def test_permanent_rejections(nodes: Nodes, request_pdu: bytes, triple: tuple[int, int, int]) -> None:
    """What will never be right is rejected for good, with the reason of PS3.8 9.3.4, and the next peer is served."""
    node = nodes.start(Peer("tester", "TESTER", "127.0.0.1", 1), accepts_unknown=False)

    assert triple == rejection(node.port, request_pdu)
    assert node.echoes()


def extended(sop_class: str, information: bytes) -> bytes:
    """An extended negotiation sub-item (PS3.7 D.3.3.5)."""
    return item(0x56, struct.pack(">H", len(sop_class)) + sop_class.encode() + information)


@pytest.mark.parametrize(
    ("sop_class", "offered", "answered"),
    [
        (STUDY_FIND, b"\1", b"\1"),
        (STUDY_FIND, b"\0", b"\0"),
        (STUDY_FIND, b"\1\1", b"\1\1"),
        (STUDY_FIND, b"\0\1", b"\0\1"),
        (STUDY_FIND, b"\1\0", b"\1\0"),
        (STUDY_FIND, b"\1\1\1\1\1", b"\1\1\0\0\0"),
        (STUDY_FIND, b"\1\1\1\1\1\1\1", b"\1\1\0\0\0\0\0"),
        (STUDY_FIND, b"\2\xff", b"\0\0"),
        (STUDY_MOVE, b"\1", b"\1"),
        (STUDY_MOVE, b"\1\1", b"\1\0"),
        (STUDY_FIND, b"", None),
        (VERIFICATION, b"\1", None),
        ("1.2.3", b"\1", None),
    ],
)
def test_extended_negotiation(node: Running, sop_class: str, offered: bytes, answered: bytes | None) -> None:
    """As many bytes as were offered, 1 only where 1 was and we do it; nothing of other services (PS3.4 C.5.1.1)."""
    offers = (Offer(1, VERIFICATION), Offer(3, STUDY_FIND), Offer(5, STUDY_MOVE))
    with RawPeer(node.port) as peer:
        peer.send(associate_rq(offers, user_items=extended(sop_class, offered)))
        kind, body = peer.read_pdu()

    assert ASSOCIATE_AC == kind
    expected = b"" if answered is None else extended(sop_class, answered)
    found = body[body.index(b"\x50\0", 68) :]
    assert expected == found[found.find(b"\x56\0") :][: len(expected)]
    assert (b"\x56\0" in found) == (answered is not None)


def test_no_extended_negotiation(node: Running) -> None:
    """Where nothing was offered nothing is answered."""
    with RawPeer(node.port) as peer:
        peer.send(associate_rq((Offer(3, STUDY_FIND),)))
        _, body = peer.read_pdu()

    assert b"\x56\0" not in body[body.index(b"\x50\0", 68) :]


def test_extended_negotiation_that_cannot_be_read(node: Running) -> None:
    """A sub-item that is shorter than the UID it announces is the peer's fault; others are served."""
    with RawPeer(node.port) as peer:
        peer.send(associate_rq(ECHO, user_items=item(0x56, b"\0\x401.2")))
        kind, _ = peer.read_pdu()

    assert ABORT == kind
    assert node.echoes()


@pytest.mark.parametrize("offered", [(1,), (1, 1), (1, 1, 1, 1, 1)])
def test_extended_negotiation_with_pynetdicom(node: Running, offered: tuple[int, ...]) -> None:
    """pynetdicom as SCU hears what it may do."""
    proposed = SOPClassExtendedNegotiation()
    proposed.sop_class_uid = UID(STUDY_FIND)
    proposed.service_class_application_information = bytes(offered)
    entity = AE("WORKSTATION")
    entity.add_requested_context(STUDY_FIND)
    association = entity.associate("127.0.0.1", node.port, ae_title="PACSNODE", ext_neg=[proposed])
    answered = association.acceptor.sop_class_extended
    association.release()

    assert {STUDY_FIND: bytes((1, 1, 0, 0, 0)[: len(offered)])} == answered


@pytest.mark.parametrize("version", [1, 3, 0xFFFF])
def test_later_protocol_versions_are_fine(node: Running, version: int) -> None:
    """PS3.8 9.3.2: only bit 0 of the protocol version counts."""
    with RawPeer(node.port) as peer:
        accepted = peer.associate(request=associate_rq(ECHO, version=version))

    assert {1: (0, IMPLICIT)} == accepted.results


def test_too_many_associations(nodes: Nodes) -> None:
    """Beyond the limit peers hear "local limit exceeded", which asks them to come again, until there is room."""
    node = nodes.start(limits=limits(associations=2))
    with node.connect(), node.connect() as second:
        triple = rejection(node.port, associate_rq(ECHO))
        second.release()

        assert (2, 3, 2) == triple
        assert eventually(lambda: node.admission.associations == 1)
        assert node.echoes()


def test_too_many_associations_of_one_peer(nodes: Nodes) -> None:
    """One calling AE title cannot take the places of the others."""
    node = nodes.start(limits=limits(associations_per_peer=1))
    with node.connect():
        triple = rejection(node.port, associate_rq(ECHO))
        with RawPeer(node.port) as other:
            accepted = other.associate(request=associate_rq(ECHO, calling=b"OTHER"))

    assert (2, 3, 2) == triple
    assert [1] == list(accepted.results)


def test_too_many_associations_from_one_address(nodes: Nodes) -> None:
    """An address cannot take all places under ever new titles; when one of its associations ends it has room again."""
    node = nodes.start(limits=limits(associations_per_address=1))
    with node.connect() as first:
        triple = rejection(node.port, associate_rq(ECHO, calling=b"OTHER"))
        with RawPeer(node.port, source="127.0.0.2") as elsewhere:
            accepted = elsewhere.associate()
        first.release()

    assert (2, 3, 2) == triple
    assert [1] == list(accepted.results)
    assert eventually(lambda: node.admission.associations == 0)
    assert node.echoes()


def test_no_limit_for_an_address(nodes: Nodes) -> None:
    """0 lets an address have as many associations as there are."""
    node = nodes.start(limits=limits(associations_per_address=0))
    with node.connect(), node.connect():
        assert node.echoes()


def test_the_limit_holds_in_a_rush(nodes: Nodes) -> None:
    """Many requests at the same moment get no more places than there are."""
    node = nodes.start(limits=limits(associations=5))
    peers = [RawPeer(node.port) for _ in range(20)]
    for peer in peers:
        peer.send(associate_rq(ECHO))
    kinds = [peer.read_pdu()[0] for peer in peers]
    for peer in peers:
        peer.close()

    assert (5, 15) == (kinds.count(2), kinds.count(3))


def test_draining_asks_to_come_again(nodes: Nodes) -> None:
    """A node that is stopping says "temporary congestion" to new peers and lets the others finish."""
    node = nodes.start()
    with node.connect() as working:
        drain = threading.Thread(target=node.admission.drain, args=(10.0,))
        drain.start()
        assert eventually(lambda: not accepts(node.port))
        triple = rejection(node.port, associate_rq(ECHO))
        status = working.echo()
        working.release()
        drain.join(5)

    assert ((2, 3, 1), 0) == (triple, status)
    assert not drain.is_alive()


def test_what_does_not_end_is_cut(nodes: Nodes) -> None:
    """When the time to drain is over, an idle association is aborted."""
    node = nodes.start()
    with node.connect() as idle:
        node.admission.drain(0)
        kind, body = idle.read_pdu()

    assert (7, bytes([0, 0, 0, 0])) == (kind, body)
    assert 0 == node.admission.associations


def test_connections_that_dawdle_make_room(nodes: Nodes) -> None:
    """Connections before association are counted apart; beyond their limit the oldest is ended, not the newest."""
    node = nodes.start(limits=limits(connections_before_association=2, association_deadline=60.0))
    with RawPeer(node.port) as first, RawPeer(node.port) as second, RawPeer(node.port) as third:
        for peer in (first, second, third):
            peer.send(b"\x01\0\0")
        first.read_end()
        answered = node.echoes()

    assert answered


def test_context_results(node: Running) -> None:
    """Each context gets a result of its own: accepted, abstract syntax unknown, no syntax in common."""
    offers = (
        Offer(1, CT, (EXPLICIT, IMPLICIT)),
        Offer(3, "1.2.3.4.5", (IMPLICIT,)),
        Offer(5, MR, ("1.2.840.99999.1",)),
        Offer(7, STUDY_FIND, (JPEG_BASELINE,)),
        Offer(9, STUDY_FIND, (JPEG_BASELINE, IMPLICIT)),
    )
    with RawPeer(node.port) as peer:
        results = peer.associate(offers).results

    assert [0, 3, 4, 4, 0] == [results[number][0] for number in (1, 3, 5, 7, 9)]
    assert (EXPLICIT, IMPLICIT) == (results[1][1], results[9][1])


def test_a_class_in_several_contexts(node: Running) -> None:
    """Compressed and native offered apart: each context is honoured with its own syntax."""
    offers = (Offer(1, CT, (JPEG_BASELINE,)), Offer(3, CT, (IMPLICIT,)), Offer(5, CT, (EXPLICIT,)))
    with RawPeer(node.port) as peer:
        results = peer.associate(offers).results

    assert {1: (0, JPEG_BASELINE), 3: (0, IMPLICIT), 5: (0, EXPLICIT)} == results


def test_128_contexts(node: Running) -> None:
    """As many contexts as there are ids are all answered."""
    offers = [Offer(number, CT, (EXPLICIT, IMPLICIT)) for number in range(1, 256, 2)]
    with RawPeer(node.port) as peer:
        results = peer.associate(offers).results

    assert dict.fromkeys(range(1, 256, 2), (0, EXPLICIT)) == results


def test_every_storage_class(nodes: Nodes) -> None:
    """Each class of the standard, retired ones too, is accepted in the syntax that all peers speak."""
    classes = sorted(contexts.storage_classes())
    node = nodes.start(storage=classes)
    refused = []
    for start in range(0, len(classes), 128):
        offers = [Offer(2 * number + 1, uid, (IMPLICIT,)) for number, uid in enumerate(classes[start : start + 128])]
        with RawPeer(node.port) as peer:
            results = peer.associate(offers).results
        refused += [offer.abstract_syntax for offer in offers if results[offer.context_id] != (0, IMPLICIT)]

    assert [] == refused
    assert len(classes) > 150


def test_no_acceptable_context_is_still_an_association(node: Running) -> None:
    """PS3.8 7.1.1.13: results per context; an association without any accepted one may be released in good order."""
    with RawPeer(node.port) as peer:
        results = peer.associate((Offer(1, "1.2.3.4"),)).results
        peer.release()

    assert 3 == results[1][0]


def test_unknown_items_are_skipped(node: Running) -> None:
    """PS3.8 9.3.1, PS3.7 D.2: what we do not know is no reason to refuse, wherever it stands."""
    unknown = item(0x7F, b"whatever")
    user_items = unknown + item(0x59, b"\0\0") + item(0x56, b"\0\1x\1\1") + item(0x57, b"\0") + item(0x5A, b"")
    with RawPeer(node.port) as peer:
        accepted = peer.associate(request=associate_rq(ECHO, items=unknown, user_items=user_items))

    assert {1: (0, IMPLICIT)} == accepted.results


def test_unknown_sub_items_of_a_context_are_skipped(node: Running) -> None:
    """The same holds within a presentation context."""
    context = item(
        0x20, b"\x05\0\0\0" + item(0x31, b"new") + item(0x30, VERIFICATION.encode()) + item(0x40, IMPLICIT.encode())
    )
    with RawPeer(node.port) as peer:
        accepted = peer.associate(request=associate_rq(ECHO, items=context))

    assert {1: (0, IMPLICIT), 5: (0, IMPLICIT)} == accepted.results


def test_contexts_without_what_they_need(node: Running) -> None:
    """A context that names no syntaxes, or what is no UID, is not accepted; the others are not harmed."""
    empty = item(0x20, b"\x05\0\0\0")
    no_transfer_syntax = item(0x20, b"\x07\0\0\0" + item(0x30, VERIFICATION.encode()))
    no_uid = item(0x20, b"\x09\0\0\0" + item(0x30, b"two\nlines") + item(0x40, b"\xff"))
    with RawPeer(node.port) as peer:
        results = peer.associate(request=associate_rq(ECHO, items=empty + no_transfer_syntax + no_uid)).results

    assert [0, 3, 4, 3] == [results[number][0] for number in (1, 5, 7, 9)]


@pytest.mark.parametrize("padding", [b"\0", b" ", b"\0\0"])
def test_padded_uids(node: Running, padding: bytes) -> None:
    """UIDs of items carry no padding by the standard, but from some devices they do."""
    context = item(
        0x20,
        b"\x05\0\0\0" + item(0x30, VERIFICATION.encode() + padding) + item(0x40, IMPLICIT.encode() + padding),
    )
    with RawPeer(node.port) as peer:
        accepted = peer.associate(request=associate_rq((), items=context))

    assert {5: (0, IMPLICIT)} == accepted.results


@pytest.mark.parametrize(
    ("called", "calling"),
    [
        (b"PACSNODE".ljust(16, b"\0"), b"TESTER".ljust(16, b"\0")),
        (b"  PACSNODE", b"  TESTER"),
        (b"PACSNODE\0 \0", b"TESTER\0 x"),
        (b"ALIAS", b"with blank"),
        (b"PACSNODE", b"SIXTEEN_BYTES_AE"),
    ],
)
def test_ae_titles_as_devices_send_them(node: Running, called: bytes, calling: bytes) -> None:
    """NULs, also with rubbish behind them, and leading blanks; the answer repeats them as they came (PS3.8 9.3.3)."""
    with RawPeer(node.port) as peer:
        accepted = peer.associate(request=associate_rq(ECHO, called=called, calling=calling))
        status = peer.echo()

    assert (called.ljust(16) + calling.ljust(16), 0) == (accepted.titles, status)


@pytest.mark.parametrize("calling", [b"\xc4\xd6\xdc", b"BACK\\SLASH", b" " * 16, b"\0", b"TWO\nLINES"])
def test_what_is_no_ae_title_is_not_recognized(node: Running, calling: bytes) -> None:
    """Even where every calling AE title is welcome it has to be one (PS3.5 6.2)."""
    assert (1, 1, 3) == rejection(node.port, associate_rq(ECHO, calling=calling))
    assert (1, 1, 7) == rejection(node.port, associate_rq(ECHO, called=calling))


@pytest.mark.parametrize(
    ("offered", "answered"),
    [((1, 0), (1, 0)), ((0, 1), (0, 1)), ((1, 1), (1, 1))],
)
def test_roles_of_storage(node: Running, offered: tuple[int, int], answered: tuple[int, int]) -> None:
    """PS3.7 D.3.3.4: role selection is answered; never is a role granted that was not offered."""
    roles = role(CT, scu=offered[0], scp=offered[1])
    offers = (Offer(1, CT, (EXPLICIT,)), Offer(3, STUDY_GET))
    with RawPeer(node.port) as peer:
        accepted = peer.associate(request=associate_rq(offers, user_items=roles))

    assert {CT: answered} == accepted.roles
    assert (0, 0) == (accepted.results[1][0], accepted.results[3][0])


def test_no_role_at_all_is_no_context(node: Running) -> None:
    """Who offers to be neither SCU nor SCP of a class has nothing to do with it."""
    request = associate_rq((Offer(1, CT), Offer(3, VERIFICATION)), user_items=role(CT, scu=0, scp=0))
    with RawPeer(node.port) as peer:
        accepted = peer.associate(request=request)

    assert (1, 0) == (accepted.results[1][0], accepted.results[3][0])
    assert (0, 0) == accepted.roles.get(CT, (0, 0))


def test_no_roles_without_role_selection(node: Running) -> None:
    """Without the item there is no answer to it."""
    with RawPeer(node.port) as peer:
        accepted = peer.associate((Offer(1, CT),))

    assert {} == accepted.roles


@pytest.mark.parametrize(
    ("sop_class", "asked", "answered", "result"),
    [
        (STORAGE_COMMITMENT, (1, 1), (1, 1), 0),
        (STORAGE_COMMITMENT, (1, 0), (1, 0), 0),
        (STORAGE_COMMITMENT, (0, 1), (0, 1), 0),
        (VERIFICATION, (0, 1), None, 0),
        (STUDY_GET, (1, 1), None, 0),
        ("1.2.3.4", (1, 1), None, 3),
    ],
)
def test_roles_of_other_classes(
    node: Running, sop_class: str, asked: tuple[int, int], answered: tuple[int, int] | None, result: int
) -> None:
    """Of storage commitment both roles are granted, of others none but the default: no answer is a refusal."""
    request = associate_rq((Offer(1, sop_class),), user_items=role(sop_class, scu=asked[0], scp=asked[1]))
    with RawPeer(node.port) as peer:
        accepted = peer.associate(request=request)

    assert (result, answered) == (accepted.results[1][0], accepted.roles.get(sop_class))


ASKED_FOR_MORE = {
    "user identity": item(0x58, b"\1\1\0\4user\0\0"),
    "user identity, answer wanted": item(0x58, b"\2\1\0\4user\0\6secret"),
    "extended negotiation": item(0x56, b"\0\x1b" + STUDY_FIND.encode() + b"\1\1\1\1\1"),
    "common extended negotiation": item(0x57, b"\0\x19" + CT.encode() + b"\0\x11" + b"1.2.840.10008.4.2\0\0"),
}


@pytest.mark.parametrize("asked", ASKED_FOR_MORE.values(), ids=ASKED_FOR_MORE.keys())
def test_what_is_not_answered(node: Running, asked: bytes) -> None:
    """User identity and extended negotiation keep nobody out, and are not answered: not supported (PS3.7 D.3.3)."""
    with RawPeer(node.port) as peer:
        accepted = peer.associate(request=associate_rq(ECHO, user_items=asked))

    assert ({1: (0, IMPLICIT)}, (0x51, 0x52, 0x55)) == (accepted.results, accepted.user_items)


@pytest.mark.parametrize(("items", "answer"), [(b"", None), (window(5, 5), (1, 1)), (window(0, 0), (1, 1))])
def test_window_is_one(node: Running, items: bytes, answer: tuple[int, int] | None) -> None:
    """PS3.7 D.3.3.3: one operation at a time, which is said only to who asks."""
    with RawPeer(node.port) as peer:
        accepted = peer.associate(request=associate_rq(ECHO, user_items=items))

    assert answer == accepted.window


@pytest.mark.parametrize("maximum_length", [0, 8, 128, 0xFFFFFFFF])
def test_any_maximum_length(node: Running, maximum_length: int) -> None:
    """0 is no limit; a tiny one is honoured; ours is announced."""
    with RawPeer(node.port) as peer:
        accepted = peer.associate(request=associate_rq(ECHO, maximum_length=maximum_length))
        peer.send_command(1, {0x0002: VERIFICATION, 0x0100: 0x0030, 0x0110: 7})
        sizes = []
        flags = 0
        while not flags & 2:
            body = peer.expect(4)
            sizes.append(len(body))
            flags = body[5]

    assert 256 * 1024 == accepted.maximum_length
    assert max(sizes) <= (maximum_length or 1 << 20)


def test_association_request_within_its_time(nodes: Nodes) -> None:
    """However slowly it drips in, the request has to be whole at the deadline that counts from the connection."""
    node = nodes.start(limits=limits(association_deadline=0.3))
    with RawPeer(node.port) as peer:
        peer.send(associate_rq(ECHO)[:40])
        peer.read_end()

    assert eventually(lambda: node.admission.associations == 0)
    assert node.echoes()
