"""Associations that were refused, for the audit trail."""

from __future__ import annotations

from pacsnode.audit.events import Actor, Result
from pacsnode.audit.messages import Outcome
from pacsnode.audit.recorder import Recorder
from pacsnode.dimse import negotiation
from pacsnode.dimse.negotiation import Rejection, Request
from pacsnode.dimse.reception import Refused
from pacsnode.errors import ProtocolViolation
from pacsnode.security.bindings import Caller
from pacsnode.wire import items
from pacsnode.wire.items import IdentityType

_MAX_NAME_BYTES = 64


def refusals(recorder: Recorder) -> Refused:
    """Has every refusal recorded: of a user as a login that failed, of anything else as a security alert."""

    def refused(request: Request, caller: Caller, rejection: Rejection) -> None:
        actor = Actor(request.calling_ae, caller.address, _claimed(request))
        if rejection.is_alert and rejection.source == negotiation.USER_REFUSED.source:
            recorder.authentication_failed(actor, rejection.words)
            return
        outcome = Outcome.SERIOUS_FAILURE if rejection.is_alert else Outcome.MINOR_FAILURE
        recorder.refused(actor, called_ae=request.called_ae, result=Result(outcome, rejection.words))

    return refused


def _claimed(request: Request) -> str:
    """The name that a user has given, which is not to be believed; "" where there is none. Never a token."""
    if request.identity is None:
        return ""
    try:
        identity = items.read_identity(request.identity)
    except ProtocolViolation:
        return ""
    if identity.type not in (IdentityType.USERNAME, IdentityType.PASSCODE):
        return ""
    return identity.primary[:_MAX_NAME_BYTES].decode("utf-8", "replace")
