"""From an AE title that was rejected to a peer: one command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pacsnode import config
from tests.certificates import Trust
from tests.dimse.raw_peer import VERIFICATION, Offer, RawPeer, Rejected, associate_rq
from tests.system.live import LiveNode


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    """The CA of the node and of a modality."""
    made = Trust.made(tmp_path / "tls")
    made.issue("node")
    made.issue("ct01", ["ct01.example.org"])
    return made


@pytest.fixture
def node(tmp_path: Path, trust: Trust) -> Iterator[LiveNode]:
    """A node that knows nobody."""
    tables = '[access]\nunknown_peers = "reject"\n' + trust.tables()
    with LiveNode(tmp_path / "node", tables, node_keys='tls_listen = "127.0.0.1:0"\n') as live:
        yield live


def gets_in(peer: RawPeer, calling: str) -> bool:
    """Is an association with this AE title accepted?"""
    with peer:
        try:
            peer.associate(request=associate_rq([Offer(1, VERIFICATION)], calling=calling.encode()))
        except Rejected:
            return False
        peer.release()
        return True


def test_one_command(node: LiveNode, trust: Trust) -> None:
    """A modality that was rejected is listed with its certificate; approved by its AE title, it gets in, bound to both
    address and certificate. The file stays as it was but for a table at its end."""
    before, mode = node.config.read_text(), node.config.stat().st_mode

    def called() -> RawPeer:
        return RawPeer(node.tls_port, tls=trust.client("ct01"))

    assert not gets_in(called(), "CT 01")
    assert not gets_in(called(), "CT 01")
    (waiting,) = json.loads(node.run("peer", "pending", "--json"))
    said = node.run("peer", "approve", "CT 01", "--port", "11113", "--allow", "echo", "--allow", "store")

    assert gets_in(called(), "CT 01")
    assert not gets_in(RawPeer(node.port), "CT 01")
    assert not gets_in(RawPeer(node.tls_port, tls=trust.client("ct01"), source="127.0.0.9"), "CT 01")
    assert ("127.0.0.1", True, 2) == (waiting["address"], waiting["tls"], waiting["count"])
    assert ["ct01", "ct01.example.org"] == waiting["certificate_names"]
    assert "written to the configuration and in effect" in said
    assert node.config.read_text().startswith(before.rstrip())
    assert mode == node.config.stat().st_mode
    peer = config.load(node.config).peer_entries["CT 01"]
    assert (11113, {"echo", "store"}, True) == (peer.port, set(peer.allow), peer.require_tls)
    assert [] == [row for row in json.loads(node.run("peer", "pending", "--json")) if row["address"] == "127.0.0.1"]


def test_by_its_id(node: LiveNode) -> None:
    """Where one AE title called from two addresses, the ID says which one is meant."""
    for address in ("127.0.0.1", "127.0.0.2"):
        assert not gets_in(RawPeer(node.port, source=address), "US")
    rows = json.loads(node.run("peer", "pending", "--json"))
    node.run("peer", "approve", "US", expect=2)
    node.run("peer", "approve", next(row["id"] for row in rows if row["address"] == "127.0.0.2"))

    assert gets_in(RawPeer(node.port, source="127.0.0.2"), "US")
    assert not gets_in(RawPeer(node.port, source="127.0.0.1"), "US")


def test_dry_run(node: LiveNode) -> None:
    """The table is shown, nothing is written; whoever did not call cannot be approved."""
    before = node.config.read_bytes()
    assert not gets_in(RawPeer(node.port), "MR")

    assert '[peers.MR]\nae_title = "MR"\nhost = "127.0.0.1"' in node.run("peer", "approve", "MR", "--dry-run")
    node.run("peer", "approve", "NOBODY", expect=2)
    assert before == node.config.read_bytes()


def test_a_name_that_is_taken(node: LiveNode) -> None:
    """With a name that another peer has, the file stays as it is, and so does the node."""
    assert not gets_in(RawPeer(node.port), "A")
    assert not gets_in(RawPeer(node.port), "B")
    node.run("peer", "approve", "A")
    before = node.config.read_bytes()
    command = [sys.executable, "-m", "pacsnode", "peer", "approve", "B", "--name", "A", "--config", str(node.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert 78 == done.returncode
    assert "stays as it is" in done.stderr
    assert before == node.config.read_bytes()
    assert ["pacsnode.toml"] == [path.name for path in node.folder.iterdir() if "toml" in path.name]


def test_another_change_waits_for_a_restart(node: LiveNode) -> None:
    """Where the node refuses the file for what else changed in it, that is told; the table stays for the restart."""
    assert not gets_in(RawPeer(node.port), "CT")
    node.config.write_text(node.config.read_text().replace('min_free = "1 MiB"', 'min_free = "2 MiB"'))
    command = [sys.executable, "-m", "pacsnode", "peer", "approve", "CT", "--config", str(node.config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert 78 == done.returncode
    assert "not in effect yet: storage.min_free: cannot change while the node runs" in done.stderr
    assert "CT" in config.load(node.config).peers
    assert not gets_in(RawPeer(node.port), "CT")
