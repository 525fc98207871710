"""Presentation contexts: what we support, and how they are negotiated (PS3.7 D.3.3.4, PS3.8 9.3.3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import zip_longest
from operator import attrgetter

from pydicom._uid_dict import UID_dictionary
from pynetdicom import sop_class
from pynetdicom.presentation import PresentationContext as Supported
from pynetdicom.presentation import build_context

from pacsnode.dicom import syntax
from pacsnode.dicom.dictionary import uid_name
from pacsnode.dicom.identifier import Root
from pacsnode.model import Uid
from pacsnode.wire.command import CommandField
from pacsnode.wire.items import ContextResult, ProposedContext, Roles

VERIFICATION = Uid("1.2.840.10008.1.1")
STORAGE_COMMITMENT = Uid("1.2.840.10008.1.20.1")
"""Storage Commitment Push Model (PS3.4 J.3.5)."""
STORAGE_COMMITMENT_INSTANCE = Uid("1.2.840.10008.1.20.1.1")


class Result(IntEnum):
    """Results of a presentation context (PS3.8 9.3.3.2)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


# PS3.4 C.6.1.3, C.6.2.3, C.6.3.3
QUERY_RETRIEVE: Mapping[str, tuple[CommandField, Root]] = {
    "1.2.840.10008.5.1.4.1.2.1.1": (CommandField.C_FIND_RQ, Root.PATIENT),
    "1.2.840.10008.5.1.4.1.2.1.2": (CommandField.C_MOVE_RQ, Root.PATIENT),
    "1.2.840.10008.5.1.4.1.2.1.3": (CommandField.C_GET_RQ, Root.PATIENT),
    "1.2.840.10008.5.1.4.1.2.2.1": (CommandField.C_FIND_RQ, Root.STUDY),
    "1.2.840.10008.5.1.4.1.2.2.2": (CommandField.C_MOVE_RQ, Root.STUDY),
    "1.2.840.10008.5.1.4.1.2.2.3": (CommandField.C_GET_RQ, Root.STUDY),
    "1.2.840.10008.5.1.4.1.2.3.1": (CommandField.C_FIND_RQ, Root.PATIENT_STUDY_ONLY),
    "1.2.840.10008.5.1.4.1.2.3.2": (CommandField.C_MOVE_RQ, Root.PATIENT_STUDY_ONLY),
    "1.2.840.10008.5.1.4.1.2.3.3": (CommandField.C_GET_RQ, Root.PATIENT_STUDY_ONLY),
}
"""Which service and which information model an abstract syntax of Query/Retrieve stands for (PS3.4 C.6)."""


# Service-class-application-information, byte by byte: what we do. Of C-FIND (PS3.4 C.5.1.1): relational queries and
# date-time matching; not fuzzy matching of names, timezone adjustment, enhanced conversion, empty and multiple value
# matching. Of the others (C.5.2.1, C.5.3.1): relational retrieval, not enhanced conversion.
EXTENDED: Mapping[CommandField, bytes] = {
    CommandField.C_FIND_RQ: b"\1\1",
    CommandField.C_MOVE_RQ: b"\1",
    CommandField.C_GET_RQ: b"\1",
}
_DATE_TIME_MATCHING = 1


def is_storage(abstract_syntax: str) -> bool:
    """Can a C-STORE come on this (accepted) abstract syntax?"""
    return abstract_syntax not in (VERIFICATION, STORAGE_COMMITMENT) and abstract_syntax not in QUERY_RETRIEVE


# Explicit before implicit, because it keeps the VRs of private elements; then the rest in the dictionary's order.
_PREFERRED = (
    syntax.EXPLICIT_VR_LITTLE_ENDIAN,
    syntax.IMPLICIT_VR_LITTLE_ENDIAN,
    syntax.EXPLICIT_VR_BIG_ENDIAN,
    syntax.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
)
_NATIVE = _PREFERRED[:3]
# MIME and XML encapsulation are no encodings of a data set.
_NOT_FOR_DATA_SETS = frozenset({"1.2.840.10008.1.2.6.1", "1.2.840.10008.1.2.6.2", "1.2.840.10008.1.20"})


