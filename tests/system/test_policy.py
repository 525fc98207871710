"""Who gets in and may do what: AE title by address by certificate by operation, over real connections."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.certificates import Trust
from tests.dimse import images
from tests.dimse.raw_peer import (
    C_FIND,
    C_MOVE,
    CT,
    EXPLICIT,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Offer,
    RawPeer,
    Rejected,
    associate_rq,
    identifier,
    role,
)
from tests.system.live import LiveNode

CALLING, CALLED, TOO_MANY = (1, 1, 3), (1, 1, 7), (2, 3, 2)
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.40")
TRANSPORTS = ("plain", "alpha", "beta")  # without TLS, or with one of two certificates

Allows = Callable[[str, str], bool]
# AE title: the keys of its table, and from which address by which transport it gets in.
PEERS: dict[str, tuple[str, Allows]] = {
    "FREE": ("", lambda address, transport: True),
    "ADDRESS": ('addresses = ["127.0.0.2"]', lambda address, transport: address == "127.0.0.2"),
    "NETWORK": ('addresses = ["10.0.0.1", "127.0.0.32/27"]', lambda address, transport: address == "127.0.0.40"),
    "SECURE": ("require_tls = true", lambda address, transport: transport != "plain"),
    "PINNED": ('certificates = ["sha256:{alpha}"]', lambda address, transport: transport == "alpha"),
    "KEY": ('certificates = ["sha256:{beta_key}"]', lambda address, transport: transport == "beta"),
    "NAMED": ('certificate_names = ["BETA.example.org"]', lambda address, transport: transport == "beta"),
    "STRICT": (
        'addresses = ["127.0.0.2"]\ncertificates = ["sha256:{alpha}"]\ncertificate_names = ["alpha.example.org"]',
        lambda address, transport: (address, transport) == ("127.0.0.2", "alpha"),
    ),
    "CROSSED": (
        'certificates = ["sha256:{alpha}"]\ncertificate_names = ["beta.example.org"]',
        lambda address, transport: False,
    ),
}
DOORS = list(itertools.product([*PEERS, "STRANGER", ""], ADDRESSES, TRANSPORTS))
OPERATIONS = ("echo", "store", "find", "get", "move")
RIGHTS = [(right, operation) for right in OPERATIONS for operation in OPERATIONS]
OFFERS = (
    Offer(1, VERIFICATION),
    Offer(3, CT, (EXPLICIT,)),
    Offer(5, STUDY_FIND),
    Offer(7, STUDY_GET),
    Offer(9, STUDY_MOVE),
)
KEYS = identifier({0x00080052: "STUDY", 0x0020000D: images.STUDY})
NOT_AUTHORIZED, UNKNOWN_DESTINATION, FAILED_SUB_OPERATIONS = 0x0124, 0xA801, 0xA702


@dataclass(frozen=True)
class Site:
    """A node with all these peers, and the certificates of who calls."""

    node: LiveNode
    trust: Trust

    def connect(self, address: str, transport: str) -> RawPeer:
        """A connection from that address."""
        if transport == "plain":
            return RawPeer(self.node.port, source=address)
        return RawPeer(self.node.tls_port, source=address, tls=self.trust.client(transport))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The node of all cases. Nothing is accepted for being on loopback."""
    folder = tmp_path_factory.mktemp("policy")
    trust = Trust.made(folder / "tls")
    trust.issue("node")
    alpha = trust.issue("alpha", ["alpha.example.org"])
    beta = trust.issue("beta", ["beta.example.org"])
    keys = {"alpha": alpha.fingerprint.upper(), "beta_key": beta.key_fingerprint}
    tables = ['[access]\nunknown_peers = "reject"\n', trust.tables(), '[limits]\nconnect = "1 s"\n']
    tables += [peer(title, lines.format(**keys)) for title, (lines, _) in PEERS.items()]
    tables += [peer(f"MAY_{right.upper()}", f'allow = ["{right}"]') for right in OPERATIONS]
    tables += [peer("NOWHERE", "move_destinations = []"), peer("TO_FREE", 'move_destinations = ["FREE"]')]
    tables += [peer("FEW", "max_associations = 2")]
    with LiveNode(folder / "node", "".join(tables), node_keys='tls_listen = "127.0.0.1:0"\n') as node:
        yield Site(node, trust)


def peer(title: str, lines: str) -> str:
    """The table of a peer that nobody can connect to."""
    return f'[peers.{title}]\nhost = "127.0.0.1"\nport = 1\n{lines}\n'


def outcome(peer: RawPeer, calling: str, called: str = "PACSNODE") -> tuple[int, int, int] | int | None:
    """The triple of the rejection, or the status of a C-ECHO."""
    try:
        peer.associate(request=associate_rq(OFFERS, calling=calling.encode(), called=called.encode()))
    except Rejected as rejected:
        return rejected.triple
    status = peer.echo()
    peer.release()
    return status


