"""Storage Commitment by nodes in their own processes: killed between request and report; one that asks another."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt

from tests.cli.folder import run
from tests.dimse import images
from tests.dimse.raw_peer import CT, EXPLICIT, Offer, RawPeer
from tests.dimse.test_commitment import request_commitment, sequence
from tests.system import dcmtk
from tests.system.live import LiveNode

COMMITMENT = "1.2.840.10008.1.20.1"
TRANSACTIONS = [f"2.25.{number}" for number in range(1, 6)]


def ask_and_leave(port: int) -> None:
    """Ask for commitment in several transactions, hear Success of each, and be gone."""
    for uid in TRANSACTIONS:
        with RawPeer(port) as peer:
            peer.associate([Offer(1, COMMITMENT)])
            asked = sequence((CT, images.uid_of(1))).replace(b"2.25.1", uid.encode(), 1)
            assert 0 == request_commitment(peer, asked).status
            peer.close()


# pynetdicom leaves sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_killed_between_request_and_report(tmp_path: Path) -> None:
    """Requests that were answered with Success are reported after the node was killed and started again."""
    heard: set[tuple[int, str]] = set()
    everything = threading.Event()

    def take(event: Any) -> tuple[int, None]:
        heard.add((event.event_type, str(event.event_information.TransactionUID)))
        if len(heard) == len(TRANSACTIONS):
            everything.set()
        return 0x0000, None

    port = dcmtk.free_port()
    tables = (
        f'[peers.TESTER]\nhost = "127.0.0.1"\nport = {port}\n'
        '[commitment]\nfirst_retry = "1 s"\nsame_association_wait = "1 s"\n'
    )
    with LiveNode(tmp_path / "node", tables) as node:
        with RawPeer(node.port) as peer:
            peer.associate([Offer(1, CT, (EXPLICIT,))])
            assert 0 == peer.store(1, CT, images.uid_of(1), images.image(1)).status
            peer.release()
        ask_and_leave(node.port)
        node.wait_for("event=commitment_delayed peer=TESTER")
        node.kill()
        entity = AE("TESTER")
        entity.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
        listener = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
        assert listener is not None
        try:
            node.start()
            assert everything.wait(20), node.log
            for uid in TRANSACTIONS:
                node.wait_for(f"event=commitment_reported transaction={uid} ")
        finally:
            listener.shutdown()
            listener.server_close()
        assert '"open_commitments": 0' in node.run("status", "--json")

    assert {(1, uid) for uid in TRANSACTIONS} == heard


def test_asked_of_another_node_beside_our_own(tmp_path: Path) -> None:
    """What a command asks of another node, and does not wait for, is reported to the running one, and shown later."""
    with LiveNode(tmp_path / "ours") as ours:
        theirs = f'[peers.ASKER]\nae_title = "PACSNODE"\nhost = "127.0.0.1"\nport = {ours.port}\n'
        with LiveNode(tmp_path / "theirs", theirs) as other:
            for node in (ours, other):
                with RawPeer(node.port) as peer:
                    peer.associate([Offer(1, CT, (EXPLICIT,))])
                    assert 0 == peer.store(1, CT, images.uid_of(1), images.image(1)).status
                    peer.release()
            with ours.config.open("a") as file:
                file.write(
                    f'[peers.OTHER]\nae_title = "PACSNODE"\nhost = "127.0.0.1"\nport = {other.port}\n'
                    '[commitment]\nsame_association_wait = "1 ms"\n'
                )
            asked = run("--config", ours.config, "peer", "commit", "OTHER", "--study", images.STUDY, "--json")
            (told,) = json.loads(asked.stdout)
            uid = told["transaction_uid"]
            other.wait_for(f"event=commitment_reported transaction={uid} ")
            shown = run("--config", ours.config, "peer", "inquiry", uid, "--json")

    assert [(0, [1, 0, 0])] == [
        (shown.exit_code, [one["committed"], one["failed"], one["unanswered"]]) for one in json.loads(shown.stdout)
    ]
    assert (75 if told["unanswered"] else 0) == asked.exit_code
