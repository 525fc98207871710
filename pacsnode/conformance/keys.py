"""Which kinds of attribute matching a key has (PS3.4 C.2.2.2): the parser of identifiers itself is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from pacsnode.dicom import condition
from pacsnode.dicom.attributes import ATTRIBUTES, Attribute, Requirement
from pacsnode.dicom.dictionary import attribute_name
from pacsnode.dicom.identifier import Root
from pacsnode.errors import InvalidQuery
from pacsnode.model import Condition, Level, OneOf, Range, Wildcard


class Matching(Enum):
    """Kinds of attribute matching, with the section of PS3.4 that says what they mean."""

    SINGLE = "single value"  # C.2.2.2.1
    UIDS = "list of UID"  # C.2.2.2.2
    UNIVERSAL = "universal"  # C.2.2.2.3
    WILDCARD = "wildcard"  # C.2.2.2.4
    RANGE = "range"  # C.2.2.2.5
    SEQUENCE = "sequence"  # C.2.2.2.6
    ANY_OF = "any of several values"  # left open by C.2.2.2 without extended negotiation


@dataclass(frozen=True, slots=True)
class Key:
    """An attribute that can be asked for at a level of an information model."""

    root: Root
    level: Level
    attribute: Attribute
    requirement: Requirement
    matching: frozenset[Matching]

    @property
    def name(self) -> str:
        """What the standard calls the attribute."""
        return attribute_name(self.attribute.tag)


def keys(root: Root) -> list[Key]:
    """All keys of a model, level by level. Below their own level keys may be asked for and matched, too."""
    found = []
    for place, level in enumerate(root.levels):
        reached = set(root.levels[: place + 1]) | _above(root)
        for attribute in ATTRIBUTES:
            if attribute.level in reached:
                requirement = _requirement(attribute, level, root)
                found.append(Key(root, level, attribute, requirement, matching(attribute)))
    return found


def matching(attribute: Attribute) -> frozenset[Matching]:
    """The kinds of matching that the parser makes conditions of."""
    if attribute.vr == "SQ":
        return frozenset({Matching.UNIVERSAL, Matching.SEQUENCE})
    one, other = _SAMPLES.get(attribute.vr, ("ABC", "DEF"))
    several = Matching.UIDS if attribute.vr == "UI" else Matching.ANY_OF
    tried = {
        Matching.SINGLE: isinstance(_parsed(attribute, one), OneOf),
        several: isinstance(_parsed(attribute, f"{one}\\{other}"), OneOf),
        Matching.WILDCARD: isinstance(_parsed(attribute, f"{one[:1]}*{one[-1:]}"), Wildcard),
        Matching.RANGE: isinstance(_parsed(attribute, f"{one}-{other}"), Range),
    }
    return frozenset({Matching.UNIVERSAL, *(kind for kind, is_so in tried.items() if is_so)})


# Two values of each VR whose values have a form of their own, the lesser one first.
_SAMPLES: Mapping[str, tuple[str, str]] = MappingProxyType({
    "UI": ("1.2.3", "1.2.4"),
    "DA": ("20200228", "20200301"),
    "TM": ("101112", "101113"),
    "DT": ("20200228101112", "20200301101112"),
    "IS": ("7", "8"),
    "DS": ("7.5", "8.5"),
    "US": ("7", "8"),
    "AS": ("042Y", "043Y"),
})  # fmt: skip


def _parsed(attribute: Attribute, value: str) -> Condition | None:
    try:
        return condition.parse(attribute, value)
    except InvalidQuery:
        return None


def _above(root: Root) -> set[Level]:
    """PS3.4 C.6.2.1: the Study Root has the attributes of patients at its topmost level."""
    return {Level.PATIENT} if root is Root.STUDY else set()


def _requirement(attribute: Attribute, level: Level, root: Root) -> Requirement:
    """Only at their own level keys are what the standard says of them; anywhere below they are an offer of ours."""
    own, is_unique = attribute.level, attribute.requirement is Requirement.UNIQUE
    if level is own:
        return attribute.requirement
    if root is Root.STUDY and own is Level.PATIENT:  # PS3.4 C.6.2.1.1
        return Requirement.OPTIONAL if level is not Level.STUDY else _required(attribute.requirement)
    return Requirement.UNIQUE if is_unique else Requirement.OPTIONAL


def _required(requirement: Requirement) -> Requirement:
    return Requirement.REQUIRED if requirement is Requirement.UNIQUE else requirement
