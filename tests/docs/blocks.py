"""The fenced blocks of a document: commands with the output that is shown, and the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = ("", "sh")
TEXTS = ("toml", "json", "python", "text", "ini", "yaml", "nft")

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PROMPT = "$ "


@dataclass(frozen=True)
class Step:
    """A command and what the document shows of its output; None where it shows nothing."""

    command: str
    shown: str | None


@dataclass(frozen=True)
class Block:
    """A fenced block; ``line`` is that of its fence."""

    document: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        return f"{self.document}:{self.line}"

    @property
    def key(self) -> tuple[str, str]:
        """Under what the tables of ``scenes`` name it: the document, and the first line without its prompt."""
        return self.document, self.text.split("\n", 1)[0].removeprefix(_PROMPT)

    @property
    def steps(self) -> list[Step]:
        """Its commands in order; a block without a prompt is one script, of which no output is shown."""
        if not any(line.startswith(_PROMPT) for line in self.text.splitlines()):
            return [Step(self.text, None)]
        return list(_session(self.text))


def blocks(document: Path) -> list[Block]:
    """All fenced blocks of a document, in order."""
    text = document.read_text("utf-8")
    name = str(document.relative_to(ROOT))
    return [
        Block(name, text.count("\n", 0, found.start()) + 1, found[1], found[2].rstrip("\n"))
        for found in _FENCE.finditer(text)
    ]


def _session(text: str) -> Iterator[Step]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.rstrip("\n").split("\n")
        length = next(number for number, line in enumerate(lines, 1) if not line.endswith("\\"))
        yield Step("\n".join(lines[:length]), "\n".join(lines[length:]) or None)
