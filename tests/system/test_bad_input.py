"""What users and peers do wrong gets a clear answer, loses nothing, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system import dcmtk, material
from tests.system.live import LiveNode


def objects(node: LiveNode) -> list[Path]:
    """Every file the node keeps of instances, finished or not."""
    data = node.folder / "data"
    return [path for part in ("objects", "spool") for path in (data / part).rglob("*") if path.is_file()]


def serve(config: Path) -> subprocess.CompletedProcess[str]:
    """Run ``pacsnode serve`` where it is expected to end by itself."""
    command = [sys.executable, "-m", "pacsnode", "serve", "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_peer_that_vanishes_leaves_nothing(tmp_path: Path) -> None:
    """A sender killed within an instance: no file, one log line, and the node goes on."""
    (sample,) = material.series(1, tmp_path, rows=3000)
    with LiveNode(tmp_path / "node") as node:
        gate = _Gate(node.port, pass_bytes=2_000_000)
        sender = subprocess.Popen(
            [dcmtk.path("storescu"), "-aec", "PACSNODE", "127.0.0.1", str(gate.port), str(sample.path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        gate.run()
        sender.wait(timeout=30)
        refused = node.wait_for(r"event=refused uid=2\.25\.\S+ peer=STORESCU reason=")
        node.wait_for(r"event=association .*operations=0")

        assert refused
        assert [] == objects(node)
        dcmtk.run("echoscu", *dcmtk.address(node.port))


class _Gate:
    """A connection to the node that breaks after so many bytes from the sender."""

    def __init__(self, target: int, pass_bytes: int) -> None:
        self._target = target
        self._left = pass_bytes
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]

    def run(self) -> None:
        """Relay one connection: the association's answer back, then the sender's bytes until the gate closes."""
        sender, _ = self._socket.accept()
        node = socket.create_connection(("127.0.0.1", self._target))
        with self._socket, sender, node:
            node.sendall(sender.recv(1 << 20))
            sender.sendall(node.recv(1 << 20))
            while self._left > 0 and (data := sender.recv(min(self._left, 1 << 16))):
                node.sendall(data)
                self._left -= len(data)


def test_importing_a_folder_with_junk(tmp_path: Path) -> None:
    """What is DICOM goes in, the rest is listed with its reason, exit 3; doing it again changes nothing."""
    folder = tmp_path / "in"
    samples = material.series(3, folder / "deep" / "er")
    (folder / "letter.txt").write_text("Dear colleague")
    (folder / "empty.dcm").write_bytes(b"")
    cut = samples[0].path.read_bytes()[:-1000]
    (folder / "cut.dcm").write_bytes(cut)
    shutil.make_archive(str(folder / "more"), "zip", samples[1].path.parent)
    node = LiveNode(tmp_path / "node")
    node.run("init", str(node.folder))
    first = json.loads(node.run("import", str(folder), "--json", expect=3))
    again = json.loads(node.run("import", str(folder), "--json", expect=3))

    assert {"letter.txt", "empty.dcm", "cut.dcm"} == {Path(row["path"]).name for row in first["not_imported"]}
    assert all(row["reason"] for row in first["not_imported"])
    assert (3, 3) == (first["stored"], first["already_there"])
    assert (0, 6) == (again["stored"], again["already_there"])
    assert 3 == len(objects(node))


def test_a_wrong_configuration_is_78(tmp_path: Path) -> None:
    """Names file, table, key and value, in one line, without a traceback."""
    config = tmp_path / "wrong.toml"
    config.write_text('[node]\nae_title = "WAY TOO LONG A TITLE"\n')
    done = serve(config)

    assert 78 == done.returncode
    assert [True] * 4 == [word in done.stderr for word in ("wrong.toml", "[node]", "ae_title", "WAY TOO LONG")]
    assert 1 == len(done.stderr.splitlines())


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    """Exit 1, naming the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = tmp_path / "pacsnode.toml"
        config.write_text(f'[node]\nlisten = "{address}"\ndata = "data"\n')
        done = serve(config)

    assert 1 == done.returncode
    assert address in done.stderr
    assert 1 == len(done.stderr.splitlines())


def test_a_data_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    """Exit 1, naming the folder."""
    (tmp_path / "data").write_text("a file where the folder should be")
    config = tmp_path / "pacsnode.toml"
    config.write_text('[node]\nlisten = "127.0.0.1:0"\ndata = "data"\n')
    done = serve(config)

    assert 1 == done.returncode
    assert str(tmp_path / "data") in done.stderr
    assert 1 == len(done.stderr.splitlines())


def test_two_nodes_on_one_folder_is_75(tmp_path: Path) -> None:
    """The second one leaves the data folder alone and says who has it."""
    with LiveNode(tmp_path / "node") as node:
        done = serve(node.config)

        assert 75 == done.returncode
        assert str(node.pid) in done.stderr


def test_full_store_refuses_and_the_rest_goes_on(tmp_path: Path) -> None:
    """Below the free-space mark C-STORE is answered A700; echo and query work."""
    (sample,) = material.series(1, tmp_path)
    node = LiveNode(tmp_path / "node")
    node.run("init", str(node.folder), "--listen", "127.0.0.1:0")
    with node.config.open("a") as stream:
        stream.write('\n[storage]\nmin_free = "8000 TiB"\n')
    with node:
        answer = dcmtk.run("storescu", "-v", *dcmtk.address(node.port), str(sample.path), expect=None)
        dcmtk.run("findscu", "-S", *dcmtk.address(node.port), "-k", "QueryRetrieveLevel=STUDY")

    assert "Refused: OutOfResources" in answer
    assert [] == objects(node)


def test_sigterm_drains_and_ends_with_0(tmp_path: Path) -> None:
    """An open association may end by itself; a new one hears of temporary congestion; then the node ends, exit 0."""
    with LiveNode(tmp_path / "node", '[limits]\ndrain = "20 s"\n') as node:
        with socket.create_connection(("127.0.0.1", node.port)) as idle:
            idle.sendall(material.association_request("PACSNODE"))
            assert 2 == idle.recv(1 << 16)[0]
            node._process.send_signal(signal.SIGTERM)
            node.wait_for("event=stopping signal=SIGTERM associations=1")
            late = dcmtk.run("echoscu", *dcmtk.address(node.port), expect=None)

        assert "Temporary Congestion" in late
        assert 0 == node.ended()
        assert "event=stopped" in node.log


def test_a_killed_node_starts_again_with_all_it_acknowledged(tmp_path: Path) -> None:
    """After SIGKILL the index and every object are there."""
    samples = material.series(8, tmp_path / "in")
    with LiveNode(tmp_path / "node") as node:
        dcmtk.run("storescu", *dcmtk.address(node.port), *(str(sample.path) for sample in samples))
        node.kill()
        node.start()
        checked = json.loads(node.run("verify", "--all", "--json"))

        assert (8, []) == (checked["checked"], checked["findings"])


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_verify_finds_damage(tmp_path: Path, damage: str) -> None:
    """A flipped byte, a short object, a missing one: exit 3, with the UID."""
    (sample,) = material.series(1, tmp_path / "in")
    node = LiveNode(tmp_path / "node")
    node.run("init", str(node.folder))
    node.run("import", str(sample.path))
    (path,) = objects(node)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content if damage == "flip" else content[:-100])
    answer = json.loads(node.run("verify", "--json", expect=3))

    assert [sample.sop_instance_uid] == [finding["uid"] for finding in answer["findings"]]
