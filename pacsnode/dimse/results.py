"""How an operation went, for the audit trail, by the status that the peer was told."""

from __future__ import annotations

from pacsnode.audit.events import RESTRICTED_FUNCTION, SUCCESS, Result
from pacsnode.audit.messages import Outcome
from pacsnode.dimse import status

BROKEN_OFF = Result(Outcome.MINOR_FAILURE, "the association broke off")
_NOT_ALLOWED = 0x0124


def of(code: int) -> Result:
    """The result of an operation that ended with this status. The description has no text of a peer's."""
    if code == status.SUCCESS or status.is_warning(code):
        return SUCCESS
    if code == _NOT_ALLOWED:
        return Result(Outcome.SERIOUS_FAILURE, "status 0124H: not allowed", (RESTRICTED_FUNCTION,))
    return Result(Outcome.MINOR_FAILURE, f"status {code:04X}H")
