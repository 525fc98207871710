"""Pieces of Markdown: tables, and text that is shown as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def code(text: str) -> str:
    """A code span; a text with backticks has a longer fence (CommonMark 6.1)."""
    fence = "``" if "`" in text else "`"
    padding = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{padding}{text}{padding}{fence}"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table, and an empty one."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [f"| {' | '.join(headings)} |", "|" + "---|" * len(headings), *lines, ""]


def items(texts: Iterable[str]) -> list[str]:
    """The lines of a list, and an empty one."""
    return [*(f"* {text}" for text in texts), ""]
