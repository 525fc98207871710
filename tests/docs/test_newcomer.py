"""From a machine with nothing but Debian and the sources to the first stored image: how many commands, how long."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.docs.blocks import COMMANDS, ROOT, Step, blocks
from tests.docs.scene import Scene

DOCUMENT = ROOT / "docs" / "first-modality.md"
COMMANDS_AT_MOST = 6
SECONDS_AT_MOST = 30.0


def path_of_a_newcomer() -> list[Step]:
    """The commands of the document from its first to the one that stores an image."""
    steps = [step for block in blocks(DOCUMENT) if block.language in COMMANDS for step in block.steps]
    first = next(number for number, step in enumerate(steps, 1) if step.command.startswith("storescu"))
    return steps[:first]


def test_few_commands_to_the_first_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The document comes to a stored image in six commands; without what they install, in half a minute.

    With PACSNODE_NEWCOMER=1 what ``make serve`` installs is installed, too: a clone, and a new virtual environment.
    """
    steps = path_of_a_newcomer()
    begin = time.monotonic()
    checkout, environment = _installed(tmp_path) if os.environ.get("PACSNODE_NEWCOMER") else (ROOT, Path(sys.prefix))
    installed = time.monotonic()
    with Scene(tmp_path / "scene", checkout=checkout, environment=environment) as scene:
        (scene.home / "pacsnode").mkdir()
        for step in steps:
            if not step.command.startswith("apt-get "):
                scene.step(step.command)
        end = time.monotonic()
        stored = scene.log.read_text().count("outcome=stored")

    with capsys.disabled():
        print(
            f"\n{len(steps)} commands; {installed - begin:.1f} s to install, then {end - installed:.1f} s to 5 images"
        )
    assert len(steps) <= COMMANDS_AT_MOST, [shlex.split(step.command)[0] for step in steps]
    assert 5 == stored
    assert end - installed < SECONDS_AT_MOST


def _installed(folder: Path) -> tuple[Path, Path]:
    """A clone, and the virtual environment that make has made for it."""
    clone = folder / "pacsnode"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    subprocess.run(["make", "-s", "-C", str(clone), f"PYTHON={_python()}", ".venv/runtime"], check=True)
    return clone, clone / ".venv"


def _python() -> str:
    """The interpreter that the virtual environment of the tests was made from."""
    return str(Path(sys.base_prefix) / "bin" / "python3")
