"""``pacsnode peer``: the configured peers, and whether they answer."""

from __future__ import annotations

import dataclasses

import click

from pacsnode import app
from pacsnode.cli import console
from pacsnode.cli.command import Group, json_option, load_config
from pacsnode.model import Peer, Probe


@click.group("peer", cls=Group)
def command() -> None:
    """List and test the configured peers."""


@command.command("list")
@json_option
def list_peers(as_json: bool) -> int:
    """List the peers, where they are and what they may do here."""
    peers = load_config().peers.values()
    if as_json:
        console.print_json([_row(peer) for peer in peers])
    else:
        rows = [(peer.name, peer.ae_title, _address(peer), " ".join(sorted(peer.allow))) for peer in peers]
        console.print_table(("NAME", "AE TITLE", "ADDRESS", "MAY"), rows)
    return console.Exit.OK


@command.command("test")
@click.argument("name")
@json_option
def test_peer(name: str, as_json: bool) -> int:
    """Associate with a peer, echo, and tell what it accepts of us."""
    config = load_config()
    peer = config.peers.get(name)
    if peer is None:
        known = ", ".join(config.peers) or "none"
        raise click.UsageError(f"there is no peer {name}; configured are: {known}")
    found = app.probe(config, peer)
    if as_json:
        console.print_json({"name": name, **dataclasses.asdict(found)})
        return console.Exit.OK
    console.print_line(f"{name}: associated in {found.associate_ms} ms, C-ECHO in {_times(found)} ms")
    console.print_table(("ACCEPTS", "TRANSFER SYNTAXES"), [(uid, " ".join(s)) for uid, s in found.accepted.items()])
    console.print_line(f"refuses: {' '.join(found.refused) or 'nothing that was asked'}")
    return console.Exit.OK


def _times(found: Probe) -> str:
    return ", ".join(map(str, found.echo_ms))


def _address(peer: Peer) -> str:
    return f"{peer.host}:{peer.port}{' (TLS)' if peer.tls else ''}"


def _row(peer: Peer) -> dict[str, object]:
    return {
        "name": peer.name,
        "ae_title": peer.ae_title,
        "host": peer.host,
        "port": peer.port,
        "tls": peer.tls,
        "allow": sorted(peer.allow),
    }
