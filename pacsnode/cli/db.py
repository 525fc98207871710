"""``pacsnode db``: the index's database."""

from __future__ import annotations

import click

from pacsnode import app
from pacsnode.cli import console
from pacsnode.cli.command import Group, load_config


@click.group("db", cls=Group)
def command() -> None:
    """Look after the index's database."""


@command.command()
def upgrade() -> int:
    """Bring the index to the schema of this version. The node must not run."""
    steps = app.upgrade(load_config())
    for step in steps or ["the index is up to date"]:
        console.print_line(step)
    return console.Exit.OK
