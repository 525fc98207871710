"""``pacsnode tls`` and ``pacsnode user``."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pacsnode import config
from pacsnode.dimse import tls
from pacsnode.security import certificates
from tests.cli.folder import Folder, run

PEERS = '[peers.CT01]\nhost = "10.0.0.5"\nport = 104\n[peers.WS]\nhost = "ws.example.org"\nport = 104\n'


def mode(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def site(tmp_path: Path) -> Folder:
    """A node with two peers."""
    return Folder(tmp_path, PEERS)


def test_init_makes_what_the_node_needs(site: Folder) -> None:
    """What is printed can be pasted: with it the node has TLS, and its peers are bound to their certificates."""
    said = site.run("tls", "init", "--host", "archive.example.org", "--host", "10.0.0.1")
    folder = site.path / "tls"
    node_lines, _, peer_lines = said.stdout.partition("\n# CT01 gets")
    tables = node_lines.split("\n", 1)[1].replace("[node]\n", "")
    fingerprint = peer_lines.split("certificates = ")[1].split("\n")[0]
    listen, rest = tables.split("\n", 1)
    peers = PEERS.replace("port = 104\n", f"port = 104\ncertificates = {fingerprint}\n", 1)
    pasted = site.path / "pasted.toml"
    pasted.write_text(f'[node]\ndata = "data"\n{listen}\n{rest}\n{peers}')
    loaded = config.load(pasted)

    assert 0 == said.exit_code
    assert {"ca", "node", "CT01", "WS"} == {path.stem for path in folder.iterdir()}
    assert {0o600} == {mode(path) for path in folder.glob("*.key")}
    assert {0o640} == {mode(path) for path in folder.glob("*.pem")}
    assert {"archive.example.org", "10.0.0.1", "pacsnode"} == names(folder / "node.pem")
    assert {"10.0.0.5", "ct01"} == names(folder / "CT01.pem")
    tls.for_acceptor(loaded.tls)
    tls.for_requestor(loaded.tls)


def names(path: Path) -> frozenset[str]:
    """Whom a certificate is made out to."""
    return certificates.read_pem(path.read_bytes()).names


def test_init_overwrites_nothing(site: Folder) -> None:
    """Where one file is there, none is written."""
    folder = site.path / "tls"
    folder.mkdir()
    (folder / "WS.key").write_text("mine")
    said = site.run("tls", "init")

    assert 1 == said.exit_code
    assert "WS.key is there already, and nothing was written" in said.stderr
    assert ["WS.key"] == [path.name for path in folder.iterdir()]


def test_issue(site: Folder) -> None:
    """One more certificate of the same CA, for a peer or for any name."""
    site.run("tls", "init")
    said = site.run("tls", "issue", "MR1", "--host", "mr1.example.org")
    unnamed, taken = site.run("tls", "issue", "MR2"), site.run("tls", "issue", "WS")
    odd = site.run("tls", "issue", "../MR3", "--host", "mr3")

    assert (0, 2, 1, 2) == (said.exit_code, unnamed.exit_code, taken.exit_code, odd.exit_code)
    assert {"mr1.example.org", "mr1"} == names(site.path / "tls" / "MR1.pem")
    assert "certificates = [" in said.stdout


def test_issue_without_a_ca(site: Folder) -> None:
    """There has to be a CA first."""
    assert 1 == site.run("tls", "issue", "MR1", "--host", "mr1").exit_code


def test_users(tmp_path: Path) -> None:
    """Users are added, listed and removed; the file is for the node alone, and keeps its permissions."""
    site = Folder(tmp_path, '[access]\nusers_file = "users"\n')
    added = add(site, "anna", "correct horse")
    file = tmp_path / "users"
    made = mode(file)
    file.chmod(0o600)
    again = add(site, "anna", "other horse")
    add(site, "berta", "correct horse")
    listed = site.answer("user", "list")
    removed = site.run("user", "remove", "anna")

    assert ("anna: added\n", "anna: another passcode\n", "anna: removed\n") == (added, again, removed.stdout)
    assert (0o640, 0o600) == (made, mode(file))
    assert ["anna", "berta"] == listed
    assert ["berta"] == site.answer("user", "list")
    assert 2 == site.run("user", "remove", "anna").exit_code


def add(site: Folder, name: str, passcode: str) -> str:
    """``user add`` with a passcode from stdin: what it says."""
    said = run("--config", site.file, "user", "add", name, "--passcode-stdin", given=f"{passcode}\n")
    assert said.exit_code == 0, said.stderr
    return said.stdout


def test_passcodes_that_are_none(tmp_path: Path) -> None:
    """A short passcode and an odd name are refused, and nothing is written; without users_file nobody is added."""
    site = Folder(tmp_path, '[access]\nusers_file = "users"\n')
    (tmp_path / "other").mkdir()
    without = Folder(tmp_path / "other")
    short = run("--config", site.file, "user", "add", "anna", "--passcode-stdin", given="short\n")
    odd = run("--config", site.file, "user", "add", " anna", "--passcode-stdin", given="correct horse\n")
    nowhere = run("--config", without.file, "user", "add", "anna", "--passcode-stdin", given="correct horse\n")

    assert (2, 2, 78) == (short.exit_code, odd.exit_code, nowhere.exit_code)
    assert not (tmp_path / "users").exists()
