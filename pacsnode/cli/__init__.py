"""The command line. Door: the click group ``main``; a file per noun, each with its ``command``."""

import click

from pacsnode import __version__
from pacsnode.cli.command import Nouns
from pacsnode.service import privacy

_NOUNS = {
    "serve": "Run the node in the foreground.",
    "reload": "Have the running node read its configuration anew.",
    "init": "Write the configuration of a new node.",
    "config": "Check, show and explain the configuration.",
    "status": "Tell what is stored and what goes on.",
    "doctor": "Tell what is unsafe or broken, with the remedy.",
    "peer": "List, test and ask the configured peers; approve new ones.",
    "user": "Add, remove and list the users of passcodes.",
    "tls": "Make a small CA and certificates.",
    "import": "Store files, folders and zips.",
    "study": "List, show, export and delete studies.",
    "verify": "Check what is stored: digests, structure, index.",
    "quarantine": "List, show, release and drop what was set aside.",
    "job": "List and run jobs, which a node does by itself.",
    "backup": "Copy what is stored to another place, and bring it back.",
    "audit": "Check and show the audit trail.",
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
