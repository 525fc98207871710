"""``pacsnode config``: check, show, schema, sample, reference."""

from __future__ import annotations

import click

from pacsnode import app, config
from pacsnode.cli import console
from pacsnode.cli.command import Group, config_file, json_option, load_config


@click.group("config", cls=Group)
def command() -> None:
    """Check, show and explain the configuration."""


@command.command()
def check() -> int:
    """Say whether the configuration is right; a line for each mistake otherwise, and for what has no effect."""
    checked = load_config()
    app.check_certificates(checked)
    for note in config.notes(checked):
        click.echo(f"pacsnode: note: {note}", err=True)
    console.print_line(f"{config_file() or 'the embedded configuration'}: ok")
    return console.Exit.OK


@command.command()
@json_option
def show(as_json: bool) -> int:
    """Print the configuration in effect, defaults included."""
    in_effect = load_config()
    if as_json:
        console.print_json(in_effect.model_dump(mode="json", by_alias=True))
    else:
        click.echo(config.toml(in_effect), nl=False)
    return console.Exit.OK


@command.command()
def schema() -> int:
    """Print the JSON Schema of the file, for editors."""
    console.print_json(config.schema())
    return console.Exit.OK


@command.command()
def sample() -> int:
    """Print a file with every key, its default and what it means."""
    click.echo(config.sample(), nl=False)
    return console.Exit.OK


@command.command()
def reference() -> int:
    """Print the reference of all keys in Markdown."""
    click.echo(config.reference(), nl=False)
    return console.Exit.OK
