"""Associations that do nothing cost nothing."""

from __future__ import annotations

import threading
import time

from tests.dimse.conftest import Running
from tests.dimse.raw_peer import RawPeer

_ASSOCIATIONS = 50
_SECONDS = 1.0
_CPU_SECONDS = 0.05


def test_fifty_idle_associations(node: Running) -> None:
    """50 idle associations use less than 5 % of one core, and serve at once when they are asked."""
    peers: list[RawPeer] = [node.connect() for _ in range(_ASSOCIATIONS)]
    before = time.process_time()
    threading.Event().wait(_SECONDS)
    used = time.process_time() - before
    statuses = {peer.echo() for peer in peers}
    for peer in peers:
        peer.close()

    assert {0} == statuses
    assert used < _CPU_SECONDS
