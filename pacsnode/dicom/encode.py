"""Writes single elements (PS3.5 7.1), for the few tags that our identifiers and reports consist of."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from pacsnode.dicom import syntax
from pacsnode.dicom.attributes import ATTRIBUTES, Attribute
from pacsnode.dicom.coding import ITEM
from pacsnode.model import Uid

SPECIFIC_CHARACTER_SET = 0x00080005
QUERY_RETRIEVE_LEVEL = 0x00080052
RETRIEVE_AE_TITLE = 0x00080054
INSTANCE_AVAILABILITY = 0x00080056
FAILED_SOP_INSTANCE_UID_LIST = 0x00080058
REFERENCED_SOP_CLASS_UID = 0x00081150
REFERENCED_SOP_INSTANCE_UID = 0x00081155
TRANSACTION_UID = 0x00081195
FAILURE_REASON = 0x00081197


def _every(attributes: tuple[Attribute, ...]) -> dict[int, str]:
    """VRs of these and of what is in their items, by tag."""
    found = {attribute.tag: attribute.vr for attribute in attributes}
    for attribute in attributes:
        found |= _every(attribute.items)
    return found


# All of them but sequences have lengths of 16 bits in explicit VR.
_VRS: Mapping[int, str] = MappingProxyType(_every(ATTRIBUTES) | {
    SPECIFIC_CHARACTER_SET: "CS",
    QUERY_RETRIEVE_LEVEL: "CS",
    RETRIEVE_AE_TITLE: "AE",
    INSTANCE_AVAILABILITY: "CS",
    FAILED_SOP_INSTANCE_UID_LIST: "UI",
    REFERENCED_SOP_CLASS_UID: "UI",
    REFERENCED_SOP_INSTANCE_UID: "UI",
    TRANSACTION_UID: "UI",
    FAILURE_REASON: "US",
})  # fmt: skip
_MAX_SHORT_LENGTH = 0xFFFE
_TABLED_LENGTHS = 1024


@dataclass(frozen=True, slots=True)
class ElementWriter:
    """Writes elements as one transfer syntax wants them."""

    headers: Mapping[int, tuple[bytes, bytes]]  # by tag: what comes before the length, and the padding
    length: struct.Struct
    lengths: tuple[str, ...]  # by the bytes of a value that may want padding: its length as it is written, in Latin-1
    short: struct.Struct
    item: struct.Struct  # tag in two halves, and 32 bits of length
    reserved: bytes  # between VR and length of a sequence

    def knowing(self, vrs: Mapping[int, str]) -> ElementWriter:
        """One that writes these tags, too; with lengths of 16 bits in explicit VR."""
        more = _headers(vrs, self.short.format[0], is_implicit=not self.reserved)
        return replace(self, headers=MappingProxyType({**self.headers, **more}))

    def element(self, tag: int, value: bytes) -> bytes:
        """One element, padded to an even length. What cannot be that long in explicit VR is left unknown."""
        header, padding = self.headers[tag]
        if len(value) > _MAX_SHORT_LENGTH:
            return header + self.length.pack(0)
        if len(value) & 1:
            value += padding
        return header + self.length.pack(len(value)) + value

    def sequence(self, tag: int, items: Iterable[bytes]) -> bytes:
        """A sequence of these items, with all lengths defined."""
        content = b"".join(self.item.pack(ITEM >> 16, ITEM & 0xFFFF, len(item)) + item for item in items)
        # After the header of eight bytes that implicit VR would have, only the length is of interest.
        length = self.item.pack(0, 0, len(content))[4:]
        return self.headers[tag][0] + self.reserved + length + content

    def shorts(self, text: str) -> bytes:
        """The value of a US attribute; empty where the text is none."""
        try:
            return b"".join(self.short.pack(int(value)) for value in text.split("\\") if value)
        except (ValueError, struct.error):
            return b""


def _headers(vrs: Mapping[int, str], order: str, *, is_implicit: bool) -> dict[int, tuple[bytes, bytes]]:
    return {
        tag: (
            struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + (b"" if is_implicit else vr.encode("ascii")),
            b"\0" if vr == "UI" else b" ",
        )
        for tag, vr in vrs.items()
    }


def _writer(order: str, *, is_implicit: bool) -> ElementWriter:
    headers = _headers(_VRS, order, is_implicit=is_implicit)
    length = struct.Struct(order + ("I" if is_implicit else "H"))
    lengths = tuple(length.pack(size + (size & 1)).decode("latin-1") for size in range(_TABLED_LENGTHS))
    return ElementWriter(
        MappingProxyType(headers),
        length,
        lengths,
        struct.Struct(order + "H"),
        struct.Struct(order + "HHI"),
        b"" if is_implicit else bytes(2),
    )


_IMPLICIT_LITTLE = _writer("<", is_implicit=True)
_EXPLICIT_LITTLE = _writer("<", is_implicit=False)
_EXPLICIT_BIG = _writer(">", is_implicit=False)


def writer_of(transfer_syntax_uid: Uid) -> ElementWriter:
    """The writer of an uncompressed transfer syntax; of an unknown one, explicit VR little endian."""
    if syntax.is_implicit(transfer_syntax_uid):
        return _IMPLICIT_LITTLE
    return _EXPLICIT_LITTLE if syntax.is_little_endian(transfer_syntax_uid) else _EXPLICIT_BIG
