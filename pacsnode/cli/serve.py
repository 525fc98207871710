"""``pacsnode serve``."""

from __future__ import annotations

from functools import partial

import click

from pacsnode import app, config, log
from pacsnode.cli import console
from pacsnode.cli.command import Command, config_file


@click.command("serve", cls=Command)
def command() -> int:
    """Run the node in the foreground.

    Logs event=ready with the addresses once it listens. SIGHUP makes it read its configuration anew, SIGTERM ends it
    after the associations at hand.
    """
    file = config_file()
    path = file and file.absolute()
    read = partial(config.load, path)
    begun = read()
    log.start(begun.log.level)
    app.serve(begun, read)
    return console.Exit.OK
