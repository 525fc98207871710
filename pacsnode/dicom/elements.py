"""Elements as they were sent, not decoded: what a walk over a data set finds."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from pacsnode.dicom.coding import Coding


class Element(NamedTuple):
    """One element as it was sent. ``vr`` is "" in implicit VR.

    Of a sequence the value is its items, as they were sent, and ``vr`` "SQ"; of one that is too long there is no value.
    ``is_implicit``: its items are in implicit VR little endian, whatever is around them.
    """

    vr: str
    value: bytes
    is_implicit: bool = False


class Place(NamedTuple):
    """Where an element of the top level is in the (inflated) stream. ``vr`` is "" in implicit VR."""

    value_at: int
    vr: str
    length: int


@dataclass(frozen=True, slots=True)
class Elements:
    """The wanted top-level elements that were there, by tag, with padding and all."""

    by_tag: Mapping[int, Element]
    coding: Coding
    places: Mapping[int, Place] = field(default_factory=dict)  # of those to be noted that were there
    repeated: frozenset[int] = frozenset()  # which of them came more than once

    @property
    def is_little_endian(self) -> bool:
        """The order of the bytes of numbers."""
        return self.coding.is_little_endian

    @property
    def noted(self) -> Set[int]:
        """Tags of those to be noted that were there."""
        return self.places.keys()

    def value(self, tag: int) -> bytes:
        """The value of an element; empty where it is absent, or a sequence."""
        element = self.by_tag.get(tag)
        return element.value if element is not None and element.vr != "SQ" else b""
