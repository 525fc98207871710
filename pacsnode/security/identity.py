"""User identity negotiation (PS3.7 D.3.3.7): for whom an association is, and whether that is so."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pacsnode.config import Access, Config, UserIdentity
from pacsnode.errors import ConfigError, PacsNodeError
from pacsnode.security import users
from pacsnode.security.bindings import Caller
from pacsnode.security.tokens import Tokens
from pacsnode.wire.items import Identity, IdentityType

_AT_A_TIME = 2  # each hash takes 19 MiB and a processor


class IdentityRefused(PacsNodeError):
    """The user that a peer names is not, or is not proven to be, one of ours: answered by a rejection."""


class IdentityBusy(PacsNodeError):
    """So many users are being checked that this one had to wait too long; trying again later may work."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A user that was accepted. ``response`` is what the answer says of it; None where none was asked for.

    ``is_proven``: by a passcode or a token.
    """

    name: str
    response: bytes | None
    is_proven: bool = False


class Identities:
    """Checks users as the configuration wants it. Safe to use from several threads, each of which waits its turn."""

    def __init__(self, config: Config, at_a_time: int = _AT_A_TIME) -> None:
        """``at_a_time``: how many passcodes and tokens are checked.

        Raises ConfigError where the file of users or the key of tokens cannot be used.
        """
        access = config.access
        self._policy = access.user_identity
        self._policies = _policies_of_peers(config)
        self._users_file = access.users_file
        self._tokens = _tokens(access)
        self._turns = threading.Semaphore(at_a_time)
        if self._users_file and config.looks_at_users:
            users.read(self._users_file)

    def looks_at(self, calling_ae: str) -> bool:
        """Is what this AE title says of users looked at?"""
        return self._policy_of(calling_ae) is not UserIdentity.OFF

    def admit(self, calling_ae: str, offered: Identity | None, caller: Caller, deadline: float) -> Admitted:
        """The user that an association is for; one without a name where none was named, nor has to be.

        ``deadline``: until when to wait for a turn (``time.monotonic`` seconds). Raises IdentityRefused, IdentityBusy.
        """
        is_required = self._policy_of(calling_ae) is UserIdentity.REQUIRE
        if offered is None:
            if is_required:
                raise IdentityRefused("no user is named")
            return Admitted("", None)
        if is_required and offered.type == IdentityType.USERNAME:
            raise IdentityRefused("a name alone proves nothing")
        name, response = self._check(offered, caller, deadline)
        is_proven = offered.type != IdentityType.USERNAME
        return Admitted(name, response if offered.wants_answer else None, is_proven)

    def _policy_of(self, calling_ae: str) -> UserIdentity:
        return self._policies.get(calling_ae, self._policy)

    def _check(self, offered: Identity, caller: Caller, deadline: float) -> tuple[str, bytes]:
        """Name of the user, and the server response (PS3.7 Table D.3-15)."""
        if offered.type == IdentityType.USERNAME:
            return _name(offered.primary), b""
        if offered.type not in (IdentityType.PASSCODE, IdentityType.JSON_WEB_TOKEN):
            raise IdentityRefused(f"identities of type {offered.type} are not supported")
        if not (caller.is_secured or caller.is_local):
            raise IdentityRefused("a passcode or token came without TLS: consider it known to others")
        if not self._turns.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise IdentityBusy("too many users are being checked")
        try:
            if offered.type == IdentityType.PASSCODE:
                return self._with_passcode(_name(offered.primary), offered.secondary), b""
            return self._with_token(offered.primary), offered.primary
        finally:
            self._turns.release()

    def _with_passcode(self, name: str, passcode: bytes) -> str:
        if not self._users_file:
            raise IdentityRefused("passcodes are not taken: there is no users_file")
        if len(passcode) > users.MAX_PASSCODE_BYTES:
            raise IdentityRefused("the passcode is too long")
        try:
            known = users.read(self._users_file)
        except ConfigError as error:
            raise IdentityRefused(str(error)) from error
        if not users.is_right(known, name, passcode):
            raise IdentityRefused("unknown user or wrong passcode")
        return name

    def _with_token(self, token: bytes) -> str:
        if self._tokens is None:
            raise IdentityRefused("tokens are not taken: there is no token_key")
        try:
            return self._tokens.user(token)
        except ValueError as error:
            raise IdentityRefused(str(error)) from error


def _policies_of_peers(config: Config) -> Mapping[str, UserIdentity]:
    return {entry.title_for(name): config.user_identity_for(entry) for name, entry in config.peer_entries.items()}


def _tokens(access: Access) -> Tokens | None:
    if not access.token_key:
        return None
    return Tokens(access.token_key, audience=access.token_audience, issuer=access.token_issuer)


def _name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise IdentityRefused("the user's name is not UTF-8") from error
    if users.wrong_name(name):
        raise IdentityRefused("no user's name")
    return name
