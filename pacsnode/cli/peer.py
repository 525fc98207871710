"""``pacsnode peer``: the configured peers."""

from __future__ import annotations

import click

from pacsnode.cli import console
from pacsnode.cli.command import Group, json_option, load_config
from pacsnode.model import Peer


@click.group("peer", cls=Group)
def command() -> None:
    """List the configured peers."""


@command.command("list")
@json_option
def list_peers(as_json: bool) -> int:
    """List the peers, where they are and what they may do here."""
    peers = load_config().peers.values()
    if as_json:
        console.print_json([_row(peer) for peer in peers])
    else:
        rows = [(peer.name, peer.ae_title, f"{peer.host}:{peer.port}", " ".join(sorted(peer.allow))) for peer in peers]
        console.print_table(("NAME", "AE TITLE", "ADDRESS", "MAY"), rows)
    return console.Exit.OK


def _row(peer: Peer) -> dict[str, object]:
    return {
        "name": peer.name,
        "ae_title": peer.ae_title,
        "host": peer.host,
        "port": peer.port,
        "allow": sorted(peer.allow),
    }
