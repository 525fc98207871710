"""Man pages and completion: whole, and right as roff."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pacsnode.cli import main
from pacsnode.config import Config
from tests.packaging.conftest import ROOT


def text_of(page: Path) -> str:
    """The page without roff's escapes."""
    return page.read_text("utf-8").replace(r"\-", "-").replace(r"\fB", "").replace(r"\fP", "")


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """The command and all below it."""
    yield command, context
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        assert isinstance(command, click.Group)
        below = command.get_command(context, name)
        assert below is not None
        yield from commands(below, click.Context(below, info_name=name, parent=context))


def test_every_command_and_option_is_told(manual: Path) -> None:
    """Each command has a usage line in the page of its noun, and each of its options is there."""
    missing = []
    for command, context in commands(main, click.Context(main, info_name="pacsnode")):
        page = text_of(manual / "man" / f"{'-'.join(context.command_path.split()[:2])}.1")
        group_of_verbs = isinstance(command, click.Group) and command is not main
        if not group_of_verbs and f"\n{context.command_path} [" not in page:
            missing.append(context.command_path)
        options = [one for one in command.get_params(context) if isinstance(one, click.Option)]
        missing += [f"{context.command_path} {one.opts[0]}" for one in options if f"\n{one.opts[0]}" not in page]

    assert [] == missing


def test_every_key_is_told(manual: Path) -> None:
    """pacsnode.toml(5) has each key of each table as an item."""
    page = text_of(manual / "man" / "pacsnode.toml.5")
    tables = [value for value in Config().model_dump(mode="json").values() if isinstance(value, dict)]
    keys = {key for table in tables for key, value in table.items() if not isinstance(value, dict)}

    assert set() == {key for key in keys if f"\n.TP\n{key} = " not in page and f"\n.TP\n{key} (" not in page}


def test_pages_are_sound(manual: Path) -> None:
    """mandoc finds nothing to warn of in any page."""
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is missing; run: apt-get install mandoc")
    pages = sorted((manual / "man").iterdir())
    done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", *pages], capture_output=True, text=True, timeout=60)

    assert (0, "") == (done.returncode, done.stdout)


def test_text_is_never_taken_for_roff() -> None:
    """Leading dots, backslashes, quotes and hyphens of help texts are shown as they are; code is bold."""
    script = (
        "import sys; sys.path.insert(0, 'packaging'); from manual import roff;"
        r" print(roff('.so a\\b\n\'tis `--at`'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert "\\&.so a\\eb\n\\(aqtis \\fB\\-\\-at\\fP\n" == done.stdout


def test_completion_completes(manual: Path) -> None:
    """bash, with the script read, offers the verbs of a noun."""
    script = f"""
        PATH={Path(sys.executable).parent}:$PATH
        . {manual}/completion/pacsnode
        COMP_WORDS=(pacsnode quarantine re) COMP_CWORD=2
        _pacsnode_completion pacsnode
        echo "$(complete -p pacsnode) ${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert "complete -o nosort -F _pacsnode_completion pacsnode release\n" == done.stdout
