"""``pacsnode peer pending`` and ``approve``: AE titles that called and are no peers, and how they become some."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from pacsnode import config
from pacsnode.cli import console, files
from pacsnode.cli.command import Command, config_file, json_option, load_config
from pacsnode.cli.reload import reload
from pacsnode.config import Config, Right
from pacsnode.errors import ConfigError
from pacsnode.service import control

_COLUMNS = ("id", "ae_title", "address", "tls", "certificate", "first_seen", "last_seen", "count")
_Row = dict[str, object]


@click.command("pending", cls=Command)
@json_option
def pending(as_json: bool) -> int:
    """List the AE titles that the running node has rejected because they are no peers."""
    rows = _pending(load_config())
    if as_json:
        console.print_json(rows)
    else:
        headings = [column.replace("_", " ").upper() for column in _COLUMNS]
        console.print_table(headings, [[_cell(row.get(column)) for column in _COLUMNS] for row in rows])
    return console.Exit.OK


@click.command("approve", cls=Command)
@click.argument("who", metavar="AE|ID")
@click.option("--name", help="What to call it, instead of its AE title.")
@click.option("--port", type=click.IntRange(1, 65535), default=104, show_default=True, help="Where it listens.")
@click.option("--allow", multiple=True, type=click.Choice(get_args(Right)), help="What it may do; by default all.")
@click.option("--dry-run", is_flag=True, help="Print the table, change nothing.")
def approve(who: str, name: str | None, port: int, allow: tuple[str, ...], dry_run: bool) -> int:
    """Make a peer of an AE title that was rejected: a table in the configuration, which the node then reads anew.

    The peer is bound to the address that it called from, and to its certificate where it showed one.
    """
    current = load_config()
    table = _table(_chosen(_pending(current), who), name, port, allow)
    if dry_run:
        click.echo(table, nl=False)
        return console.Exit.OK
    _append(config_file(), table)
    click.echo(table, nl=False)
    try:
        reload(current)
    except ConfigError as error:
        raise ConfigError(f"written to the configuration, but not in effect yet: {error}") from error
    console.print_line("written to the configuration and in effect")
    return console.Exit.OK


def _pending(current: Config) -> list[_Row]:
    answer = control.ask(current.node.data, "pending")
    if answer is None:
        raise click.ClickException(f"no node runs on {current.node.data}; it alone knows who called")
    if "error" in answer:
        raise click.ClickException(str(answer["error"]))
    rows = answer["pending"]
    return list(rows) if isinstance(rows, list) else []


def _chosen(rows: list[_Row], who: str) -> _Row:
    found = [row for row in rows if who in (row["id"], row["ae_title"])]
    if not found:
        raise click.UsageError(f"{who} is not waiting for approval; see: pacsnode peer pending")
    if len(found) > 1:
        ids = ", ".join(f"{row['id']} ({row['address']})" for row in found)
        raise click.UsageError(f"{who} called from several addresses; name one by its ID: {ids}")
    return found[0]


def _table(row: _Row, name: str | None, port: int, allow: tuple[str, ...]) -> str:
    address, title = str(row["address"]).partition("%")[0], str(row["ae_title"])
    values: dict[str, object] = {"ae_title": title, "host": address, "port": port, "addresses": [address]}
    if allow:
        values["allow"] = list(allow)
    if row["tls"]:
        values["require_tls"] = True
    if row["certificate"]:
        values["certificates"] = [row["certificate"]]
    return config.peer_table(name or title, values)


def _append(path: Path | None, table: str) -> None:
    if path is None:
        raise click.ClickException(f"there is no configuration file to write to; put this into one:\n{table}")
    try:
        text = path.read_text("utf-8")
        files.replace(path, f"{text.rstrip()}\n\n{table}", config.load)
    except ConfigError as error:
        raise ConfigError(f"{path} stays as it is, for with this peer there would be a mistake: {error}") from error
    except OSError as error:
        why = f"cannot write {path}: {error.strerror}"
        raise click.ClickException(f"{why}; append this to it, then run pacsnode reload:\n{table}") from error


def _cell(value: object) -> object:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value or "none"
