"""What a configuration claims to do: the facts of the conformance statement, which ``selftest`` proves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pacsnode.commitment.verdict import REASONS
from pacsnode.config import Config
from pacsnode.conformance import keys
from pacsnode.conformance.keys import Key
from pacsnode.dicom.identifier import Root
from pacsnode.dimse import contexts, negotiation, status
from pacsnode.dimse.negotiation import Rejection
from pacsnode.errors import DuplicateRefused
from pacsnode.model import DuplicatePolicy, FailureReason
from pacsnode.wire.command import CommandField


@dataclass(frozen=True, slots=True)
class SopClass:
    """A SOP class with the transfer syntaxes that are accepted for it, the preferred one first.

    ``is_scu``: role selection can make us its SCU on an association that we accept.
    """

    uid: str
    name: str
    service: str
    transfer_syntaxes: tuple[str, ...]
    is_scu: bool


@dataclass(frozen=True, slots=True)
class StatusClaim:
    """A status of a service, and all that it can mean."""

    service: str
    code: int
    meanings: tuple[str, ...]
    errors: frozenset[type[Exception]]  # of ours or theirs that are answered so


@dataclass(frozen=True, slots=True)
class Claims:
    """Everything that is claimed and can be proved."""

    config: Config
    sop_classes: tuple[SopClass, ...]
    keys: tuple[Key, ...]
    statuses: tuple[StatusClaim, ...]
    failure_reasons: Mapping[FailureReason, str]
    rejections: Mapping[Rejection, str]
    extended: Mapping[str, bytes]  # by SOP class: what is answered when extended negotiation asks for everything

    def of_service(self, service: str) -> list[SopClass]:
        """The SOP classes of a service."""
        return [one for one in self.sop_classes if one.service == service]


VERIFICATION, STORAGE, COMMITMENT = "Verification", "Storage", "Storage Commitment"
QUERY, MOVE, GET = "Query", "Retrieve by C-MOVE", "Retrieve by C-GET"
OTHER = "Other operations"
"""The name of what is answered to operations that no service has, if anything is."""
_QUERY_RETRIEVE = {CommandField.C_FIND_RQ: QUERY, CommandField.C_MOVE_RQ: MOVE, CommandField.C_GET_RQ: GET}


def claims_of(config: Config) -> Claims:
    """What a node of this configuration claims."""
    return Claims(
        config=config,
        sop_classes=tuple(_sop_classes(config)),
        keys=tuple(key for root in Root for key in keys.keys(root)),
        statuses=tuple(_statuses(config)),
        failure_reasons=REASONS,
        rejections={one: when for one, when in negotiation.REJECTIONS.items() if _may_occur(config, one)},
        extended={uid: contexts.EXTENDED[service] for uid, (service, _) in contexts.QUERY_RETRIEVE.items()},
    )


def _may_occur(config: Config, rejection: Rejection) -> bool:
    """Users are refused only where they are looked at."""
    return rejection != negotiation.USER_REFUSED or config.looks_at_users


def _sop_classes(config: Config) -> Iterable[SopClass]:
    storage = contexts.storage_classes(config.storage.private_sop_classes)
    for context in contexts.supported(storage):
        uid = str(context.abstract_syntax)
        syntaxes = tuple(map(str, context.transfer_syntax))
        yield SopClass(uid, contexts.name_of(uid), _service(uid), syntaxes, is_scu=bool(context.scp_role))


def _service(uid: str) -> str:
    if uid in contexts.QUERY_RETRIEVE:
        return _QUERY_RETRIEVE[contexts.QUERY_RETRIEVE[uid][0]]
    others: dict[str, str] = {contexts.VERIFICATION: VERIFICATION, contexts.STORAGE_COMMITMENT: COMMITMENT}
    return others.get(uid, STORAGE)


def _statuses(config: Config) -> Iterable[StatusClaim]:
    for service in status.SERVICES:
        rows = [row for row in service.rows() if not _is_configured_away(service, row, config)]
        for code in dict.fromkeys(row.code for row in rows):
            same = [row for row in rows if row.code == code]
            meanings = tuple(dict.fromkeys(row.meaning for row in same))
            errors = frozenset(row.error for row in same if row.error is not None)
            yield StatusClaim(service.name, code, meanings, errors)


def _is_configured_away(service: status.Service, row: status.Row, config: Config) -> bool:
    if row.error is DuplicateRefused:
        return config.storage.duplicates is not DuplicatePolicy.REJECT
    is_limit = service.name == "C-FIND" and row.error is None and row.code == status.OUT_OF_RESOURCES
    return is_limit and not config.limits.results