@dataclass(frozen=True, slots=True)
class PresentationContext:
    """An accepted presentation context. ``as_scu``/``as_scp``: the roles we hold in it.

    ``extended``: what we answered in the extended negotiation of its SOP class; "" where there was none.
    """

    context_id: int
    abstract_syntax: Uid
    transfer_syntax: Uid
    as_scu: bool
    as_scp: bool
    extended: bytes = b""

    @property
    def combines_date_and_time(self) -> bool:
        """Was combined date-time matching agreed on (PS3.4 C.5.1.1)?"""
        return self.extended[_DATE_TIME_MATCHING : _DATE_TIME_MATCHING + 1] == b"\1"


def storage_classes(private: Iterable[str] = ()) -> frozenset[Uid]:
    """Every Storage SOP class of pynetdicom's table, the retired ones of the dictionary, and the private ones given."""
    retired = {
        uid
        for uid, (name, kind, _, is_retired, _) in UID_dictionary.items()
        if kind == "SOP Class" and is_retired and "Storage" in name and "Commitment" not in name
    }
    return frozenset(Uid(uid) for uid in {*sop_class._STORAGE_CLASSES.values(), *retired, *private})


def name_of(uid: str) -> str:
    """What the standard calls a SOP class or transfer syntax; "Private" where it does not know it."""
    newer = {known: name for name, known in sop_class._STORAGE_CLASSES.items()}
    name = uid_name(uid)
    return name if name != uid else newer.get(uid, "Private")


