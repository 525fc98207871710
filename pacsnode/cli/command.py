"""What all commands have in common: ``--config`` before or after the command's name, and nouns loaded when named."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pacsnode.cli import console

if TYPE_CHECKING:
    from pacsnode.config import Config

_CONFIG_OPTION = f"{__name__}.config"


def _remember(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.meta[_CONFIG_OPTION] = value  # shared by the contexts of all levels; the innermost comes last


def config_option() -> click.Option:
    """``--config FILE``, of which ``config_file`` tells the value."""
    return click.Option(
        ["--config"],
        type=click.Path(path_type=Path),
        metavar="FILE",
        expose_value=False,
        callback=_remember,
        help="The configuration file; else $PACSNODE_CONFIG, else /etc/pacsnode/pacsnode.toml, else the defaults.",
    )


class Command(click.Command):
    """A command that takes ``--config`` and returns its exit code."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.params.append(config_option())


class Group(click.Group):
    """A noun with verbs."""

    command_class = Command

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.params.append(config_option())


class Nouns(Group):
    """The program. Its commands are loaded when they are used, so that ``--help`` does not wait for them all."""

    def __init__(self, *arguments: Any, nouns: Mapping[str, str] | None = None, **named: Any) -> None:
        """``nouns``: what each command is about, by its name; it is ``command`` in the module of that name."""
        super().__init__(*arguments, **named)
        self._nouns = dict(nouns or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in the order of the help."""
        return list(self._nouns)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, loaded now."""
        if cmd_name not in self._nouns:
            return None
        module = importlib.import_module(f"pacsnode.cli.{'import_' if cmd_name == 'import' else cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._nouns.items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line, and exit with its code: the outermost loop of the process."""
        code = console.Exit.OK
        try:
            returned = super().main(args, prog_name or "pacsnode", complete_var, standalone_mode=False, **extra)
            code = console.Exit(returned or console.Exit.OK)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = console.Exit.USAGE
        except console.EXPECTED_ERRORS as error:
            console.report(error)
            code = console.exit_code(error)
        sys.exit(code)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def load_config() -> Config:
    """The configuration of this invocation. Raises ConfigError."""
    from pacsnode import config  # pydantic takes its time, which `--help` need not wait for

    return config.load(config_file())


def config_file() -> Path | None:
    """The file that the configuration of this invocation comes from; None is the embedded one."""
    from pacsnode import config  # as above

    return config.locate(click.get_current_context().meta.get(_CONFIG_OPTION), os.environ)
