"""Our negotiation of presentation contexts gives what pynetdicom's gives, for any proposal and any roles."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.presentation import PresentationContext, build_context, negotiate_as_acceptor

from pacsnode.dimse import contexts
from pacsnode.wire.items import ProposedContext, Roles

CLASSES = ["1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.3.4"]
SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70", "1.2.3.5"]

_syntaxes = st.lists(st.sampled_from(SYNTAXES), min_size=1, max_size=4, unique=True)
_proposals = st.lists(
    st.tuples(st.sampled_from(range(1, 20, 2)), st.sampled_from(CLASSES), _syntaxes), unique_by=lambda one: one[0]
)
_selections = st.dictionaries(st.sampled_from(CLASSES), st.tuples(st.booleans(), st.booleans()))
_support = st.dictionaries(
    st.sampled_from(CLASSES[:3]),
    st.tuples(_syntaxes, st.sampled_from([(None, None), (True, True), (True, False), (False, True)])),
    min_size=1,
)


def _theirs(context_id: int, abstract_syntax: str, syntaxes: list[str]) -> PresentationContext:
    made = build_context(abstract_syntax, list(syntaxes))
    made.context_id = context_id
    return made


def _supported(
    support: dict[str, tuple[list[str], tuple[bool | None, bool | None]]],
) -> dict[str, PresentationContext]:
    made = {}
    for uid, (syntaxes, (scu, scp)) in support.items():
        made[uid] = build_context(uid, list(syntaxes))
        made[uid].scu_role, made[uid].scp_role = scu, scp
    return made


@given(_proposals, _support, _selections)
def test_same_as_pynetdicom(
    proposals: list[tuple[int, str, list[str]]],
    support: dict[str, tuple[list[str], tuple[bool | None, bool | None]]],
    selections: dict[str, tuple[bool, bool]],
) -> None:
    """The same result and syntax for each context in the same order, and the same roles for us."""
    ours = _supported(support)
    theirs, _ = negotiate_as_acceptor(
        [_theirs(*one) for one in proposals],
        list(ours.values()),
        dict(selections),  # type: ignore[arg-type]
    )
    found = contexts.accept(
        [ProposedContext(number, uid, tuple(syntaxes)) for number, uid, syntaxes in proposals],
        ours,
        {uid: Roles(*roles) for uid, roles in selections.items()},
        {},
    )

    expected = [(one.context_id, one.result, str(one.transfer_syntax[0])) for one in theirs]
    assert expected == [tuple(one) for one in found.results]
    assert {one.context_id: (one.as_scu, one.as_scp) for one in theirs if one.result == 0} == {
        number: (one.as_scu, one.as_scp) for number, one in found.accepted.items()
    }


@given(_proposals, _support, _selections)
def test_no_role_is_granted_that_was_not_asked_for(
    proposals: list[tuple[int, str, list[str]]],
    support: dict[str, tuple[list[str], tuple[bool | None, bool | None]]],
    selections: dict[str, tuple[bool, bool]],
) -> None:
    """PS3.7 D.3.3.4: never 1 where 0 was offered, and no answer where nothing was asked."""
    found = contexts.accept(
        [ProposedContext(number, uid, tuple(syntaxes)) for number, uid, syntaxes in proposals],
        _supported(support),
        {uid: Roles(*roles) for uid, roles in selections.items()},
        {},
    )

    assert set() == set(found.roles) - set(selections)
    for uid, granted in found.roles.items():
        asked = Roles(*selections[uid])
        assert (granted.scu <= asked.scu, granted.scp <= asked.scp) == (True, True)
