"""The audit trail of a node in its own process: stops, kills, and a disk that is full."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.audit.schema import events, messages, told
from tests.dimse import images
from tests.dimse.conftest import eventually
from tests.dimse.raw_peer import CT, EXPLICIT, Offer, RawPeer
from tests.system.live import LiveNode
from tests.system.test_identity import PASSCODE, REFUSED, WITH_PASSCODE, add_user, identity, outcome


def store(node: LiveNode, number: int) -> None:
    """One image over one association."""
    with RawPeer(node.port) as peer:
        peer.associate((Offer(1, CT, (EXPLICIT,)),))
        assert peer.store(1, CT, images.uid_of(number), images.image(number)).status == 0
        peer.release()


def count(path: Path, event: str) -> int:
    """How many messages of an event there are."""
    return events(path)[event] if path.exists() else 0


def test_start_to_stop(tmp_path: Path) -> None:
    """Start, what was stored, and stop are on record in order, sealed, and nobody else may read it."""
    with LiveNode(tmp_path) as node:
        store(node, 1)
        data = next(path for path in tmp_path.rglob("audit.log"))
        assert node.stop() == 0

        assert [("Application Start",), (), ("Application Stop",)] == [one.types for one in told(data)]
        assert json.loads(node.run("audit", "verify", "--json"))["sealed"] == 3
        assert node.log.count("audit_") == 0


def test_killed(tmp_path: Path) -> None:
    """What is on record survives a kill, and the next start goes on behind it without a finding."""
    with LiveNode(tmp_path) as node:
        store(node, 1)
        (data,) = tmp_path.rglob("audit.log")
        assert eventually(lambda: count(data, "DICOM Instances Transferred") == 1)
        node.kill()
        with data.open("ab") as stream:
            stream.write(b"3 M 500 ")  # what a power cut leaves
        node.start()
        node.wait_for("event=audit_torn")
        store(node, 2)
        assert node.stop() == 0

        node.run("audit", "verify")
    assert len(messages(data)) == 5


def test_trail_cannot_be_written(tmp_path: Path) -> None:
    """A trail on a full disk stops nobody: it is logged once, told by status, and the messages come later."""
    with LiveNode(tmp_path) as node:
        (data,) = tmp_path.rglob("audit.log")
        assert eventually(lambda: count(data, "Application Activity") == 1)
        data.rename(data.with_name("aside"))
        data.symlink_to("/dev/full")
        store(node, 1)
        node.wait_for("event=audit_failed")
        store(node, 2)
        assert "audit" in json.loads(node.run("status", "--json"))["degraded"][0]
        data.unlink()
        data.with_name("aside").rename(data)
        node.wait_for("event=audit_back", 20.0)
        assert node.stop() == 0

        node.run("audit", "verify")
        assert 2 == count(data, "DICOM Instances Transferred")
        assert 1 == node.log.count("event=audit_failed")


def test_users_and_changes(tmp_path: Path) -> None:
    """Who proved to be a user and who did not, and a change of the configuration, have a message each; no passcode and
    no value is told."""
    node = LiveNode(tmp_path / "node", '[access]\nuser_identity = "accept"\nusers_file = "users"\n')
    node.folder.mkdir()
    (node.folder / "users").write_text("")
    with node:
        add_user(node, "anna", PASSCODE)
        assert outcome(node, identity(WITH_PASSCODE, b"anna", PASSCODE.encode())) == []
        assert outcome(node, identity(WITH_PASSCODE, b"anna", b"not that one")) == REFUSED
        node.config.write_text(node.config.read_text().replace('"accept"', '"require"', 1))
        os.kill(node.pid, signal.SIGHUP)
        node.wait_for("event=reloaded")
        assert node.stop() == 0

    (data,) = tmp_path.rglob("audit.log")
    _, accepted, refused, changed, _ = told(data)
    assert [("User Authentication", "0"), ("User Authentication", "8")] == [
        (one.event, one.outcome) for one in (accepted, refused)
    ]
    assert ("Security Alert", ("Security Configuration",), "0") == (changed.event, changed.types, changed.outcome)
    text = b"".join(messages(data))
    assert text.count(b'UserID="anna"') == 2
    assert b"access.user_identity" in text
    assert b"not that one" not in text
    assert b"require" not in text
