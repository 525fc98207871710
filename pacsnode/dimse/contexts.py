"""Presentation contexts: what we accept as acceptor, and pynetdicom's negotiation of them (PS3.7 D.3, PS3.8 9.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydicom._uid_dict import UID_dictionary
from pynetdicom import sop_class
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext as Proposed
from pynetdicom.presentation import build_context, negotiate_as_acceptor

from pacsnode.dicom import syntax
from pacsnode.dicom.identifier import Root
from pacsnode.model import Uid
from pacsnode.wire.command import CommandField

VERIFICATION = Uid("1.2.840.10008.1.1")
ACCEPTED = 0x00

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


def is_storage(abstract_syntax: str) -> bool:
    """Can a C-STORE come on this (accepted) abstract syntax?"""
    return abstract_syntax != VERIFICATION and abstract_syntax not in QUERY_RETRIEVE


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
    """An accepted presentation context. ``as_scu``/``as_scp``: the roles we hold in it."""

    context_id: int
    abstract_syntax: Uid
    transfer_syntax: Uid
    as_scu: bool
    as_scp: bool


def storage_classes(private: Iterable[str] = ()) -> frozenset[Uid]:
    """Every Storage SOP class of pynetdicom's table, the retired ones of the dictionary, and the private ones given."""
    retired = {
        uid
        for uid, (name, kind, _, is_retired, _) in UID_dictionary.items()
        if kind == "SOP Class" and is_retired and "Storage" in name and "Commitment" not in name
    }
    return frozenset(Uid(uid) for uid in {*sop_class._STORAGE_CLASSES.values(), *retired, *private})


def transfer_syntaxes() -> list[str]:
    """Every transfer syntax that a data set can be received in, the preferred ones first."""
    known = [uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"]
    others = [uid for uid in known if uid not in _PREFERRED and uid not in _NOT_FOR_DATA_SETS]
    return [*_PREFERRED, *others, syntax.GE_PRIVATE_IMPLICIT_VR_BIG_ENDIAN_PIXELS]


def supported(storage: Iterable[Uid]) -> list[Proposed]:
    """What the application entity supports: storage in every syntax and both roles, queries in the native ones."""
    contexts = [build_context(VERIFICATION, list(_NATIVE))]
    contexts += [build_context(uid, list(_NATIVE)) for uid in QUERY_RETRIEVE]
    syntaxes = transfer_syntaxes()
    for uid in sorted(storage):
        context = build_context(uid, syntaxes)
        # C-GET: the requestor is SCP of storage, we are SCU (PS3.4 C.5.3); a plain C-STORE has the default roles.
        context.scu_role = context.scp_role = True
        contexts.append(context)
    return contexts


def accept(
    proposed: Sequence[Proposed], ours: Mapping[str, Proposed], roles: Mapping[str, tuple[bool, bool]]
) -> tuple[list[Proposed], list[SCP_SCU_RoleSelectionNegotiation], dict[int, PresentationContext]]:
    """Negotiate as acceptor: the results and role items to answer with, and the contexts that were accepted."""
    wanted = {context.abstract_syntax for context in proposed}
    relevant = [ours[uid] for uid in wanted if uid is not None and uid in ours]
    results, role_items = negotiate_as_acceptor(list(proposed), relevant, dict(roles))  # type: ignore[arg-type]
    return results, role_items, _accepted(results)


def settle(proposed: Iterable[Proposed], granted: Mapping[int, str]) -> dict[int, PresentationContext]:
    """The contexts that the acceptor granted us as requestor, in a transfer syntax that we proposed."""
    return {
        context.context_id: PresentationContext(
            context.context_id,
            Uid(str(context.abstract_syntax)),
            Uid(granted[context.context_id]),
            as_scu=True,
            as_scp=False,
        )
        for context in proposed
        if context.context_id is not None and granted.get(context.context_id) in context.transfer_syntax
    }


def propose(pairs: Iterable[tuple[Uid, Uid]]) -> list[Proposed]:
    """One context for each (SOP class, transfer syntax), at most 128 of them, with the odd ids of PS3.8 9.3.2.2."""
    contexts = []
    for number, (sop_class_uid, transfer_syntax_uid) in enumerate(pairs):
        context = build_context(sop_class_uid, [transfer_syntax_uid])
        context.context_id = 2 * number + 1
        contexts.append(context)
    return contexts


def _accepted(results: Iterable[Proposed]) -> dict[int, PresentationContext]:
    accepted = {}
    for context in results:
        if context.result != ACCEPTED or context.context_id is None:
            continue
        accepted[context.context_id] = PresentationContext(
            context.context_id,
            Uid(str(context.abstract_syntax)),
            Uid(str(context.transfer_syntax[0])),
            as_scu=bool(context.as_scu),
            as_scp=bool(context.as_scp),
        )
    return accepted
