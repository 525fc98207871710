"""Who asks for an association, and whether he gets one: what is known of the caller, and the answer to his request."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from pacsnode.config import Config
from pacsnode.dimse import negotiation
from pacsnode.dimse.access import Access
from pacsnode.dimse.negotiation import Rejection, Request
from pacsnode.security import certificates
from pacsnode.security.bindings import Caller
from pacsnode.security.callers import Sightings
from pacsnode.security.certificates import Certificate
from pacsnode.security.identity import Admitted, Identities, IdentityBusy, IdentityRefused
from pacsnode.wire import items

Refused = Callable[[Request, Caller, Rejection], None]
"""Hears of every association that is refused; ``Rejection.is_alert`` are those to be alarmed about."""


def _nobody_hears(request: Request, caller: Caller, rejection: Rejection) -> None:
    """Nobody does."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Reception:
    """What a request is measured by, and who is remembered.

    ``unknown``: AE titles that are no peer's. ``plain``: who gets in without TLS, where there is TLS.
    """

    access: Access
    identities: Identities = field(default_factory=lambda: Identities(Config()))
    unknown: Sightings = field(default_factory=lambda: Sightings(_now))
    plain: Sightings | None = None
    refused: Refused = _nobody_hears

    def receive(
        self, request: Request, caller: Caller, *, accepts_unknown: bool, deadline: float
    ) -> Admitted | Rejection:
        """The user that the association is for, or why it is not to be. May take its time, up to the deadline
        (``time.monotonic`` seconds). Raises ProtocolViolation."""
        rejection = self.access.refuse(request, caller, accepts_unknown=accepts_unknown)
        if rejection is not None:
            if rejection == negotiation.CALLING_AE_UNKNOWN and self.access.is_unknown(request):
                self.unknown.note(request.calling_ae, caller)
            return rejection
        if not self.identities.looks_at(request.calling_ae):
            return Admitted("", None)
        offered = None if request.identity is None else items.read_identity(request.identity)
        try:
            return self.identities.admit(request.calling_ae, offered, caller, deadline)
        except IdentityBusy as error:
            return replace(negotiation.CONGESTION, words=str(error))
        except IdentityRefused as error:
            return replace(negotiation.USER_REFUSED, words=f"{negotiation.USER_REFUSED.words}: {error}")

    def welcome(self, request: Request, caller: Caller) -> None:
        """The association is open."""
        if self.plain is not None and not caller.is_secured:
            self.plain.note(request.calling_ae, caller)


def caller_of(address: str, secured: ssl.SSLSocket | None) -> Caller:
    """Who is at the other end of a connection whose handshake, if any, is done."""
    if secured is None:
        return Caller(address)
    der = secured.getpeercert(binary_form=True)
    return Caller(address, is_secured=True, certificate=_read(der) if der else None)


def _read(der: bytes) -> Certificate | None:
    try:
        return certificates.read(der)
    except ValueError:  # good for OpenSSL, too odd for us: whoever asks for one finds none
        return None
