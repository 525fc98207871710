"""The command line as a whole: help, exit codes, errors in one line."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import subprocess
import sys
from pathlib import Path

import click
import pytest

from pacsnode import __version__
from pacsnode.cli import console, main
from pacsnode.errors import (
    CannotListen,
    ConfigError,
    IndexFailure,
    NodeRunning,
    NotAllowed,
    ObjectDamaged,
    PacsNodeError,
    StoreFull,
)
from tests.cli.folder import Folder, image, run


def execute(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pacsnode", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), 78),
        (NodeRunning("x"), 75),
        (IndexFailure("x"), 1),
        (StoreFull("x"), 1),
        (ObjectDamaged("x"), 1),
        (CannotListen("x"), 1),
        (NotAllowed("x"), 1),
        (PacsNodeError("x"), 1),
        (OSError(errno.EACCES, "x"), 1),
        (click.UsageError("x"), 2),
        (click.ClickException("x"), 1),
        (click.exceptions.Abort(), 130),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exit_code_of_error(error: Exception, code: int) -> None:
    """Each kind of error has the exit code that the interface promises."""
    assert code == console.exit_code(error)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (IndexFailure("it is\x1b[31m locked; wait"), "pacsnode: it is?[31m locked; wait\n"),
        (ConfigError("one\ntwo"), "pacsnode: one\npacsnode: two\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "pacsnode: /x: Permission denied\n"),
        (OSError("no numbers"), "pacsnode: no numbers\n"),
        (click.UsageError("No such thing."), "pacsnode: No such thing; see: pacsnode --help\n"),
        (click.exceptions.Abort(), "pacsnode: interrupted\n"),
    ],
)
def test_error_is_reported_in_lines_of_ours(capsys: pytest.CaptureFixture[str], error: Exception, line: str) -> None:
    """Errors go to stderr, each line is ours, and nothing in them commands the terminal."""
    console.report(error)

    assert ("", line) == tuple(capsys.readouterr())


def test_program_runs_as_a_module() -> None:
    """`python -m pacsnode --version` tells the version."""
    done = execute("--version")

    assert (0, f"pacsnode {__version__}\n", "") == (done.returncode, done.stdout, done.stderr)


def test_help_loads_no_heavy_library() -> None:
    """`pacsnode --help` answers before anything big is imported."""
    script = (
        "import sys\nfrom pacsnode.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n"
        "    print({'pydantic', 'rich', 'pydicom', 'pynetdicom', 'apsw'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert "set()" == done.stdout.splitlines()[-1]


def test_every_command_loads_and_has_the_help_of_the_list() -> None:
    """What the list of commands says of each is the first line of its own help."""
    context = click.Context(main)
    listed = run("--help").stdout
    for name in main.list_commands(context):
        command = main.get_command(context, name)

        assert command is not None
        assert name == command.name
        assert (command.help or "").splitlines()[0] in listed


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nonsense",), "pacsnode: No such command 'nonsense'; see: pacsnode --help"),
        (("study", "shwo"), "pacsnode: No such command 'shwo'. Did you mean 'show'?; see: pacsnode study --help"),
        (("status", "--jsn"), "see: pacsnode status --help"),
        (("import",), "pacsnode: Missing argument 'PATH...'; see: pacsnode import --help"),
        (("import", "/nowhere"), "see: pacsnode import --help"),
        (("verify", "--all", "--study", "1"), "--study and --all exclude each other; see: pacsnode verify --help"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(arguments: tuple[str, ...], line: str) -> None:
    """A mistake in the command line is told in one line that names the help."""
    result = run(*arguments)

    assert (2, "") == (result.exit_code, result.stdout)
    assert 1 == result.stderr.count("\n")
    assert line in result.stderr


@pytest.mark.parametrize("noun", [(), ("study",), ("config",)])
def test_missing_verb_shows_the_help(noun: tuple[str, ...]) -> None:
    """A noun alone lists its verbs, as wrong usage."""
    result = run(*noun)

    assert 2 == result.exit_code
    assert "Commands:" in result.stderr


def test_config_option_may_stand_anywhere(tmp_path: Path, folder: Folder) -> None:
    """--config counts before the command's name, between noun and verb, and behind; the last one wins."""
    wrong = tmp_path / "wrong.toml"
    codes = [
        run("--config", folder.file, "peer", "list").exit_code,
        run("peer", "--config", folder.file, "list").exit_code,
        run("peer", "list", "--config", folder.file).exit_code,
        run("--config", wrong, "peer", "list", "--config", folder.file).exit_code,
        run("--config", folder.file, "peer", "list", "--config", wrong).exit_code,
    ]

    assert [0, 0, 0, 0, 78] == codes


