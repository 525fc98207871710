"""What of user identities cannot be tried on loopback; the rest is in tests/system/test_identity.py."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pacsnode.config import Access, Config, UserIdentity
from pacsnode.errors import ConfigError
from pacsnode.security import users
from pacsnode.security.bindings import Caller
from pacsnode.security.identity import Admitted, Identities, IdentityBusy, IdentityRefused
from pacsnode.wire.items import Identity, IdentityType

ANNA = Identity(IdentityType.PASSCODE, wants_answer=True, primary=b"anna", secondary=b"secret one")
FAR, FAR_SECURED, HERE = Caller("10.0.0.5"), Caller("10.0.0.5", is_secured=True), Caller("::1")


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    """They know anna."""
    file = tmp_path / "users"
    file.write_text(users.text({"anna": users.hash_of("secret one")}))
    return Identities(Config(access=Access(user_identity=UserIdentity.ACCEPT, users_file=str(file))))


def in_time() -> float:
    """A deadline that is far away."""
    return time.monotonic() + 60


def test_passcodes_are_for_tls(identities: Identities) -> None:
    """A passcode in plain text from another machine is refused, right as it is; a mere name is not."""
    for caller in (FAR_SECURED, HERE):
        assert Admitted("anna", b"", is_proven=True) == identities.admit("A", ANNA, caller, in_time())
    named = ANNA._replace(type=IdentityType.USERNAME)

    assert "anna" == identities.admit("A", named, FAR, in_time()).name
    for kind in (IdentityType.PASSCODE, IdentityType.JSON_WEB_TOKEN):
        with pytest.raises(IdentityRefused, match="without TLS"):
            identities.admit("A", ANNA._replace(type=kind), FAR, in_time())


def test_who_waits_too_long() -> None:
    """Whoever has no turn at the deadline is told to come again; a mere name needs none."""
    busy = Identities(Config(access=Access(user_identity=UserIdentity.ACCEPT)), at_a_time=0)

    assert "anna" == busy.admit("A", ANNA._replace(type=IdentityType.USERNAME), HERE, time.monotonic()).name
    with pytest.raises(IdentityBusy):
        busy.admit("A", ANNA, HERE, time.monotonic() + 0.01)


def test_a_file_that_went(identities: Identities, tmp_path: Path) -> None:
    """Without its file nobody is known, and the node goes on; a new configuration with it is refused."""
    (tmp_path / "users").unlink()

    with pytest.raises(IdentityRefused, match="users_file"):
        identities.admit("A", ANNA, HERE, in_time())
    with pytest.raises(ConfigError):
        Identities(Config(access=Access(user_identity=UserIdentity.ACCEPT, users_file=str(tmp_path / "users"))))
