"""What the node logs of a session: no patient data, and one line per event whatever a peer sends."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from pacsnode import log
from pacsnode.model import Peer
from tests.dimse import images
from tests.dimse.conftest import Nodes, Running, eventually, serving_threads
from tests.dimse.destination import Destination
from tests.dimse.raw_peer import (
    C_FIND,
    C_MOVE,
    COMMAND,
    CT,
    EXPLICIT,
    MESSAGE_ID,
    SOP_CLASS,
    SOP_INSTANCE,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Fields,
    Offer,
    RawPeer,
    Rejected,
    associate_rq,
    identifier,
    item,
    role,
)

MARKER = "ZZMARKERZZ"
OFFERS = (
    Offer(1, VERIFICATION),
    Offer(3, CT, (EXPLICIT,)),
    Offer(5, STUDY_FIND),
    Offer(7, STUDY_GET),
    Offer(9, STUDY_MOVE),
)
LEVEL, STUDY_UID, NAME = 0x00080052, 0x0020000D, 0x00100010


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What goes to stderr at the most talkative level, of us and of the libraries."""
    root, ours = logging.getLogger(), logging.getLogger("pacsnode")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    stream = io.StringIO()
    log.start("DEBUG", stream)
    try:
        yield stream
    finally:
        root.handlers[:] = handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])


def lines(node: Running, stream: io.StringIO) -> list[str]:
    """The log, when all associations have ended."""
    assert eventually(lambda: not serving_threads())
    assert 0 == node.admission.associations
    return stream.getvalue().splitlines()


def test_no_patient_data(nodes: Nodes, written: io.StringIO) -> None:
    """Stores, failed ones too, queries, gets and moves of a marked patient leave no mark in the log."""
    name = f"{MARKER}^{MARKER}".encode()
    with Destination() as destination:
        node = nodes.start(Peer("dest", "DEST", "127.0.0.1", destination.port))
        good = images.image(name=name, patient_id=MARKER.encode())
        study = identifier({LEVEL: "STUDY", STUDY_UID: images.STUDY})
        with RawPeer(node.port) as peer:
            peer.associate(request=associate_rq(OFFERS, user_items=role(CT, scu=1, scp=1)))
            answers = [
                peer.store(3, CT, images.uid_of(1), data).status
                for data in (
                    good,
                    good[:-1],
                    images.image(2, name=name),
                    images.image(name=name, study=MARKER),
                    images.image(name=name, without=(0x0020000D,)),
                    images.image(uid=MARKER, name=name),
                    name * 10,
                )
            ]
            for keys in (
                {LEVEL: "STUDY", NAME: f"{MARKER}*"},
                {LEVEL: MARKER, NAME: MARKER},
                {LEVEL: "STUDY", 0x00080020: MARKER, NAME: MARKER},
                {LEVEL: "STUDY", STUDY_UID: MARKER},
            ):
                peer.start_query(5, C_FIND, STUDY_FIND, identifier(keys))
                answers.append(peer.responses()[-1].status)
            answers.append(peer.get(7, STUDY_GET, study)[1][-1].status)
            for keys in ({LEVEL: "STUDY", STUDY_UID: images.STUDY}, {LEVEL: "STUDY", 0x00100020: MARKER}):
                peer.start_query(9, C_MOVE, STUDY_MOVE, identifier(keys), destination="DEST")
                answers.append(peer.responses()[-1].status)
            peer.release()
        found = lines(node, written)

    assert [0, 0xC000, 0xA900, 0xC001, 0xC001, 0x0117, 0xC000] == answers[:7]
    assert [0, 0xA900, 0xA900, 0xA900, 0, 0, 0xA900] == answers[7:]
    assert [] == [line for line in found if MARKER in line]
    assert {"stored", "refused", "find", "get", "move", "association"} <= events(found)


def events(found: list[str]) -> set[str]:
    """Names of the events; each line has to be one."""
    return {line.partition("event=")[2].partition(" ")[0] for line in found}


FORGED = "\nINFO event=forged"


def test_calling_titles_cannot_forge_lines(node: Running, written: io.StringIO) -> None:
    """An AE title with a line break is one escaped line (and no association)."""
    for title in (b"A\nevent=forged", b"A\r\nevent=forge", b"\x1b[31mred", b"\xe2\x80\xa8event=forged"):
        for request in (associate_rq(OFFERS, calling=title), associate_rq(OFFERS, called=title)):
            with RawPeer(node.port) as peer, pytest.raises(Rejected):
                peer.associate(request=request)
    found = lines(node, written)

    assert {"association_rejected"} == events(found)
    assert 8 == len(found)
    assert all(line.isprintable() for line in found)


def test_uids_cannot_forge_lines(node: Running, written: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither can UIDs, in the association request or in a command, nor what libraries say of them."""
    context = item(0x20, b"\x0b\0\0\0" + item(0x30, FORGED.encode()) + item(0x40, FORGED.encode()))
    roles = item(0x54, bytes([0, len(FORGED)]) + FORGED.encode() + b"\1\1")
    with RawPeer(node.port) as peer:
        peer.associate(request=associate_rq(OFFERS, items=context, user_items=roles))
        for command in (0x0001, 0x0020, 0x0021, 0x0030):
            fields: Fields = {
                SOP_CLASS: FORGED,
                COMMAND: command,
                MESSAGE_ID: command + 1,
                SOP_INSTANCE: FORGED,
                0x0600: FORGED,
            }
            peer.send_command(3, fields, has_data_set=True)
            peer.send_data_set(3, images.image(uid=FORGED))
            peer.responses()
        peer.start_store(3, CT, FORGED)
        peer.send_data_set(3, images.image(uid=FORGED))
        status = peer.read_message().status
    found = lines(node, written)

    assert 0x0117 == status
    assert all("event=" in line and line.isprintable() for line in found)
    assert "forged" not in events(found)
    assert ("", "") == tuple(capfd.readouterr())


def test_an_unforeseen_error_is_told_by_its_place(
    node: Running, written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours ends one association with an A-ABORT; the log says where it was, not what was in it."""

    def broken() -> None:
        raise RuntimeError(MARKER)

    monkeypatch.setattr(node.archive, "clock", broken)
    with node.connect(*OFFERS) as peer:
        peer.start_store(3, CT, images.uid_of(1))
        peer.send_data_set(3, images.image())
        kind, body = peer.read_pdu()
    monkeypatch.undo()
    found = lines(node, written)

    assert (7, bytes([0, 0, 2, 0])) == (kind, body)
    assert any("error=RuntimeError" in line and "test_log.py" in line for line in found)
    assert [] == [line for line in found if MARKER in line]
    assert node.echoes()
