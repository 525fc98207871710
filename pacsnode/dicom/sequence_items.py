"""Finds the items of sequences in a small data set: where the values lie, not what they mean (PS3.5 7.5)."""

from __future__ import annotations

from collections.abc import Mapping

from pacsnode.dicom.coding import (
    HEADER_BYTES,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_DELIMITER,
    LONG_HEADER_BYTES,
    LONG_VRS,
    SEQUENCE_DELIMITER,
    UNDEFINED_LENGTH,
    Coding,
)
from pacsnode.errors import BadDataset

Places = Mapping[int, slice]
"""Where in the data the values of elements lie, by tag; that of a sequence may end with its delimiter."""


class ItemReader:
    """Reads what is in memory. Every method raises BadDataset for what is not as it should be."""

    def __init__(self, data: bytes, coding: Coding, *, max_depth: int) -> None:
        self._data = data
        self._coding = coding
        self._max_depth = max_depth

    def elements(self) -> Places:
        """The elements of the data set."""
        return self._elements(0, len(self._data), self._max_depth)[0]

    def items(self, place: slice) -> list[Places]:
        """The items of the sequence whose value lies there."""
        return self._items(place.start, place.stop, self._max_depth)[0]

    def value(self, place: slice) -> bytes:
        """The bytes that lie there."""
        return self._data[place]

    def _elements(self, at: int, end: int, depth: int) -> tuple[Places, int]:
        """Up to the end or an item delimiter, and where that is."""
        found: dict[int, slice] = {}
        while at < end:
            tag, length, at, coding = self._header(at, end)
            if tag == ITEM_DELIMITER:
                return found, at
            begin = at
            if length == UNDEFINED_LENGTH:
                inner = self if coding is self._coding else ItemReader(self._data, coding, max_depth=depth)
                at = inner._items(at, end, depth)[1]
            else:
                at += length
            found[tag] = slice(begin, at)
        if at > end:
            raise BadDataset("an element is longer than what it lies in")
        return found, at

    def _items(self, at: int, end: int, depth: int) -> tuple[list[Places], int]:
        """Up to the end or a sequence delimiter, and where that is."""
        if not depth:
            raise BadDataset("sequences lie too deep in each other")
        found: list[Places] = []
        while at < end:
            tag, length, at, _ = self._header(at, end)
            if tag == SEQUENCE_DELIMITER:
                return found, at
            if tag != ITEM:
                raise BadDataset("something other than an item in a sequence")
            stop = end if length == UNDEFINED_LENGTH else at + length
            if stop > end:
                raise BadDataset("an item is longer than its sequence")
            item, at = self._elements(at, stop, depth - 1)
            found.append(item)
        return found, at

    def _header(self, at: int, end: int) -> tuple[int, int, int, Coding]:
        """Tag and length of an element or item, where its value begins, and how what is in it is laid out."""
        coding, data = self._coding, self._data
        if end - at < HEADER_BYTES:
            raise BadDataset("a header is cut off")
        group, element, length = coding.item.unpack_from(data, at)
        tag = group << 16 | element
        if coding.is_implicit or group == ITEM >> 16:
            return tag, length, at + HEADER_BYTES, coding
        _, _, vr, length = coding.header.unpack_from(data, at)
        if vr not in LONG_VRS and vr != b"SQ":
            return tag, length, at + HEADER_BYTES, coding
        if end - at < LONG_HEADER_BYTES:
            raise BadDataset("a header is cut off")
        (length,) = coding.length.unpack_from(data, at + HEADER_BYTES)
        return tag, length, at + LONG_HEADER_BYTES, IMPLICIT_LITTLE if vr == b"UN" else coding
