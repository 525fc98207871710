"""``pacsnode reload``."""

from __future__ import annotations

import click

from pacsnode.cli import console
from pacsnode.cli.command import Command, load_config
from pacsnode.config import Config
from pacsnode.errors import ConfigError
from pacsnode.service import control

_SECONDS = 60.0


@click.command("reload", cls=Command)
def command() -> int:
    """Have the running node read its configuration anew.

    Tells what changed. No association is dropped: those that are open keep the rules they began under. A configuration
    with a mistake, or with a change that needs a restart, is refused with exit code 78, and the old one stays.
    """
    changed = reload(load_config())
    console.print_line(f"read anew; changed: {', '.join(changed) or 'nothing'}")
    return console.Exit.OK


def reload(config: Config) -> list[str]:
    """Have the node of this configuration read it anew: the keys that changed. Raises ConfigError where it refuses."""
    answer = control.ask(config.node.data, "reload", seconds=_SECONDS)
    if answer is None:
        raise click.ClickException(f"no node runs on {config.node.data}; start it by: pacsnode serve")
    if "error" in answer:
        raise ConfigError(str(answer["error"]))
    changed = answer["changed"]
    return [str(key) for key in changed] if isinstance(changed, list) else []
