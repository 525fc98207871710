"""What the documents say is so: links, log events, commands, make targets, exit codes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import click
import pytest

from pacsnode.cli import main
from pacsnode.cli.console import Exit
from pacsnode.dimse import status

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
OPERATIONS = ROOT / "docs" / "operations.md"
STATUSES = ROOT / "docs" / "statuses.md"

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
_PACSNODE = re.compile(r"(?:\$ )?(?:[\w./]*/)?pacsnode((?: [^\s|&>;]+)+)")
_MAKE = re.compile(r"(?:\$ )?make ([a-z]+)")
_PRIVATE_PATH = re.compile(r"(?<![\w./])/(?:work|root|home|Users)\b")
_EVENT_ROW = re.compile(r"^\| `([a-z_]+)` \| (?:INFO|WARNING|ERROR)", re.MULTILINE)
_PROOF = re.compile(r"`([\w/]+\.py)::(\w+)(?:\[([^\]]+)\])?`")
_STATUS = re.compile(r"\b[0-9A-F]{4}\b")
_EXIT_ROW = re.compile(r"^\| (\d+) \|", re.MULTILINE)
# RetrieveOperation.serve logs under the name of its operation, which its two services tell.
_EVENTS_NAMED_BY_THEIR_SERVICE = {"get", "move"}

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def code(document: Path) -> Iterator[str]:
    """Each line of code blocks, and each code span of the text around them."""
    text = document.read_text("utf-8")
    for block in _FENCED.findall(text):
        yield from block.splitlines()
    yield from _INLINE.findall(_FENCED.sub("", text))


def anchors(document: Path) -> set[str]:
    """The fragments under which its headings can be linked to."""
    headings = _HEADING.findall(_FENCED.sub("", document.read_text("utf-8")))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def complaint(words: list[str]) -> str:
    """What is wrong with the arguments of a ``pacsnode`` command; "" where there is such a command."""
    command: click.Command = main
    context = click.Context(command, info_name="pacsnode")
    names = takewhile(lambda word: isinstance(command, click.Group) and re.fullmatch("[a-z]+", word), words)
    for name in names:
        assert isinstance(command, click.Group)
        found = command.get_command(context, name)
        if found is None:
            return f"no command {name}"
        command, context = found, click.Context(found, parent=context, info_name=name)
    known = {option for parameter in command.get_params(context) for option in parameter.opts}
    unknown = [word for word in words if word.startswith("-") and word not in known]
    return f"no option {unknown[0]}" if unknown else ""


def logged_events() -> set[str]:
    """The first argument of every ``log.event`` and ``log.crash`` in the program."""
    events: set[str] = set()
    for module in sorted((ROOT / "pacsnode").rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("log.event", "log.crash"):
                name = node.args[0]
                if isinstance(name, ast.Constant):
                    events.add(str(name.value))
                else:
                    assert "retrieve.py" == module.name, f"{module}: an event whose name is not written there"
                    events |= _EVENTS_NAMED_BY_THEIR_SERVICE
    return events


def section(document: Path, heading: str) -> str:
    """The text below a heading of the second level."""
    return document.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]


@documents
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link names a file or folder of the repository, and a heading that is there."""
    broken = []
    for link in _LINK.findall(_FENCED.sub("", document.read_text("utf-8"))):
        path, _, fragment = link.partition("#")
        if "://" in link:
            continue
        target = document.parent / path if path else document
        if not target.exists() or (fragment and fragment not in anchors(target)):
            broken.append(link)

    assert [] == broken


@documents
def test_commands_exist(document: Path) -> None:
    """Every pacsnode command that is shown is one, with the options that are shown."""
    shown = [found[1].split() for line in code(document) if (found := _PACSNODE.match(line))]
    wrong = [f"{' '.join(words)}: {what}" for words in shown if (what := complaint(words))]

    assert [] == wrong


@documents
def test_make_targets_exist(document: Path) -> None:
    """Every make target that is named is in the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {found[1] for line in code(document) if (found := _MAKE.match(line))}

    assert set() == named - targets


@documents
def test_no_path_of_one_machine(document: Path) -> None:
    """No document names a folder that only its writer has."""
    assert [] == _PRIVATE_PATH.findall(document.read_text("utf-8"))


def test_log_events_are_documented() -> None:
    """docs/operations.md lists the events of the program: all of them, and no others."""
    listed = _EVENT_ROW.findall(section(OPERATIONS, "Log events"))

    assert sorted(logged_events()) == sorted(listed)


def test_every_status_has_its_test() -> None:
    """Each row of the statuses names a test that there is, with a parameter set of that name; 60 rows at least."""
    rows = [row for row in STATUSES.read_text("utf-8").splitlines() if row.startswith("| ") and "| answer " not in row]
    proofs = [_PROOF.search(row) for row in rows]
    lost = [row for row, proof in zip(rows, proofs, strict=True) if proof is None or not _is_there(*proof.groups())]

    assert [] == lost
    assert len(rows) > 60


def _is_there(path: str, function: str, parameters: str | None) -> bool:
    source = (ROOT / "tests" / path).read_text("utf-8")
    return f"\ndef {function}(" in source and (parameters is None or f'"{parameters}"' in source)


def test_every_status_is_documented() -> None:
    """Whatever our tables can answer."""
    tables = (status.STORE, status.FIND, status.RETRIEVE)
    answered = {f"{code:04X}" for table in tables for code in table.values()}

    assert set() == answered - set(_STATUS.findall(STATUSES.read_text("utf-8")))


def test_exit_codes_are_documented() -> None:
    """docs/operations.md lists the exit codes of the program: all of them, and no others."""
    listed = [int(number) for number in _EXIT_ROW.findall(section(OPERATIONS, "Exit codes"))]

    assert sorted(Exit) == listed


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["study", "list", "--json"], ""),
        (["--version"], ""),
        (["study", "export", "UID", "DIR"], ""),
        (["frobnicate"], "no command frobnicate"),
        (["study", "burn"], "no command burn"),
        (["verify", "--fast"], "no option --fast"),
    ],
)
def test_complaints(words: list[str], expected: str) -> None:
    """A command or option that does not exist is noticed, and one that does is not."""
    assert expected == complaint(words)
