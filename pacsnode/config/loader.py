"""Finds and reads the configuration file, and explains every mistake in one line."""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pacsnode.config.table import Table
from pacsnode.config.tables import Config, Node, PeerEntry
from pacsnode.errors import ConfigError

SYSTEM_FILE = Path("/etc/pacsnode/pacsnode.toml")
ENVIRONMENT_VARIABLE = "PACSNODE_CONFIG"

_CREDENTIAL = "credential:"
_Table = TypeVar("_Table", bound=Table)
_MAX_SHOWN_CHARACTERS = 60
_TABLES_OF_TABLES = frozenset({"peers", "jobs"})
_COMPLAINTS = {
    "missing": "missing; this key has to be there",
    "string_type": "not a text; a text in quotes",
    "int_type": "not a whole number; a number without quotes",
    "bool_type": "not a yes or no; true or false, without quotes",
    "tuple_type": 'not a list; a list such as ["A", "B"]',
    "frozen_set_type": 'not a list; a list such as ["A", "B"]',
    "too_short": "an empty list; at least {min_length} value",
    "path_type": "not a path; a text in quotes",
    "model_type": "not a table; a table of keys and values",
    "model_attributes_type": "not a table; a table of keys and values",
    "dict_type": "not a table; a table of keys and values",
    "enum": "not among the choices; {expected}",
    "literal_error": "not among the choices; {expected}",
    "greater_than_equal": "too small; {ge} or more",
    "less_than_equal": "too large; up to {le}",
}


def locate(option: Path | None, environment: Mapping[str, str], *, system_file: Path = SYSTEM_FILE) -> Path | None:
    """The file to load: the option's, else ``$PACSNODE_CONFIG``'s, else the system's where there is one."""
    if option is not None:
        return option
    if named := environment.get(ENVIRONMENT_VARIABLE):
        return Path(named)
    return system_file if system_file.exists() else None


def load(path: Path | None) -> Config:
    """The configuration of a file, or the embedded one with its data in ./var. Paths come out absolute.

    Raises ConfigError with a line for each mistake: file, table, key, value, what is wrong; what is allowed.
    """
    if path is None:
        return _with_paths(Config(), Path("var").absolute(), Path())
    tables = _read(path)
    try:
        config = Config.model_validate_json(tables)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {_explain(mistake)}" for mistake in error.errors())) from error
    folder = path.absolute().parent
    return _with_paths(config, folder / config.node.data, folder)


def new_node(*, ae_title: str, listen: str, data: str) -> Node:
    """The [node] table of a node to be. Raises ConfigError as ``load`` does, without a file's name."""
    try:
        return Node.model_validate_json(json.dumps({"ae_title": ae_title, "listen": listen, "data": data}))
    except ValidationError as error:
        raise ConfigError("\n".join(map(_explain, error.errors()))) from error


def _with_paths(config: Config, data: Path, folder: Path) -> Config:
    """The data folder, and the files of TLS, of users, of the backup and of the audit's collector where relative paths
    start at ``folder``."""
    backup = _with_files(config.jobs.backup, folder, ("key_file", "credentials_file"))
    return config.model_copy(
        update={
            "node": config.node.model_copy(update={"data": data}),
            "tls": _with_files(config.tls, folder, ("certificate", "key", "client_ca", "peer_ca")),
            "access": _with_files(config.access, folder, ("users_file", "token_key")),
            "jobs": config.jobs.model_copy(update={"backup": backup}),
            "audit": _with_files(config.audit, folder, ("syslog_ca", "syslog_certificate", "syslog_key")),
        }
    )


def _with_files(table: _Table, folder: Path, keys: Sequence[str]) -> _Table:
    named = {key: getattr(table, key) for key in keys}
    return table.model_copy(update={key: str(_file(folder, name)) for key, name in named.items() if name})


def _file(folder: Path, name: str) -> Path:
    if name.startswith(_CREDENTIAL):
        # systemd.exec(5): what commands beside the service cannot see, they need not read either.
        handed_over = os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials/pacsnode.service")
        return Path(handed_over) / name.removeprefix(_CREDENTIAL)
    return folder / name


def _read(path: Path) -> str:
    """The tables as JSON: there a list may become a tuple and a string an enum, and all else stays strict."""
    try:
        return json.dumps(tomllib.loads(path.read_text("utf-8")), default=_unwanted)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; name a readable file by --config") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; TOML is UTF-8 text") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: tables or lists nested too deep; no key takes such") from error
    except ValueError as error:  # its own error, or that of a number with thousands of digits
        raise ConfigError(f"{path}: not TOML: {_plain(str(error))}; correct the syntax there") from error


def _unwanted(moment: object) -> dict[str, str]:
    """TOML's dates and times, which no key takes, as something that no key takes in JSON either."""
    return {"date or time": str(moment)}


def _explain(mistake: ErrorDetails) -> str:
    """``[table] key = value: what is wrong; what is allowed``."""
    path = [_plain(step) for step in mistake["loc"] if isinstance(step, str)]
    depth = 2 if len(path) > 2 and path[0] in _TABLES_OF_TABLES else 1
    table, key, value = ".".join(path[:depth]), path[depth : depth + 1], mistake["input"]
    if key and mistake["type"] != "missing":
        where = f"[{table}] {key[0]} = {_shown(value)}: "
    elif key:
        where = f"[{table}] {key[0]}: "
    elif table:
        where = f"[{table}]: " if isinstance(value, dict) else f"{table} = {_shown(value)}: "
    else:
        where = ""
    return where + _complaint(mistake, table, path)


def _complaint(mistake: ErrorDetails, table: str, path: list[str]) -> str:
    context = mistake.get("ctx", {})
    kind = mistake["type"]
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        return _unknown(table if len(path) > 1 else "", path[-1])
    complaint = _COMPLAINTS.get(kind, mistake["msg"].lower() + "; see docs/configuration.md")
    return complaint.format_map(context)


def _unknown(table: str, key: str) -> str:
    known = _keys(table)
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"unknown {'key' if table else 'table'}; {hint}known here are {', '.join(known)}"


def _keys(table: str) -> list[str]:
    if not table:
        return [field.alias or name for name, field in Config.model_fields.items()]
    model: Any = PeerEntry if table.startswith("peers.") else Config
    for step in table.split(".") if model is Config else ():
        model = model.model_fields[step].annotation
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, Table) else []


def _shown(value: object) -> str:
    text = _plain(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else text[:_MAX_SHOWN_CHARACTERS] + "…"


def _plain(text: str) -> str:
    """The text without line breaks and whatever else a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)
