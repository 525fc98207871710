"""What is open while a data set is walked: sequences and items within each other, and values that have begun."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from pacsnode.dicom.coding import Coding

ENDLESS = 1 << 62


class Kind(IntEnum):
    """What a frame may hold."""

    EXPLICIT = 0
    IMPLICIT = 1
    ITEMS = 2
    FRAGMENTS = 3
    PADDING = 4


class Frame(NamedTuple):
    """Something that is open. ``end`` is where it ends by its length, or at the latest by that of what it is in."""

    kind: Kind
    coding: Coding
    start: int
    end: int
    is_delimited: bool


class Partial(NamedTuple):
    """A wanted value that has begun."""

    tag: int
    vr: bytes
    value: bytearray
    length: int


@dataclass(slots=True)
class Sequence:
    """A wanted sequence that has begun: from ``start`` to ``end`` of the stream."""

    tag: int
    start: int
    is_implicit: bool
    end: int = ENDLESS
    value: bytearray = field(default_factory=bytearray)


def kind_of_elements(coding: Coding) -> Kind:
    """The kind of a data set, or of an item, in this coding."""
    return Kind.IMPLICIT if coding.is_implicit else Kind.EXPLICIT
