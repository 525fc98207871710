"""Patient data stays in the store: of marked patients nothing is in the log, in comments, in status or in history.

The audit trail is exempt: it has query identifiers and Patient IDs, as PS3.15 A.5.3 wants them.
"""

from __future__ import annotations

import socket
from pathlib import Path

from tests.dimse import images
from tests.dimse.destination import Destination
from tests.dimse.raw_peer import (
    C_FIND,
    C_MOVE,
    CT,
    EXPLICIT,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    Offer,
    RawPeer,
    associate_rq,
    identifier,
    role,
)
from tests.system.live import LiveNode

MARK = "ZZMARKERZZ"
ERROR_COMMENT = 0x0902
OFFERS = (Offer(3, CT, (EXPLICIT,)), Offer(5, STUDY_FIND), Offer(7, STUDY_GET), Offer(9, STUDY_MOVE))
LEVEL, STUDY_UID, NAME, PATIENT_ID, STUDY_DATE = 0x00080052, 0x0020000D, 0x00100010, 0x00100020, 0x00080020
JOBS = ("housekeeping", "integrity", "compression")


def converse(peer: RawPeer) -> list[bytes]:
    """Store, find, get and move a marked patient, well and badly: the error comments of the answers."""
    name = MARK.encode()
    answers = [
        peer.store(3, CT, images.uid_of(1), data)
        for data in (
            images.image(name=name, patient_id=name),
            images.image(name=name)[:-1],
            images.image(name=name, study=MARK),
            images.image(name=name, without=(STUDY_UID,)),
        )
    ]
    asked: tuple[dict[int, str | bytes], ...] = (
        {LEVEL: "STUDY", NAME: f"{MARK}*", PATIENT_ID: MARK},
        {LEVEL: MARK, NAME: MARK},
        {LEVEL: "STUDY", STUDY_DATE: MARK},
        {LEVEL: "STUDY", STUDY_UID: MARK},
    )
    for keys in asked:
        peer.start_query(5, C_FIND, STUDY_FIND, identifier(keys))
        answers += peer.responses()
        answers += peer.get(7, STUDY_GET, identifier(keys))[1]
        peer.start_query(9, C_MOVE, STUDY_MOVE, identifier(keys), destination="DEST")
        answers += peer.responses()
    whole = identifier({LEVEL: "STUDY", STUDY_UID: images.STUDY})
    answers += peer.get(7, STUDY_GET, whole)[1]
    peer.start_query(9, C_MOVE, STUDY_MOVE, whole, destination="DEST")
    answers += peer.responses()
    return [answer.elements[ERROR_COMMENT] for answer in answers if ERROR_COMMENT in answer.elements]


def state(data: Path) -> dict[str, bytes]:
    """What jobs and other parts keep beside the index, with their write-ahead logs."""
    kept = (path for path in data.iterdir() if ".db" in path.name and not path.name.startswith("index.db"))
    return {path.name: path.read_bytes() for path in kept}


def scraped(path: Path) -> str:
    """What monitoring is told."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def test_marks_stay_in_the_store(tmp_path: Path) -> None:
    """No mark in the log at its most talkative, in comments, status and metrics, or in what jobs and deletions keep."""
    socket_path = tmp_path / "metrics.sock"
    with Destination() as destination:
        tables = f'[log]\nlevel = "DEBUG"\n[peers.DEST]\nhost = "127.0.0.1"\nport = {destination.port}\n'
        tables += f'[metrics]\nlisten = "{socket_path}"\n'
        with LiveNode(tmp_path / "node", tables) as node:
            data = tmp_path / "node" / "data"
            with RawPeer(node.port) as peer:
                peer.associate(request=associate_rq(OFFERS, user_items=role(CT, scu=1, scp=1)))
                comments = converse(peer)
                peer.release()
            for job in JOBS:
                node.run("job", "run", job)
            told = node.run("status", "--json") + node.run("job", "list", "--json") + scraped(socket_path)
            told += node.run("study", "delete", images.STUDY, "--reason", "sent twice", "--json")
            told += (
                node.run("study", "deletions", "--json") + node.run("doctor", "--json", expect=3) + scraped(socket_path)
            )
            histories = state(data)
            assert node.stop() == 0
        histories |= state(data)

    mark = MARK.encode()
    assert [] == [line for line in node.lines if MARK in line]
    assert len(comments) > 3
    assert [] == [comment for comment in comments if mark in comment]
    assert MARK not in told
    assert {"jobs.db", "deletion.db"} <= histories.keys()
    assert "pacsnode_dimse_operations_total" in told
    assert [] == [name for name, content in histories.items() if mark in content]
    # That it could have been found: it is where it belongs.
    assert mark in (data / "index.db").read_bytes()
    assert any(mark in path.read_bytes() for path in (data / "trash").rglob("*") if path.is_file())
