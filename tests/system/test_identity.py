"""User identity negotiation over real associations (PS3.7 D.3.3.7)."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jwk, jwt
from pynetdicom import AE
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from tests.certificates import Trust
from tests.dimse.raw_peer import (
    ASSOCIATE_AC,
    VERIFICATION,
    Aborted,
    Offer,
    RawPeer,
    Rejected,
    associate_rq,
    item,
    items_of,
)
from tests.system.live import LiveNode

REFUSED = (1, 2, 1)
PASSCODE = "correct horse"
USERNAME, WITH_PASSCODE, KERBEROS, SAML, TOKEN = 1, 2, 3, 4, 5
_TABLES = """\
[access]
user_identity = "accept"
users_file = "users"
token_key = "token.pem"
token_audience = "archive"
[peers.STRICT]
host = "127.0.0.1"
port = 1
user_identity = "require"
[peers.LAX]
host = "127.0.0.1"
port = 1
user_identity = "off"
"""
_BARE = '[access]\nuser_identity = "accept"\n'


@dataclass(frozen=True)
class Site:
    """A node with a user ``anna``, and the key that tokens are signed with."""

    node: LiveNode
    trust: Trust
    key: jwk.ECKey

    def token(self, **changes: object) -> bytes:
        """A token that is good but for the changes."""
        claims = {"sub": "berta", "aud": "archive", "exp": int(time.time()) + 600, **changes}
        return jwt.encode({"alg": "ES256"}, claims, self.key).encode()


def new_key() -> tuple[jwk.ECKey, bytes]:
    """A private key, and the PEM of its public one."""
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return jwk.ECKey.import_key(pem), private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A node that knows users by passcode and by token."""
    folder = tmp_path_factory.mktemp("identity")
    trust, (key, public) = Trust.made(folder / "tls"), new_key()
    trust.issue("node")
    trust.issue("ct01")
    node = LiveNode(folder / "node", _TABLES + trust.tables(), node_keys='tls_listen = "127.0.0.1:0"\n')
    node.folder.mkdir()
    (node.folder / "token.pem").write_bytes(public)
    (node.folder / "users").write_text("")
    with node:
        add_user(node, "anna", PASSCODE)
        yield Site(node, trust, key)


def add_user(node: LiveNode, name: str, passcode: str) -> None:
    """``pacsnode user add``."""
    command = [sys.executable, "-m", "pacsnode", "user", "add", name, "--passcode-stdin", "--config", str(node.config)]
    subprocess.run(command, input=passcode, text=True, check=True, capture_output=True, timeout=60)


def identity(kind: int, primary: bytes = b"", secondary: bytes = b"", *, wants_answer: int = 0) -> bytes:
    """A user identity sub-item (PS3.7 Table D.3-14)."""
    fields = b"".join(struct.pack(">H", len(field)) + field for field in (primary, secondary))
    return item(0x58, bytes([kind, wants_answer]) + fields)


def outcome(node: LiveNode, user_items: bytes, calling: str = "TESTER") -> tuple[int, int, int] | list[bytes]:
    """Of an association: the triple of the rejection, or the server responses of the answer."""
    with RawPeer(node.port) as peer:
        request = associate_rq([Offer(1, VERIFICATION)], calling=calling.encode(), user_items=user_items)
        peer.send(request)
        try:
            body = peer.expect(ASSOCIATE_AC)
        except Rejected as rejected:
            return rejected.triple
        user = next(content for kind, content in items_of(body[68:]) if kind == 0x50)
        answers = [raw for kind, raw in items_of(user) if kind == 0x59]
        peer.release()
        assert all(struct.unpack(">H", raw[:2])[0] == len(raw) - 2 for raw in answers)
        return [raw[2:] for raw in answers]


@pytest.mark.parametrize("wants_answer", [0, 1])
def test_what_is_accepted(site: Site, wants_answer: int) -> None:
    """A name, a name with its passcode and a token are accepted; that is said where it was asked for, and not else. To
    a token the response is the token."""
    token = site.token()
    offers = {
        b"": identity(USERNAME, b"carla", wants_answer=wants_answer),
        b"\0": identity(WITH_PASSCODE, b"anna", PASSCODE.encode(), wants_answer=wants_answer),
        token: identity(TOKEN, token, wants_answer=wants_answer),
    }
    for response, offered in offers.items():
        assert [response.strip(b"\0")] * wants_answer == outcome(site.node, offered)


def test_the_user_is_in_the_log(site: Site) -> None:
    """The line of the association says for whom it was; a passcode or token is in no line."""
    token = site.token(sub="dora")
    outcome(site.node, identity(WITH_PASSCODE, b"anna", PASSCODE.encode()))
    outcome(site.node, identity(TOKEN, token))
    outcome(site.node, identity(WITH_PASSCODE, PASSCODE.encode(), b"anna"))  # in the wrong fields
    site.node.wait_for("event=association .*user=anna")
    site.node.wait_for("event=association .*user=dora")
    site.node.wait_for("event=security_alert .*unknown user or wrong passcode")

    assert PASSCODE not in site.node.log
    assert token.decode() not in site.node.log


