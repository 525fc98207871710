"""``pacsnode tls``: certificates for a first set-up."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import click

from pacsnode import app
from pacsnode.cli import console, files
from pacsnode.cli.command import Group, config_file, load_config
from pacsnode.config import Config
from pacsnode.security import authority, certificates
from pacsnode.security.authority import Credentials

_OPEN_MODE, _SECRET_MODE, _FOLDER_MODE = 0o640, 0o600, 0o750
_NODE, _AUTHORITY = "node", "ca"

_folder_option = click.option(
    "--dir", "folder", type=click.Path(path_type=Path, file_okay=False), help="By default tls beside the configuration."
)
_host_option = click.option("--host", "hosts", multiple=True, help="Name or address it is known by; may be repeated.")


@click.group("tls", cls=Group)
def command() -> None:
    """Make a small CA and certificates."""


@command.command()
@_folder_option
@_host_option
def init(folder: Path | None, hosts: tuple[str, ...]) -> int:
    """Make a CA, the certificate of this node, and one for each configured peer; print what to write where.

    What is there is never overwritten. Whoever has ca.key can make certificates: keep it away from the network.
    """
    config, folder = load_config(), folder or _default_folder()
    now = app.system_clock()
    ca = authority.make(now)
    made = {_AUTHORITY: ca, _NODE: authority.issue(ca, config.node.ae_title, hosts or _names_of(config), now)}
    made |= {name: authority.issue(ca, name, [peer.host], now) for name, peer in config.peers.items()}
    _write(folder, made)
    _hand_over(folder, config)
    click.echo(_node_lines(folder), nl=False)
    for name in config.peers:
        click.echo(_peer_lines(folder, name, made[name]), nl=False)
    return console.Exit.OK


@command.command()
@click.argument("name")
@_folder_option
@_host_option
def issue(name: str, folder: Path | None, hosts: tuple[str, ...]) -> int:
    """Make a certificate by the CA of `tls init`, for a peer of that name or whatever else is to connect."""
    config, folder = load_config(), folder or _default_folder()
    if not name.isprintable() or name != Path(name).name or name in (_AUTHORITY, "."):
        raise click.UsageError(f"{name}: cannot be the name of a file of a certificate; choose another one")
    peer = config.peers.get(name)
    if not hosts and peer is None:
        raise click.UsageError(f"{name} is no configured peer: tell its name or address by --host")
    try:
        ca = Credentials(*((folder / f"{_AUTHORITY}{end}").read_bytes() for end in (".pem", ".key")))
        made = authority.issue(ca, name, hosts or ([peer.host] if peer else []), app.system_clock())
    except ValueError as error:
        raise click.ClickException(f"{folder}: no CA of ours: {error}; make one by: pacsnode tls init") from error
    _write(folder, {name: made})
    click.echo(_peer_lines(folder, name, made), nl=False)
    return console.Exit.OK


def _default_folder() -> Path:
    file = config_file()
    return (file.absolute().parent if file else Path.cwd()) / "tls"


def _names_of(config: Config) -> list[str]:
    """What this machine is known by, as far as it knows itself."""
    listening = [address.host for address in (*config.node.listen, *config.node.tls_listen)]
    own = [host for host in listening if host not in ("0.0.0.0", "::")]  # noqa: S104 - which is what is left out
    names = [socket.gethostname(), socket.getfqdn(), "localhost", "127.0.0.1", *own]
    return list(dict.fromkeys(filter(None, names)))


def _write(folder: Path, made: Mapping[str, Credentials]) -> None:
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    contents = {
        path: content
        for name, one in made.items()
        for path, content in ((folder / f"{name}.pem", one.certificate), (folder / f"{name}.key", one.key))
    }
    if there := [path for path in contents if path.exists()]:
        raise click.ClickException(f"{there[0]} is there already, and nothing was written; choose another --dir")
    for path, content in contents.items():
        files.write_new(path, content, _SECRET_MODE if path.suffix == ".key" else _OPEN_MODE)


def _hand_over(folder: Path, config: Config) -> None:
    """Root makes the node's key for the user that the node runs as, whom the data belong to; his group finds it."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            owner = config.node.data.stat()
            os.chown(folder / f"{_NODE}.key", owner.st_uid, owner.st_gid)
            os.chown(folder, -1, owner.st_gid)


def _node_lines(folder: Path) -> str:
    return (
        "# Put these keys into the tables that are there:\n"
        '[node]\ntls_listen = "0.0.0.0:2762"\n\n'
        f'[tls]\ncertificate = "{folder / "node.pem"}"\nkey = "{folder / "node.key"}"\n'
        f'client_ca = "{folder / "ca.pem"}"\n'
    )


def _peer_lines(folder: Path, name: str, made: Credentials) -> str:
    shown = certificates.read_pem(made.certificate).fingerprint
    return (
        f"\n# {name} gets {folder / f'{name}.pem'}, {name}.key and ca.pem. In [peers.{name}]:\n"
        f'certificates = ["sha256:{shown}"]\n'
    )
