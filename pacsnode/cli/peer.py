"""``pacsnode peer``: the configured peers, whether they answer, what they commit to, and who is to become one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import click

from pacsnode import app
from pacsnode.cli import approval, console, study
from pacsnode.cli.command import Group, json_option, load_config
from pacsnode.config import Config
from pacsnode.model import Inquiry, Peer, Probe, Reference, Uid


@click.group("peer", cls=Group)
def command() -> None:
    """List, test and ask the configured peers; approve new ones."""


command.add_command(approval.pending)
command.add_command(approval.approve)


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
    peer = _peer(config, name)
    found = app.probe(config, peer)
    if as_json:
        console.print_json({"name": name, **dataclasses.asdict(found)})
        return console.Exit.OK
    console.print_line(f"{name}: associated in {found.associate_ms} ms, C-ECHO in {_times(found)} ms")
    console.print_table(("ACCEPTS", "TRANSFER SYNTAXES"), [(uid, " ".join(s)) for uid, s in found.accepted.items()])
    console.print_line(f"refuses: {' '.join(found.refused) or 'nothing that was asked'}")
    return console.Exit.OK


@command.command()
@click.argument("name")
@click.option("--study", "study_uid", metavar="UID", required=True, help="The study whose instances are asked about.")
@json_option
def commit(name: str, study_uid: str, as_json: bool) -> int:
    """Ask a peer to take responsibility for a study that was sent to it (storage commitment).

    Exit code 3 when it does not for some instance, 75 when it has not said so for all in same_association_wait: its
    report then comes to the running node; see: pacsnode peer inquiry.
    """
    config = load_config()
    peer = _peer(config, name)
    with app.open_archive(config, read_only=True) as archive:
        headers = [instance.header for instance in study.instances_of(archive, study_uid)]
    references = [Reference(header.sop_class_uid, header.sop_instance_uid) for header in headers]
    return _show(list(app.inquire(config, peer, references)), as_json=as_json)


@command.command()
@click.argument("uid", metavar="UID")
@json_option
def inquiry(uid: str, as_json: bool) -> int:
    """Show what a peer has said so far of a request for storage commitment, by its Transaction UID."""
    found = app.kept_inquiry(load_config(), Uid(uid))
    if found is None:
        raise click.ClickException(f"nothing was asked under the Transaction UID {uid}; see: pacsnode peer commit")
    return _show([found], as_json=as_json)


def _show(inquiries: Sequence[Inquiry], *, as_json: bool) -> int:
    """Print what became of each instance: the exit code."""
    failed, unanswered = sum(one.failed for one in inquiries), sum(one.unanswered for one in inquiries)
    if as_json:
        console.print_json([_inquiry(one) for one in inquiries])
    else:
        console.print_table(("INSTANCE", "OUTCOME"), [row for one in inquiries for row in _outcomes(one)])
        committed = sum(one.committed for one in inquiries)
        console.print_line(f"{committed} committed, {failed} failed, {unanswered} not told yet")
        for one in inquiries:
            if one.refusal is not None:
                console.print_line(f"{one.transaction_uid} was refused with status {one.refusal:04X}H")
            elif one.unanswered:
                console.print_line(
                    f"the report comes to the running node; look later by: pacsnode peer inquiry {one.transaction_uid}"
                )
    if failed or any(one.refusal is not None for one in inquiries):
        return console.Exit.FINDINGS
    return console.Exit.TRY_AGAIN if unanswered else console.Exit.OK


def _outcomes(inquiry: Inquiry) -> Iterable[tuple[str, str]]:
    for reference, reason in zip(inquiry.references, inquiry.reasons, strict=True):
        outcome = "not told yet" if reason is None else f"failed with {reason:04X}H" if reason else "committed"
        yield reference.sop_instance_uid, outcome


def _inquiry(inquiry: Inquiry) -> dict[str, object]:
    return {
        "transaction_uid": inquiry.transaction_uid,
        "peer": inquiry.called_ae,
        "refusal": None if inquiry.refusal is None else f"{inquiry.refusal:04X}",
        "committed": inquiry.committed,
        "failed": inquiry.failed,
        "unanswered": inquiry.unanswered,
        "instances": [{"uid": uid, "outcome": outcome} for uid, outcome in _outcomes(inquiry)],
    }


def _peer(config: Config, name: str) -> Peer:
    """Raises UsageError where there is none of this name."""
    peer = config.peers.get(name)
    if peer is None:
        known = ", ".join(config.peers) or "none"
        raise click.UsageError(f"there is no peer {name}; configured are: {known}")
    return peer


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
