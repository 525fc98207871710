"""``pacsnode conformance``."""

from __future__ import annotations

from pathlib import Path

import click

from pacsnode.cli import console
from pacsnode.cli.command import Command, load_config


@click.command("conformance", cls=Command)
@click.option(
    "--format", "form", type=click.Choice(["markdown", "md", "html"]), default="markdown", help="md is markdown."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write it there.")
def command(form: str, output: Path | None) -> int:
    """Write the DICOM conformance statement.

    It is that of this very configuration, made from the tables the program works with.
    """
    from pacsnode.conformance import claims, statement  # pynetdicom takes half a second, which --help need not wait for

    text = statement.markdown(claims.claims_of(load_config()))
    if form == "html":
        from pacsnode.conformance import page

        text = page.html(text)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, "utf-8")
    return console.Exit.OK
