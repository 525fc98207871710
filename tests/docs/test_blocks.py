"""Every command that README.md and docs/ show is run in order, beside a real node, and says what is shown there."""

from __future__ import annotations

import re
import shlex
import time
import tomllib
from pathlib import Path

import pytest

from tests.docs import scenes
from tests.docs.blocks import COMMANDS, DOCUMENTS, ROOT, TEXTS, Block, Step, blocks
from tests.docs.scene import Scene
from tests.docs.shown import differences
from tests.test_documents import complaint

_RUNNABLE = [
    document
    for document in DOCUMENTS
    if any(block.language in COMMANDS and block.key not in scenes.NOT_RUN for block in blocks(document))
]
_LOG_SECONDS = 5.0
_SEPARATOR = re.compile(r"&&|\|\|?|;|\n")


def _name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def _all_blocks() -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks(document)]


@pytest.mark.parametrize("document", _RUNNABLE, ids=_name)
def test_commands_say_what_is_shown(document: Path, tmp_path: Path) -> None:
    """Each command ends as it should, with the output that stands below it; each table of TOML is a configuration."""
    with Scene(tmp_path / "scene") as scene:
        for block in blocks(document):
            if block.key in scenes.BEFORE:
                scenes.BEFORE[block.key](scene)
            if block.language == "toml" and block.key not in scenes.NOT_CONFIGURATION:
                scene.shown_tables(block.text)
            elif block.language in COMMANDS and block.key not in scenes.NOT_RUN:
                _run(block, scene)


def _run(block: Block, scene: Scene) -> None:
    for step in block.steps:
        wrong = _complaint(block, step, scene)
        until = time.monotonic() + _LOG_SECONDS
        # A client is back before the node has logged the end of its association.
        while wrong and step.command.startswith("journalctl ") and time.monotonic() < until:
            wrong = _complaint(block, step, scene)
        assert not wrong, f"{block.place}: {step.command}\n{wrong}\n{scene.tail()}"


def _complaint(block: Block, step: Step, scene: Scene) -> str:
    key = block.key, step.command
    expect = None if step.command.startswith("journalctl ") else scenes.EXITS.get(key, 0)
    said = scene.step(step.command, expect, scenes.TYPED.get(key, ""))
    return differences(step.shown, said) if step.shown is not None else ""


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path not in _RUNNABLE], ids=_name)
def test_tables_of_toml_can_be_read(document: Path) -> None:
    """Where nothing is run, what is shown of a configuration is TOML."""
    for block in blocks(document):
        if block.language == "toml":
            tomllib.loads(block.text)


def test_every_block_is_of_a_known_kind() -> None:
    """A block is run, or its language says that it is none to be run; no text hides a command."""
    unknown = [block.place for block in _all_blocks() if block.language not in (*COMMANDS, *TEXTS)]
    hidden = [block.place for block in _all_blocks() if block.language in TEXTS and "\n$ " in f"\n{block.text}"]

    assert [] == unknown
    assert [] == hidden


def test_every_exception_is_needed() -> None:
    """No entry of the tables stands for a block or a command that is not there any more."""
    keys = {block.key for block in _all_blocks()}
    commands = {(block.key, step.command) for block in _all_blocks() for step in block.steps}

    assert set() == {*scenes.NOT_RUN, *scenes.NOT_CONFIGURATION, *scenes.BEFORE} - keys
    assert set() == {*scenes.EXITS, *scenes.TYPED} - commands


def test_what_is_not_run_exists() -> None:
    """Of blocks that are not run, each pacsnode command has the names and options that are shown."""
    wrong = []
    for block in _all_blocks():
        if block.key in scenes.NOT_RUN:
            for part in _SEPARATOR.split(block.text):
                words = shlex.split(part.removeprefix("$ "), comments=True)
                if words and words[0] == "pacsnode" and (what := complaint(words[1:])):
                    wrong.append(f"{block.place}: {part}: {what}")

    assert [] == wrong


@pytest.mark.parametrize(
    ("shown", "said", "alike"),
    [
        ("5 objects checked", "5 objects checked\n", True),
        ("5 objects checked", "4 objects checked", False),
        ("took 12 ms", "took 3.5 ms", True),
        ("a\n…\nd", "a\nb\nc\nd", True),
        ("a\n…\nd", "a\nb\nc", False),
        ("a", "a\nb", False),
        ("x … y", "x and y", True),
    ],
)
def test_what_counts_as_shown(shown: str, said: str, alike: bool) -> None:
    """Output that differs is noticed, but for times and the like, and what "…" stands for."""
    assert alike == (differences(shown, said) == "")
