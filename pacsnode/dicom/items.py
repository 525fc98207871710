"""Items of sequences (PS3.5 7.5): from bytes to the text that the index keeps, and back to what a query asks for.

The text is a JSON list of the items, each an object by tag (``00080100``): decoded text, or again such a list.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from pacsnode.dicom import charset
from pacsnode.dicom.attributes import Attribute
from pacsnode.dicom.coding import (
    HEADER_BYTES,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_DELIMITER,
    LONG_HEADER_BYTES,
    LONG_VRS,
    SEQUENCE_DELIMITER,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    Coding,
)
from pacsnode.dicom.elements import Element
from pacsnode.dicom.sequences import SEQUENCE_TAGS
from pacsnode.model import Condition, Items, OneOf, Wildcard

MAX_BYTES = 64 * 1024  # of a sequence that the index keeps: longer ones say more than anybody asks for

_MAX_DEPTH = 16
_SPECIFIC_CHARACTER_SET = 0x00080005
_PADDING = " \0"

Item: TypeAlias = Mapping[int, "bytes | list[Item]"]
Told: TypeAlias = "dict[str, str | list[Told]]"
"""An item as the text has it."""


@dataclass(frozen=True, slots=True)
class SequenceKey:
    """A sequence that is asked for: which attributes of its items, and what these have to be like."""

    attribute: Attribute
    keys: tuple[Attribute | SequenceKey, ...]  # in ascending order of their tags
    condition: Items | None = None


def read_items(element: Element, coding: Coding) -> list[Item]:
    """The items of a sequence; none where the bytes are not what they should be. ``coding``: the data set's."""
    try:
        is_implicit = element.is_implicit or element.vr == "UN"  # PS3.5 6.2.2
        return _Reader(element.value).items(0, len(element.value), IMPLICIT_LITTLE if is_implicit else coding, 0)[0]
    except (struct.error, ValueError):
        return []


def text_of(items: Sequence[Item], attributes: Sequence[Attribute], terms: str) -> str:
    """What the index keeps of the items: of these attributes; "" where that is nothing."""
    told = _told(items, attributes, terms)
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")) if any(told) else ""


def wanted_items(text: str, key: SequenceKey) -> list[Told]:
    """The items that a response tells of: those that match, with what was asked for (PS3.4 C.2.2.2.6)."""
    return list(_wanted(_parsed(text), key)) if text else []


def decode(raw: bytes, terms: str, vr: str) -> str:
    """The text of a value, each single one without padding."""
    decoded = charset.decode(raw, terms, vr)
    return "\\".join(part.strip(_PADDING) for part in decoded.split("\\"))


@lru_cache(maxsize=1024)  # the series of a study, and the studies of a day, repeat theirs
def _parsed(text: str) -> list[Told]:
    parsed: list[Told] = json.loads(text)
    return parsed


def _told(items: Sequence[Item], attributes: Sequence[Attribute], terms: str) -> list[Told]:
    result: list[Told] = []
    for item in items:
        own = item.get(_SPECIFIC_CHARACTER_SET, b"")
        item_terms = own.decode("latin-1").strip(_PADDING) if isinstance(own, bytes) and own else terms
        told: Told = {}
        for attribute in attributes:
            raw = item.get(attribute.tag, b"")
            if isinstance(raw, bytes):
                known: str | list[Told] = decode(raw, item_terms, attribute.vr) if attribute.vr != "SQ" else []
            else:
                known = _told(raw, attribute.items, item_terms) if attribute.vr == "SQ" else ""
            if known:
                told[f"{attribute.tag:08X}"] = known
        result.append(told)
    return result


def _wanted(items: Sequence[Told], key: SequenceKey) -> Iterator[Told]:
    for item in items:
        if key.condition is not None and not _matches(item, key.attribute, key.condition):
            continue
        told: Told = {}
        for one in key.keys:
            attribute = one.attribute if isinstance(one, SequenceKey) else one
            value = item.get(f"{attribute.tag:08X}", "")
            if isinstance(one, SequenceKey) and isinstance(value, list):
                value = list(_wanted(value, one))
            told[f"{attribute.tag:08X}"] = value
        yield told