@pytest.mark.parametrize(("calling", "address", "transport"), DOORS, ids=lambda value: value or "blank")
def test_who_gets_in(site: Site, calling: str, address: str, transport: str) -> None:
    """A peer gets in from where, and with what, its table says; anybody else hears 1,1,3."""
    is_let_in = calling in PEERS and PEERS[calling][1](address, transport)
    with site.connect(address, transport) as connection:
        assert (0 if is_let_in else CALLING) == outcome(connection, calling)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("called", ["OTHER", "pacsnode", ""])
def test_who_is_called(site: Site, transport: str, called: str) -> None:
    """Under another called AE title nobody is here: 1,1,7, whoever calls."""
    for calling in ("FREE", "STRANGER"):
        with site.connect("127.0.0.1", transport) as connection:
            assert CALLED == outcome(connection, calling, called)


@pytest.mark.parametrize("transport", ["plain", "alpha"])
@pytest.mark.parametrize(("right", "operation"), RIGHTS)
def test_what_may_be_done(site: Site, right: str, operation: str, transport: str) -> None:
    """Of all operations a peer has those that it is allowed; to others it hears 0124."""
    allowed = UNKNOWN_DESTINATION if operation == "move" else 0
    with site.connect("127.0.0.1", transport) as connection:
        request = associate_rq(OFFERS, calling=f"MAY_{right.upper()}".encode(), user_items=role(CT, scu=1, scp=1))
        connection.associate(request=request)
        status = perform(connection, operation)
        connection.release()

    assert (allowed if right == operation else NOT_AUTHORIZED) == status


def perform(connection: RawPeer, operation: str) -> int | None:
    """The final status of an operation."""
    if operation == "echo":
        return connection.echo()
    if operation == "store":
        return connection.store(3, CT, images.uid_of(1), images.image()).status
    if operation == "find":
        connection.start_query(5, C_FIND, STUDY_FIND, KEYS)
        return connection.responses()[-1].status
    if operation == "get":
        keys = identifier({0x00080052: "STUDY", 0x0020000D: "1.2.3"})
        return connection.get(7, STUDY_GET, keys)[1][-1].status
    return move(connection, "NOBODY")


def move(connection: RawPeer, destination: str) -> int | None:
    """The final status of a C-MOVE."""
    connection.start_query(9, C_MOVE, STUDY_MOVE, KEYS, destination=destination)
    return connection.responses()[-1].status


@pytest.mark.parametrize(
    ("calling", "destination", "status"),
    [
        ("FREE", "FREE", FAILED_SUB_OPERATIONS),  # known, and not there
        ("FREE", "NETWORK", FAILED_SUB_OPERATIONS),
        ("FREE", "NOBODY", UNKNOWN_DESTINATION),
        ("TO_FREE", "FREE", FAILED_SUB_OPERATIONS),
        ("TO_FREE", "NETWORK", UNKNOWN_DESTINATION),
        ("TO_FREE", "TO_FREE", UNKNOWN_DESTINATION),
        ("NOWHERE", "FREE", UNKNOWN_DESTINATION),
        ("NOWHERE", "NOWHERE", UNKNOWN_DESTINATION),
    ],
)
def test_where_images_may_go(site: Site, calling: str, destination: str, status: int) -> None:
    """A C-MOVE goes to the destinations of who asks alone; any other is as if there were none: A801."""
    with site.connect("127.0.0.1", "plain") as connection:
        connection.associate(request=associate_rq(OFFERS, calling=b"FREE"))
        assert 0 == perform(connection, "store")
    with site.connect("127.0.0.1", "plain") as connection:
        connection.associate(request=associate_rq(OFFERS, calling=calling.encode()))
        assert status == move(connection, destination)
        connection.release()


def test_how_many(site: Site) -> None:
    """A peer with a limit of its own has so many associations; one more is rejected for now: 2,3,2."""
    with site.connect("127.0.0.1", "plain") as first, site.connect("127.0.0.2", "alpha") as second:
        for connection in (first, second):
            connection.associate(request=associate_rq(OFFERS, calling=b"FEW"))
        with site.connect("127.0.0.1", "plain") as third:
            assert TOO_MANY == outcome(third, "FEW")
        first.release()
        second.release()


def test_who_is_remembered(site: Site) -> None:
    """Strangers wait for approval; those who pretend to be a peer do not, but are logged as an alert."""
    with site.connect("127.0.0.2", "alpha") as connection:
        assert CALLING == outcome(connection, "NEWCOMER")
    with site.connect("127.0.0.77", "plain") as connection:
        assert CALLING == outcome(connection, "STRICT")
    listed = site.node.run("peer", "pending")
    site.node.wait_for("event=security_alert address=127.0.0.77 calling=STRICT .*not from one of its addresses")

    assert "NEWCOMER" in listed
    assert "STRICT" not in listed


def test_who_still_speaks_plain_text(site: Site) -> None:
    """``status`` names the peers that came in without TLS, as long as there is a port for it."""
    for address, transport in (("127.0.0.40", "plain"), ("127.0.0.2", "beta")):
        with site.connect(address, transport) as connection:
            assert 0 == outcome(connection, "FREE")
    said = site.node.run("status")

    assert "FREE at 127.0.0.40" in said
    assert "SECURE at" not in said