def transfer_syntaxes() -> list[str]:
    """Every transfer syntax that a data set can be received in, the preferred ones first."""
    known = [uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"]
    others = [uid for uid in known if uid not in _PREFERRED and uid not in _NOT_FOR_DATA_SETS]
    private = (syntax.GE_PRIVATE_IMPLICIT_VR_BIG_ENDIAN_PIXELS, syntax.GE_PRIVATE_COMPRESS_EXPRESS)
    return [*_PREFERRED, *others, *private]


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What came of a request: the answer to each context by id, the roles granted, and what was accepted."""

    results: list[ContextResult]
    roles: dict[str, Roles]
    accepted: dict[int, PresentationContext]
    extended: dict[str, bytes]  # application information by SOP class


def supported(storage: Iterable[Uid]) -> list[Supported]:
    """What the application entity supports: storage in every syntax and both roles, queries in the native ones."""
    contexts = [build_context(VERIFICATION, list(_NATIVE))]
    contexts += [build_context(uid, list(_NATIVE)) for uid in QUERY_RETRIEVE]
    commitment = build_context(STORAGE_COMMITMENT, list(_NATIVE))
    commitment.scu_role = commitment.scp_role = True  # who asks us is SCU; whom we asked reports as SCP
    contexts.append(commitment)
    syntaxes = transfer_syntaxes()
    for uid in sorted(storage):
        context = build_context(uid, syntaxes)
        # C-GET: the requestor is SCP of storage, we are SCU (PS3.4 C.5.3); a plain C-STORE has the default roles.
        context.scu_role = context.scp_role = True
        contexts.append(context)
    return contexts


def accept(
    proposed: Iterable[ProposedContext],
    ours: Mapping[str, Supported],
    roles: Mapping[str, Roles],
    extended: Mapping[str, bytes],
) -> Negotiated:
    """Negotiate as acceptor. ``ours``: what we support, by abstract syntax; ``roles``: the selections proposed;
    ``extended``: application information of SOP classes."""
    found = Negotiated([], {}, {}, {})
    distinct = {(context.context_id, context.abstract_syntax): context for context in proposed}
    for context in sorted(distinct.values(), key=_ID):
        uid = context.abstract_syntax
        support, selection = ours.get(uid), roles.get(uid)
        syntax = _in_common(support, context)
        granted = _granted(support, selection)
        result = _result(support, syntax, granted)
        found.results.append(ContextResult(context.context_id, result, syntax or context.transfer_syntaxes[0]))
        if result is Result.ACCEPTANCE:
            answered = _answered(uid, extended.get(uid, b""))
            found.accepted[context.context_id] = PresentationContext(
                context.context_id, Uid(uid), Uid(syntax), as_scu=granted.scp, as_scp=granted.scu, extended=answered
            )
            if answered:
                found.extended[uid] = answered
            if selection is not None and _has_roles(support):
                found.roles[uid] = granted
    return found


def settle(
    proposed: Iterable[ProposedContext],
    granted: Iterable[ContextResult],
    asked: Mapping[str, Roles],
    answered: Mapping[str, Roles],
) -> dict[int, PresentationContext]:
    """The contexts that the acceptor granted us as requestor, in a transfer syntax that we proposed.

    Roles are those we asked for and were not refused: some acceptors agree, and say nothing of roles.
    """

    def roles(uid: str) -> Roles:
        ours = asked.get(uid, _DEFAULT_ROLES)
        theirs = answered.get(uid, ours)
        return Roles(ours.scu and theirs.scu, ours.scp and theirs.scp)

    accepted = {one.context_id: one.transfer_syntax for one in granted if one.result == Result.ACCEPTANCE}
    return {
        number: PresentationContext(
            number, Uid(uid), Uid(accepted[number]), as_scu=roles(uid).scu, as_scp=roles(uid).scp
        )
        for number, uid, syntaxes in proposed
        if accepted.get(number) in syntaxes
    }


def propose(pairs: Iterable[tuple[Uid, Uid]]) -> list[ProposedContext]:
    """One context for each (SOP class, transfer syntax), at most 128 of them, with the odd ids of PS3.8 9.3.2.2."""
    return [
        ProposedContext(2 * number + 1, sop_class_uid, (transfer_syntax_uid,))
        for number, (sop_class_uid, transfer_syntax_uid) in enumerate(pairs)
    ]


_ID = attrgetter("context_id")
_DEFAULT_ROLES = Roles(scu=True, scp=False)  # PS3.7 D.3.3.4: without role selection


def _answered(sop_class_uid: str, offered: bytes) -> bytes:
    """Our application information: as many bytes as were offered, 1 where that was offered and we do it."""
    service, _ = QUERY_RETRIEVE.get(sop_class_uid, (None, None))
    if service is None:
        return b""
    bytewise = zip_longest(offered, EXTENDED[service][: len(offered)], fillvalue=0)
    return bytes(int(one == can == 1) for one, can in bytewise)


def _in_common(support: Supported | None, context: ProposedContext) -> str:
    """The transfer syntax that we prefer among those proposed; "" where there is none."""
    wanted = context.transfer_syntaxes
    return next((str(uid) for uid in support.transfer_syntax if uid in wanted), "") if support is not None else ""


def _has_roles(support: Supported | None) -> bool:
    """Do we answer role selection for it?"""
    return support is not None and support.scu_role is not None and support.scp_role is not None


def _granted(support: Supported | None, selection: Roles | None) -> Roles:
    """What the requestor may be: never more than it asked for."""
    if support is None or selection is None or not _has_roles(support):
        return _DEFAULT_ROLES
    return Roles(selection.scu and bool(support.scu_role), selection.scp and bool(support.scp_role))


def _result(support: Supported | None, syntax: str, granted: Roles) -> Result:
    if support is None:
        return Result.ABSTRACT_SYNTAX_NOT_SUPPORTED
    if not syntax:
        return Result.TRANSFER_SYNTAXES_NOT_SUPPORTED
    return Result.ACCEPTANCE if any(granted) else Result.USER_REJECTION
