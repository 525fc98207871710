"""``pacsnode user``: who may prove by a passcode who he is (PS3.7 D.3.3.7)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pacsnode.cli import console, files
from pacsnode.cli.command import Group, json_option, load_config
from pacsnode.errors import ConfigError
from pacsnode.security import users

_LEAST_CHARACTERS = 8


@click.group("user", cls=Group)
def command() -> None:
    """Add, remove and list the users of passcodes."""


@command.command()
@click.argument("name")
@click.option("--passcode-stdin", is_flag=True, help="Read the passcode from the first line of stdin.")
def add(name: str, passcode_stdin: bool) -> int:
    """Add a user, or give one that is there another passcode. It counts from the next association on."""
    path = _file()
    if wrong := users.wrong_name(name):
        raise click.UsageError(f"{name}: {wrong}")
    passcode = sys.stdin.readline().rstrip("\n") if passcode_stdin else _asked()
    if not _LEAST_CHARACTERS <= len(passcode.encode()) <= users.MAX_PASSCODE_BYTES:
        raise click.UsageError(f"a passcode has {_LEAST_CHARACTERS} characters or more, and no more than 1024 bytes")
    known = users.read(str(path)) if path.exists() else {}
    files.replace(path, users.text({**known, name: users.hash_of(passcode)}))
    console.print_line(f"{name}: {'another passcode' if name in known else 'added'}")
    return console.Exit.OK


@command.command()
@click.argument("name")
def remove(name: str) -> int:
    """Remove a user; associations that are open go on."""
    path = _file()
    known = users.read(str(path))
    if name not in known:
        raise click.UsageError(f"there is no user {name}; see: pacsnode user list")
    files.replace(path, users.text({other: hashed for other, hashed in known.items() if other != name}))
    console.print_line(f"{name}: removed")
    return console.Exit.OK


@command.command("list")
@json_option
def list_users(as_json: bool) -> int:
    """List the names of the users."""
    path = _file()
    names = sorted(users.read(str(path))) if path.exists() else []
    if as_json:
        console.print_json(names)
    else:
        for name in names:
            console.print_line(name)
    return console.Exit.OK


def _file() -> Path:
    named = load_config().access.users_file
    if not named:
        raise ConfigError("[access] users_file: missing; it names the file that users are kept in")
    return Path(named)


def _asked() -> str:
    answer: str = click.prompt("Passcode", hide_input=True, confirmation_prompt=True)
    return answer
