"""DIMSE messages as P-DATA PDUs: a command set and perhaps a data set, cut to the peer's Maximum Length."""

from __future__ import annotations

from collections.abc import Iterator

from pacsnode.wire.pdu import p_data_header

Parts = list[bytes | memoryview]
"""Pieces of bytes to be sent one after the other, gathered by the transport."""


def command_parts(context_id: int, command: bytes, largest_value: int) -> Parts:
    """A whole command set as PDUs."""
    return list(_pdus(context_id, memoryview(command), largest_value, is_command=True, ends=True))


def data_set_parts(context_id: int, data: memoryview, largest_value: int, *, ends: bool) -> Parts:
    """A piece of a data set as PDUs, without copying. ``ends``: the data set ends with this piece."""
    return list(_pdus(context_id, data, largest_value, is_command=False, ends=ends))


def data_set_bytes(context_id: int, data: bytes, largest_value: int) -> bytes:
    """A whole small data set as PDUs, in one piece."""
    if len(data) <= largest_value:
        return p_data_header(context_id, len(data), is_command=False, is_last=True) + data
    return b"".join(data_set_parts(context_id, memoryview(data), largest_value, ends=True))


def message_parts(context_id: int, command: bytes, data_set: bytes | None, largest_value: int) -> Parts:
    """A whole small message as PDUs."""
    parts = command_parts(context_id, command, largest_value)
    if data_set is not None:
        parts += data_set_parts(context_id, memoryview(data_set), largest_value, ends=True)
    return parts


def _pdus(
    context_id: int, data: memoryview, largest_value: int, *, is_command: bool, ends: bool
) -> Iterator[bytes | memoryview]:
    total = len(data)
    position = 0
    while position < total or not total:
        size = min(largest_value, total - position)
        is_last = ends and position + size == total
        yield p_data_header(context_id, size, is_command=is_command, is_last=is_last)
        yield data[position : position + size]
        position += size
        if not total:
            return
