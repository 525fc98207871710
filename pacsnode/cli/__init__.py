"""The command line. Door: the click group ``main``; a file per noun, each with its ``command``."""

import click

from pacsnode import __version__
from pacsnode.cli.command import Nouns
from pacsnode.service import privacy

_NOUNS = {
    "serve": "Run the node in the foreground.",
    "init": "Write the configuration of a new node.",
    "config": "Check, show and explain the configuration.",
    "status": "Tell what is stored and what goes on.",
    "peer": "List, test and ask the configured peers.",
    "import": "Store files, folders and zips.",
    "study": "List, show and export studies.",
    "verify": "Check what is stored: digests, structure, index.",
    "reindex": "Build the index anew from the objects alone.",
    "conformance": "Write the DICOM conformance statement.",
    "selftest": "Prove the conformance statement over real associations.",
    "db": "Look after the index's database.",
}


@click.group("pacsnode", cls=Nouns, nouns=_NOUNS)
@click.version_option(__version__, prog_name="pacsnode", message="%(prog)s %(version)s")
def main() -> None:
    """pacsnode, a DICOM archive node.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 finished with findings, 75 try again later, 78 configuration.
    """
    privacy.keep_private()