def _matches(item: Told, attribute: Attribute, condition: Items) -> bool:
    by_name = {one.name: one for one in attribute.items}
    for name, wanted in condition.conditions.items():
        value = item.get(f"{by_name[name].tag:08X}", "")
        if isinstance(wanted, Items):
            if not any(_matches(inner, by_name[name], wanted) for inner in value if isinstance(inner, dict)):
                return False
        elif not isinstance(value, str) or not any(map(_test(wanted), filter(None, value.split("\\")))):
            return False
    return True


def _test(condition: Condition) -> Callable[[str], bool]:
    """Items have text and UIDs only: a single value, a list of UIDs, or a pattern."""
    if isinstance(condition, OneOf):
        return condition.values.__contains__
    if isinstance(condition, Wildcard):
        pattern = "".join({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in condition.pattern)
        return lambda value: re.fullmatch(pattern, value, re.DOTALL) is not None
    return lambda value: False


class _Reader:
    """Reads what a walk has found sound. Raises struct.error or ValueError where it is not, as in UN it may be."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def items(self, at: int, end: int, coding: Coding, depth: int) -> tuple[list[Item], int]:
        """Items up to the end or the delimiter, and where what follows begins."""
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deep")
        result: list[Item] = []
        while at < end:
            group, number, length = coding.item.unpack_from(self._data, at)
            at += HEADER_BYTES
            tag = group << 16 | number
            if tag == SEQUENCE_DELIMITER:
                break
            if tag != ITEM:
                raise ValueError("no item")
            item, at = self._item(at, end if length == UNDEFINED_LENGTH else at + length, coding, depth)
            result.append(item)
        return result, at

    def _item(self, at: int, end: int, coding: Coding, depth: int) -> tuple[Item, int]:
        result: dict[int, bytes | list[Item]] = {}
        while at < end:
            tag, vr, length, at = self._header(at, coding)
            if tag == ITEM_DELIMITER:
                break
            if not coding.is_implicit and not (vr.isalpha() and vr.isupper()) and not result:
                coding, at = IMPLICIT_LITTLE if coding.is_little_endian else coding, at - HEADER_BYTES
                tag, vr, length, at = self._header(at, coding)
            is_sequence = vr == b"SQ" or (coding.is_implicit and tag in SEQUENCE_TAGS)
            if is_sequence or length == UNDEFINED_LENGTH:
                inner = IMPLICIT_LITTLE if vr == b"UN" else coding
                last = end if length == UNDEFINED_LENGTH else at + length
                if is_sequence or vr in (b"UN", b""):
                    result[tag], at = self.items(at, last, inner, depth + 1)
                else:
                    at = self._after_fragments(at, last, coding)
            else:
                result[tag] = self._data[at : at + length]
                at += length
        return result, at

    def _header(self, at: int, coding: Coding) -> tuple[int, bytes, int, int]:
        """Tag, VR, length, and where the value begins."""
        group, number, length = coding.item.unpack_from(self._data, at)
        if coding.is_implicit or group == 0xFFFE:
            return group << 16 | number, b"", length, at + HEADER_BYTES
        group, number, vr, length = coding.header.unpack_from(self._data, at)
        if vr in SHORT_VRS or (vr not in LONG_VRS and vr != b"SQ" and length):
            return group << 16 | number, vr, length, at + HEADER_BYTES
        return group << 16 | number, vr, coding.length.unpack_from(self._data, at + 8)[0], at + LONG_HEADER_BYTES

    def _after_fragments(self, at: int, end: int, coding: Coding) -> int:
        while at < end:
            group, number, length = coding.item.unpack_from(self._data, at)
            at += HEADER_BYTES
            if group << 16 | number == SEQUENCE_DELIMITER:
                break
            at += length
        return at