def bad_offers(site: Site) -> dict[str, bytes]:
    """What nobody is to be let in with."""
    stranger, _ = new_key()
    good = {"sub": "berta", "aud": "archive", "exp": int(time.time()) + 600}
    head = "eyJhbGciOiJub25lIn0"  # {"alg":"none"}
    unsigned = f"{head}.{site.token().split(b'.')[1].decode()}.".encode()
    return {
        "another passcode": identity(WITH_PASSCODE, b"anna", b"wrong horse"),
        "no passcode": identity(WITH_PASSCODE, b"anna"),
        "another user": identity(WITH_PASSCODE, b"nobody", PASSCODE.encode()),
        "a passcode without end": identity(WITH_PASSCODE, b"anna", b"x" * 30_000),
        "no name": identity(USERNAME),
        "a name that is none": identity(USERNAME, b"\xff\xfe"),
        "a name that forges a line": identity(USERNAME, b"anna\nevent=stored"),
        "a name without end": identity(USERNAME, b"x" * 500),
        "Kerberos": identity(KERBEROS, b"ticket"),
        "SAML": identity(SAML, b"<assertion/>"),
        "an unknown type": identity(9, b"x"),
        "no token": identity(TOKEN, b"x"),
        "an empty token": identity(TOKEN),
        "a token that has expired": identity(TOKEN, site.token(exp=int(time.time()) - 600)),
        "a token without an end": identity(TOKEN, site.token(exp=None)),
        "a token for somebody else": identity(TOKEN, site.token(aud="other")),
        "a token of nobody": identity(TOKEN, site.token(sub="")),
        "a token of a number": identity(TOKEN, site.token(sub=5)),
        "a token of another signer": identity(TOKEN, jwt.encode({"alg": "ES256"}, good, stranger).encode()),
        "an unsigned token": identity(TOKEN, unsigned),
        "a token that is not valid yet": identity(TOKEN, site.token(nbf=int(time.time()) + 600)),
    }


def test_what_is_refused(site: Site) -> None:
    """Whatever does not prove who somebody is: rejected-permanent by the service provider, no reason given, as
    D.3.3.7.3 has it."""
    assert dict.fromkeys(bad_offers(site), REFUSED) == {
        what: outcome(site.node, offered) for what, offered in bad_offers(site).items()
    }


def test_a_proof_is_required(site: Site) -> None:
    """Where users have to prove themselves, neither nobody nor a mere name will do."""
    passcode = identity(WITH_PASSCODE, b"anna", PASSCODE.encode())

    assert REFUSED == outcome(site.node, b"", "STRICT")
    assert REFUSED == outcome(site.node, identity(USERNAME, b"anna", wants_answer=1), "STRICT")
    assert [] == outcome(site.node, passcode, "STRICT")
    assert [] == outcome(site.node, identity(TOKEN, site.token()), "STRICT")


def test_off(site: Site) -> None:
    """Where users are not looked at, what is said of them is skipped, malformed or not, and not answered."""
    for offered in (identity(WITH_PASSCODE, b"anna", b"wrong", wants_answer=1), item(0x58, b"\1")):
        assert [] == outcome(site.node, offered, "LAX")


def test_malformed(site: Site) -> None:
    """A sub-item that cannot be read is a protocol error; one that leaves out the second field is not."""
    for content in (b"", b"\1", b"\2\0\0\4ann", b"\2\0\0\4anna\0\5x"):
        with pytest.raises(Aborted):
            outcome(site.node, item(0x58, content))

    assert [] == outcome(site.node, item(0x58, b"\1\0\0\4anna"))


def test_a_new_passcode_counts_at_once(site: Site) -> None:
    """``pacsnode user`` needs no reload."""
    add_user(site.node, "emil", "first passcode")
    first = outcome(site.node, identity(WITH_PASSCODE, b"emil", b"first passcode"))
    add_user(site.node, "emil", "other passcode")
    old = outcome(site.node, identity(WITH_PASSCODE, b"emil", b"first passcode"))
    new = outcome(site.node, identity(WITH_PASSCODE, b"emil", b"other passcode"))
    site.node.run("user", "remove", "emil")

    assert ([], REFUSED, []) == (first, old, new)
    assert REFUSED == outcome(site.node, identity(WITH_PASSCODE, b"emil", b"other passcode"))


def test_many_at_a_time(site: Site) -> None:
    """Twenty passcodes at a time wait for their turn, and each is answered rightly."""
    offers = [identity(WITH_PASSCODE, b"anna", PASSCODE.encode() if n % 2 else b"wrong horse") for n in range(20)]
    with ThreadPoolExecutor(len(offers)) as pool:
        outcomes = list(pool.map(lambda offered: outcome(site.node, offered), offers))

    assert [REFUSED, []] * 10 == outcomes


def test_pynetdicom(site: Site) -> None:
    """pynetdicom over TLS with a name and a passcode understands the answer."""
    offered = UserIdentityNegotiation()
    offered.user_identity_type = WITH_PASSCODE
    offered.positive_response_requested = True
    offered.primary_field, offered.secondary_field = b"anna", PASSCODE.encode()
    entity = AE("TESTER")
    entity.add_requested_context(VERIFICATION)
    association = entity.associate(
        "127.0.0.1",
        site.node.tls_port,
        ae_title="PACSNODE",
        ext_neg=[offered],
        tls_args=(site.trust.client("ct01"), "127.0.0.1"),
    )
    assert association.is_established
    answer = association.acceptor.user_identity
    association.release()

    assert answer is not None
    assert b"" == (answer.server_response or b"")


def test_without_files(tmp_path: Path) -> None:
    """A node that has neither users nor a key takes names, and refuses what it could not check."""
    with LiveNode(tmp_path / "node", _BARE) as node:
        outcomes = [outcome(node, identity(kind, b"anna", b"x")) for kind in (USERNAME, WITH_PASSCODE, TOKEN)]

    assert [[], REFUSED, REFUSED] == outcomes
