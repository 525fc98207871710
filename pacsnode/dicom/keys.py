"""Keys that are sequences (PS3.4 C.2.2.2.6): what is asked for of their items, and what these have to be like."""

from __future__ import annotations

from dataclasses import dataclass

from pacsnode.dicom import condition
from pacsnode.dicom.attributes import Attribute
from pacsnode.dicom.coding import Coding, tag_name
from pacsnode.dicom.elements import Element
from pacsnode.dicom.encode import SPECIFIC_CHARACTER_SET
from pacsnode.dicom.items import Item, SequenceKey, decode, read_items
from pacsnode.errors import InvalidQuery
from pacsnode.model import Condition, Items


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """A sequence key, and whether we know all the keys in its item."""

    sequence: SequenceKey
    is_known: bool


def parse(attribute: Attribute, element: Element, coding: Coding, terms: str) -> ParsedKey:
    """What a sequence of an identifier asks for. Without an item, or with an empty one, that is everything we know.

    Raises InvalidQuery for more than one item, and for values that cannot be matched.
    """
    return _parsed(attribute, read_items(element, coding), terms)


def _parsed(attribute: Attribute, items: list[Item], terms: str) -> ParsedKey:
    if len(items) > 1:
        raise InvalidQuery(f"{tag_name(attribute.tag)} has more than one item")
    item = items[0] if items else {}
    if not item:
        return ParsedKey(_everything(attribute), is_known=True)
    known = {one.tag for one in attribute.items} | {SPECIFIC_CHARACTER_SET}
    is_known = all(tag in known or not tag & 0xFFFF for tag in item)  # group lengths are no keys
    asked: list[Attribute | SequenceKey] = []
    conditions: dict[str, Condition] = {}
    for one in sorted(attribute.items, key=lambda known: known.tag):
        raw = item.get(one.tag)
        if raw is None:
            continue
        if one.vr == "SQ":
            inner = _parsed(one, raw if isinstance(raw, list) else [], terms)
            is_known &= inner.is_known
            asked.append(inner.sequence)
            found: Condition | None = inner.sequence.condition
        else:
            asked.append(one)
            found = condition.parse(one, decode(raw, terms, one.vr)) if isinstance(raw, bytes) else None
        if found is not None:
            conditions[one.name] = found
    return ParsedKey(SequenceKey(attribute, tuple(asked), Items(conditions) if conditions else None), is_known)


def _everything(attribute: Attribute) -> SequenceKey:
    known = sorted(attribute.items, key=lambda one: one.tag)
    return SequenceKey(attribute, tuple(_everything(one) if one.vr == "SQ" else one for one in known))
