"""``pacsnode init``: the configuration of a new node."""

from __future__ import annotations

from pathlib import Path

import click

from pacsnode import config
from pacsnode.cli import console
from pacsnode.cli.command import Command
from pacsnode.errors import ConfigError


@click.command("init", cls=Command)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--ae-title", metavar="T", default="PACSNODE", show_default=True, help="Our AE title.")
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:11112", show_default=True, help="Where to listen.")
def command(folder: Path, ae_title: str, listen: str) -> int:
    """Write the configuration of a new node.

    DIR/pacsnode.toml keeps the data below DIR. A file that is there is never overwritten.
    """
    try:
        node = config.new_node(ae_title=ae_title, listen=listen, data="data")
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    path = folder / "pacsnode.toml"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(config.beginning(node))
    except FileExistsError as error:
        raise click.ClickException(f"{path} is there already and stays as it is; choose another folder") from error
    console.print_line(f"wrote {path}; run: pacsnode serve --config {path}")
    return console.Exit.OK
