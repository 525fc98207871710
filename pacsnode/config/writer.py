"""Writes configurations down: as TOML, as the sample that explains every key, and as the reference in Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pacsnode.config.jobs import Jobs
from pacsnode.config.table import Table
from pacsnode.config.tables import (
    Access,
    Audit,
    Commitment,
    Config,
    Find,
    Limits,
    Log,
    Metrics,
    Node,
    PeerEntry,
    Storage,
    Tls,
)

_TABLES: tuple[tuple[str, type[Table]], ...] = (
    ("node", Node),
    ("access", Access),
    ("peers.WORKSTATION1", PeerEntry),
    ("storage", Storage),
    ("tls", Tls),
    ("limits", Limits),
    ("find", Find),
    ("commitment", Commitment),
    ("jobs", Jobs),
    *((f"jobs.{name}", type(table)) for name, table in Jobs().tables.items()),
    ("audit", Audit),
    ("log", Log),
    ("metrics", Metrics),
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_INTRODUCTION = """\
Sizes are written "4 GiB" or "10 kB" (units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB), times "30 s" or "10 min"
(units ms, s, min, h, d), rates "10 kB/s"."""


def toml(config: Config) -> str:
    """The whole configuration as TOML that loads to the same."""
    lines: list[str] = []
    for name, values in config.model_dump(mode="json", by_alias=True).items():
        inner = {f"{name}.{_key(key)}": value for key, value in values.items() if isinstance(value, dict)}
        own = {key: value for key, value in values.items() if not isinstance(value, dict)}
        for table, content in ({name: own} | inner if own else inner).items():
            lines += [f"[{table}]", *_assignments(content), ""]
    return "\n".join(lines)


def peer_table(name: str, values: Mapping[str, object]) -> str:
    """A table of a peer with these keys, to be appended to a file."""
    return "\n".join([f"[peers.{_key(name)}]", *_assignments(values), ""])


def sample() -> str:
    """The sample file: every key with its default and what it means. Its peer is an example, and a comment."""
    lines = ["# The configuration of pacsnode: every key with its default.", *_comment(_INTRODUCTION), ""]
    for name, model in _TABLES:
        hidden = "# " if model is PeerEntry else ""
        lines += [*_comment(model.__doc__ or ""), f"{hidden}[{name}]"]
        for key, value in _defaults(model).items():
            lines += [f"{hidden}# {_meaning(model, key)}", f"{hidden}{key} = {_value(value)}"]
        lines.append("")
    return "\n".join(lines)


def beginning(node: Node) -> str:
    """A short file for a new node: its [node] table; all else is a comment that shows the defaults."""
    lines = ["# The configuration of this node. `pacsnode config sample` explains every key.", "", "[node]"]
    lines += [*_assignments(node.model_dump(mode="json", exclude_unset=True)), ""]
    lines += ["# What follows are the defaults. To change one, write its table and key without the #.", ""]
    for name, model in _TABLES[1:]:
        lines += [f"# [{name}]", *(f"# {line}" for line in _assignments(_defaults(model))), ""]
    return "\n".join(lines)


def reference() -> str:
    """The reference of all keys, as the text of docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "pacsnode reads the one TOML file named by `--config FILE`, else by `$PACSNODE_CONFIG`, else",
        "`/etc/pacsnode/pacsnode.toml`; without any it runs on these defaults, with its data in `./var`.",
        "`pacsnode config check` explains mistakes, `config show` prints what is in effect, `config sample` prints a",
        "file with every key, and `config schema` a JSON Schema for editors. An unknown key or a wrong value ends the",
        "program with exit code 78.",
        "",
        *_INTRODUCTION.splitlines(),
        "",
        "This page is the output of `pacsnode config reference`.",
        "",
    ]
    for name, model in _TABLES:
        title = "[peers.NAME]" if model is PeerEntry else f"[{name}]"
        lines += [f"## `{title}`", "", model.__doc__ or "", "", "| key | default | meaning |", "|---|---|---|"]
        lines += [*_rows(model), ""]
    return "\n".join(lines)


def schema() -> dict[str, Any]:
    """The JSON Schema of a file. Defaults are as a file says them, not the bytes and seconds we work with."""
    whole: dict[str, Any] = Config.model_json_schema()
    tables = [(whole["$defs"][model.__name__], _defaults(model)) for _, model in _TABLES]
    tables.append((whole, Config().model_dump(mode="json", by_alias=True)))
    for table, defaults in tables:
        for key, field in table["properties"].items():
            if "default" in field and key in defaults:
                field["default"] = defaults[key] if field["default"] is not None else None
    return whole


def _rows(model: type[Table]) -> Iterator[str]:
    defaults = _defaults(model)
    for key in defaults:
        field = model.model_fields[key]
        default = "the table's name" if field.default is None else f"`{_value(defaults[key])}`"
        default = "required" if field.is_required() else default
        yield f"| `{key}` | {default} | {_meaning(model, key)} |"


def _meaning(model: type[Table], key: str) -> str:
    return model.model_fields[key].description or ""


def _defaults(model: type[Table]) -> dict[str, object]:
    """The default of each key of the table, but not of the tables within it."""
    defaults = PeerEntry(ae_title="WS1", host="10.0.0.5", port=11112) if model is PeerEntry else model()
    return {key: value for key, value in defaults.model_dump(mode="json").items() if not isinstance(value, dict)}


def _assignments(values: Mapping[str, object]) -> Iterator[str]:
    return (f"{_key(key)} = {_value(value)}" for key, value in values.items() if value is not None)


def _comment(text: str) -> Iterator[str]:
    return (f"# {line}" for line in text.splitlines())


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _value(key)


def _value(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    # JSON's strings, numbers and booleans are TOML's, but for the one control character that JSON does not escape.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
