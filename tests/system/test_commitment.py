"""Storage Commitment by a node in its own process, which is killed between the request and the report."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt

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
        assert "open commitments: 0" in node.run("status")

    assert {(1, uid) for uid in TRANSACTIONS} == heard