def test_environment_names_the_configuration(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --config, $PACSNODE_CONFIG is read; with it, it is not."""
    monkeypatch.setenv("PACSNODE_CONFIG", str(folder.path / "missing.toml"))

    assert 78 == run("config", "check").exit_code
    assert 0 == folder.run("config", "check").exit_code


def test_wrong_configuration_has_a_line_for_each_mistake(folder: Folder) -> None:
    """Every command ends with 78 and says where the file is wrong, without a traceback."""
    folder.file.write_text("[node]\nae_title = ''\nx = 1\n")

    done = execute("status", "--config", folder.file)

    assert (78, "") == (done.returncode, done.stdout)
    assert [f"pacsnode: {folder.file}: [node] {key} =" for key in ("ae_title", "x")] == [
        line.partition("=")[0] + "=" for line in done.stderr.splitlines()
    ]


def test_folder_that_cannot_be_made_is_one_line(folder: Folder) -> None:
    """Trouble with the data folder is told in one line, with code 1."""
    folder.data.write_text("a file, where a folder should be")

    result = folder.run("reindex")

    assert 1 == result.exit_code
    expected = f"pacsnode: cannot use {folder.data} as the data folder: File exists; see data in table [node]\n"
    assert expected == result.stderr


@pytest.mark.parametrize("command", [("import", "."), ("reindex",), ("db", "upgrade"), ("serve",)])
def test_running_node_keeps_the_folder(folder: Folder, command: tuple[str, ...]) -> None:
    """What changes the archive gives way to whoever holds the lock: code 75, and who it is."""
    folder.data.mkdir()
    with (folder.data / "lock").open("w") as lock:
        lock.write("4711\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)

        done = execute(*command, "--config", folder.file)

    assert 75 == done.returncode
    assert f"pacsnode: {folder.data} is in use by process 4711; stop it or wait" in done.stderr
    assert "Traceback" not in done.stderr


def test_progress_is_for_terminals(folder: Folder) -> None:
    """A bar is drawn on stderr where that is a terminal; stdout stays as it is."""
    (folder.path / "a.dcm").write_bytes(image())
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pacsnode", "--config", str(folder.file), "import", str(folder.path / "a.dcm")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=os.environ | {"TERM": "xterm"})
    os.close(theirs)
    drawn = _drain(ours)
    output = process.communicate(timeout=60)[0]

    assert b"import" in drawn
    assert b"1 stored, 0 already there, 0 repaired, 0 new version, 0 kept first, 0 refused\n" == output


def _drain(descriptor: int) -> bytes:
    drawn = b""
    try:
        while chunk := os.read(descriptor, 65536):
            drawn += chunk
    except OSError:
        pass  # Linux says EIO when the other side is closed
    finally:
        os.close(descriptor)
    return drawn


def test_table_is_aligned_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns line up, and what a peer sent cannot command the terminal."""
    console.print_table(("A", "LONG NAME"), [("x\x9b2J", 1), ("yyyyyy", "")])

    assert "A       LONG NAME\nx?2J    1\nyyyyyy\n" == capsys.readouterr().out
