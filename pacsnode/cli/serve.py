"""``pacsnode serve``."""

from __future__ import annotations

import click

from pacsnode import app, log
from pacsnode.cli import console
from pacsnode.cli.command import Command, load_config


@click.command("serve", cls=Command)
def command() -> int:
    """Run the node in the foreground.

    Logs event=ready with the addresses once it listens. SIGTERM ends it after the associations at hand.
    """
    config = load_config()
    log.start(config.log.level)
    app.serve(config)
    return console.Exit.OK
