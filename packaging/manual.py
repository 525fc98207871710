"""Writes the man pages and the completion for bash: from the commands and the reference of the configuration."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import click
from click.shell_completion import BashComplete
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pacsnode import __version__, config
from pacsnode.cli import main as program

_CODE = re.compile(r"`([^`]+)`")
# Click's marks for text that is not to be wrapped, or not to be shown.
_MARKS = re.compile(r"^[\b\f]$", re.MULTILINE)
_NOT_HERE = "This page is the output of `pacsnode config reference`."
_FILES = (
    ("/etc/pacsnode/pacsnode.toml", "The configuration; see pacsnode.toml(5)."),
    ("/var/lib/pacsnode", "Where a service keeps its data, unless `data` says otherwise."),
)


def write(folder: Path) -> None:
    """Lay ``man/`` and ``completion/`` out anew in the folder; what was there of them before is gone."""
    pages = {f"man/{name}": text for name, text in (*command_pages(), ("pacsnode.toml.5", configuration_page()))}
    for name in ("man", "completion"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for stale in (folder / name).iterdir():
            stale.unlink()
    for name, text in (pages | {"completion/pacsnode": completion()}).items():
        (folder / name).write_text(text, "utf-8")


def command_pages() -> Iterator[tuple[str, str]]:
    """File name and text of pacsnode(1), then of a page for each of its commands, its verbs included."""
    context = click.Context(program, info_name="pacsnode")
    nouns = [(name, noun) for name in program.list_commands(context) if (noun := program.get_command(context, name))]
    lines = [*_head("pacsnode", 1, _first_sentence(program)), ".SH SYNOPSIS", *_usage(program, context)]
    lines += [".SH DESCRIPTION", *_description(program), *_options(program, context), ".SH COMMANDS"]
    for name, noun in nouns:
        lines += [".TP", rf".BR pacsnode\-{name} (1)", roff(_first_sentence(noun))]
    lines += [".SH FILES", *(line for path, meaning in _FILES for line in _item(path, meaning))]
    yield "pacsnode.1", _text([*lines, *_see_also("pacsnode.toml(5)", "systemctl(1)")])
    for name, noun in nouns:
        yield f"pacsnode-{name}.1", _command_page(noun, click.Context(noun, info_name=name, parent=context))


def configuration_page() -> str:
    """The text of pacsnode.toml(5), made of the reference in Markdown."""
    lines = _head("pacsnode.toml", 5, "the configuration of a pacsnode DICOM archive")
    lines.append(".SH DESCRIPTION")
    _, text = config.reference().replace(_NOT_HERE, "").split("\n", 1)  # the title
    lines += _blocks(MarkdownIt("commonmark").enable("table").parse(text))
    return _text([*lines, *_see_also("pacsnode(1)", "pacsnode-config(1)")])


def completion() -> str:
    """The script for bash, which asks the program itself what may come next."""
    return BashComplete(program, {}, "pacsnode", "_PACSNODE_COMPLETE").source()


def roff(text: str) -> str:
    """Running text as roff: nothing in it is taken for a request or an escape, code between backquotes is bold."""
    safe = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("~", r"\(ti")
    safe = safe.replace("^", r"\(ha")
    lines = (_CODE.sub(r"\\fB\1\\fP", safe)).splitlines()
    return "\n".join(rf"\&{line}" if line.startswith(".") else line for line in lines)


def _command_page(command: click.Command, context: click.Context) -> str:
    lines = [*_head(context.command_path.replace(" ", "-"), 1, _first_sentence(command)), ".SH SYNOPSIS"]
    verbs = [
        (verb, click.Context(verb, info_name=name, parent=context))
        for name in (command.list_commands(context) if isinstance(command, click.Group) else ())
        if isinstance(command, click.Group) and (verb := command.get_command(context, name)) and not verb.hidden
    ]
    for number, (verb, of_verb) in enumerate(verbs or [(command, context)]):
        lines += [*([".br"] if number else []), *_usage(verb, of_verb)]
    lines += [".SH DESCRIPTION", *_description(command), *_options(command, context)]
    lines += [".SH COMMANDS"] if verbs else []
    for verb, of_verb in verbs:
        lines += [rf".SS {roff(of_verb.info_name or '')}", *_description(verb), *_options_in(verb, of_verb)]
    return _text([*lines, *_see_also("pacsnode(1)", "pacsnode.toml(5)")])


def _head(name: str, section: int, what: str) -> list[str]:
    title = rf'.TH "{roff(name.upper())}" "{section}" "{_date()}" "pacsnode {__version__}" "pacsnode"'
    what = what[:1].lower() + what[1:].removesuffix(".")
    return [title, ".SH NAME", rf"{roff(name)} \- {roff(what)}"]


def _date() -> str:
    """The day of the sources, where that is said: the same sources give the same pages."""
    return time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))


def _usage(command: click.Command, context: click.Context) -> list[str]:
    pieces = " ".join(command.collect_usage_pieces(context))
    return [rf"\fB{roff(context.command_path)}\fP {roff(pieces)}"]


def _description(command: click.Command) -> Iterator[str]:
    paragraphs = re.split(r"\n\s*\n", _MARKS.sub("", command.help or "").strip())
    for number, paragraph in enumerate(paragraphs):
        yield from (*([".PP"] if number else []), roff("\n".join(map(str.strip, paragraph.splitlines()))))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    if items := list(_options_in(command, context)):
        yield from (".SH OPTIONS", *items)


def _options_in(command: click.Command, context: click.Context) -> Iterator[str]:
    """An item for each option; a verb's does not repeat those of its noun."""
    noun = context.parent and context.parent.parent and context.parent.command
    at_noun = {option for parameter in (noun.params if noun else ()) for option in parameter.opts} | {"--help"}
    for parameter in command.get_params(context):
        told = noun and at_noun.intersection(parameter.opts)
        if isinstance(parameter, click.Option) and not parameter.hidden and not told:
            yield from _item(*(parameter.get_help_record(context) or ("", "")))


def _item(name: str, meaning: str) -> list[str]:
    return [".TP", rf"\fB{roff(name)}\fP", roff(meaning) or r"\&"]


def _first_sentence(command: click.Command) -> str:
    return (command.help or "").split("\n\n")[0].replace("\n", " ").removeprefix("pacsnode, ").strip()


def _see_also(*pages: str) -> list[str]:
    named = [page.replace("-", r"\-").replace("(", " (") for page in pages]
    return [".SH SEE ALSO", *(f".BR {page}{',' if page != named[-1] else ''}" for page in named)]


def _blocks(tokens: Sequence[Token]) -> Iterator[str]:
    """Headings as sections, paragraphs as they are, each row of a table as an item: key, default, meaning."""
    row: list[str] = []
    between: tuple[str, ...] = ()
    for before, token in pairwise(tokens):
        if token.type == "tr_close" and row[0] != "key":
            key, default, meaning = row
            yield from (".TP", roff(f"{key} = {default}" if "`" in default else f"{key} ({default})"), roff(meaning))
        elif token.type == "tr_open":
            row = []
        elif token.type == "inline" and before.type in ("td_open", "th_open"):
            row.append(token.content)
        elif token.type == "inline" and before.type == "heading_open":
            between = ()
            yield f'.SH "{roff(token.content.strip("`"))}"'
        elif token.type == "inline":
            yield from (*between, roff(token.content))
            between = (".PP",)


def _text(lines: Sequence[str]) -> str:
    return "\n".join([r".\" Made by packaging/manual.py from the program itself.", *lines]) + "\n"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
