"""How commands speak: what they print, their progress on a terminal, their errors in one line, their exit codes."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum

import click

from pacsnode.errors import ConfigError, NodeRunning, PacsNodeError


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    FINDINGS = 3
    TRY_AGAIN = 75
    CONFIGURATION = 78
    INTERRUPTED = 130


_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_EXIT_CODES: tuple[tuple[type[Exception], Exit], ...] = (
    (ConfigError, Exit.CONFIGURATION),
    (NodeRunning, Exit.TRY_AGAIN),
    (PacsNodeError, Exit.FAILED),
    (OSError, Exit.FAILED),
    (click.exceptions.Abort, Exit.INTERRUPTED),
    (click.UsageError, Exit.USAGE),
    (click.ClickException, Exit.FAILED),
)
EXPECTED_ERRORS: tuple[type[Exception], ...] = tuple(kind for kind, _ in _EXIT_CODES)
"""What ends a command without a traceback; anything else is a fault of ours."""


def exit_code(error: Exception) -> Exit:
    """The exit code that stands for an expected error."""
    return next(code for kind, code in _EXIT_CODES if isinstance(error, kind))


def report(error: Exception) -> None:
    """Print an expected error to stderr: a line each, beginning with ``pacsnode:``."""
    for line in _explanation(error).splitlines():
        click.echo(f"pacsnode: {plain(line)}", err=True)


def _explanation(error: Exception) -> str:
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "pacsnode"
        return f"{error.format_message().rstrip('.')}; see: {command} --help"
    if isinstance(error, click.exceptions.Abort):
        return "interrupted"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def print_json(value: object) -> None:
    """Print a JSON value, in ASCII: safe to show on any terminal, whatever a peer has sent."""
    click.echo(json.dumps(value, indent=2))


def print_line(text: str) -> None:
    """Print a line for people; control characters that peers sent are shown as ``?``."""
    click.echo(plain(text))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headings in aligned columns."""
    cells = [headings, *([plain(str(value)) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def size(count: float) -> str:
    """Bytes for people: ``158.2 KiB``."""
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count, unit = count / 1024, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if unit else f"{count:.0f} B"


def span(seconds: float) -> str:
    """A time for people, in the largest unit of which it is two at least: ``26 h``, ``3 d``."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def plain(text: str) -> str:
    """The text without anything that a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


@contextlib.contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr where that is a terminal; call what it gives for each item done."""
    count = 0

    def advance() -> None:
        nonlocal count
        count += 1
        tell(count, total)

    with progress_of(what) as tell:
        yield advance


@contextlib.contextmanager
def progress_of(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """As ``progress``; call what it gives with how many items are done, and of how many where that is known."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console  # only a terminal needs it, and it takes its time
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None, rate="")

        def tell(done: int, total: int | None) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate=f"{speed:.0f}/s" if speed else "")

        yield tell
