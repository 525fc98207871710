"""``init``, ``config`` and ``peer``."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pacsnode import config
from pacsnode.config import Address, Config
from tests.cli.folder import Folder, run

PEERS = '[peers.CT]\nae_title = "CT01"\nhost = "10.0.0.5"\nport = 104\nallow = ["store", "echo"]\n'


def test_init_writes_a_configuration_that_loads(tmp_path: Path) -> None:
    """The new node has the title and address asked for, and its data below its folder."""
    result = run("init", tmp_path / "new", "--ae-title", "ARCHIVE", "--listen", "[::1]:104")
    loaded = config.load(tmp_path / "new/pacsnode.toml")

    assert (0, "") == (result.exit_code, result.stderr)
    assert ("ARCHIVE", (Address("::1", 104),), tmp_path / "new/data") == (
        loaded.node.ae_title,
        loaded.node.listen,
        loaded.node.data,
    )


def test_init_leaves_room_for_tables(tmp_path: Path) -> None:
    """A table can simply be appended to the file that init writes."""
    run("init", tmp_path)
    path = tmp_path / "pacsnode.toml"
    path.write_text(path.read_text() + '\n[storage]\nmin_free = "1 MiB"\n' + PEERS)

    loaded = config.load(path)

    assert 2**20 == loaded.storage.min_free
    assert ["CT"] == list(loaded.peers)


def test_init_never_overwrites(folder: Folder) -> None:
    """A configuration that is there stays as it is."""
    before = folder.file.read_bytes()

    result = run("init", folder.path)

    assert 1 == result.exit_code
    assert f"pacsnode: {folder.file} is there already and stays as it is; choose another folder\n" == result.stderr
    assert before == folder.file.read_bytes()


def test_init_refuses_a_wrong_title(tmp_path: Path) -> None:
    """A title that is none is wrong usage, and nothing is written."""
    result = run("init", tmp_path / "new", "--ae-title", "SEVENTEENLETTERSX")

    assert 2 == result.exit_code
    assert 'pacsnode: ae_title = "SEVENTEENLETTERSX": not an AE title; ' in result.stderr
    assert not (tmp_path / "new").exists()


def test_check_says_ok_and_which_file(folder: Folder) -> None:
    """A right configuration is said to be so."""
    result = folder.run("config", "check")

    assert (0, f"{folder.file}: ok\n") == (result.exit_code, result.stdout)


def test_show_prints_what_is_in_effect(folder: Folder, tmp_path: Path) -> None:
    """The output of show is a file that loads to the same configuration."""
    again = tmp_path / "again.toml"
    again.write_text(folder.run("config", "show").stdout)

    assert folder.config == config.load(again)


def test_show_as_json_is_the_same(folder: Folder) -> None:
    """JSON and TOML of show tell the same."""
    assert tomllib.loads(folder.run("config", "show").stdout) | {"peers": {}} == folder.answer("config", "show")


def test_schema_knows_every_table() -> None:
    """The JSON Schema for editors has the tables and forbids unknown ones."""
    schema = run("config", "schema").stdout

    assert '"additionalProperties": false' in schema
    assert all(f'"{field.alias or name}"' in schema for name, field in Config.model_fields.items())


def test_sample_and_reference_are_printed() -> None:
    """The delivered sample and reference can be printed by the program."""
    assert [config.sample(), config.reference()] == [
        run("config", "sample").stdout,
        run("config", "reference").stdout,
    ]


def test_peers_are_listed(tmp_path: Path) -> None:
    """The list tells names, titles, addresses and rights."""
    folder = Folder(tmp_path, PEERS)

    expected = [
        {"name": "CT", "ae_title": "CT01", "host": "10.0.0.5", "port": 104, "tls": False, "allow": ["echo", "store"]}
    ]
    assert expected == folder.answer("peer", "list")
    assert "CT    CT01      10.0.0.5:104  echo store" in folder.run("peer", "list").stdout
