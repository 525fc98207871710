"""Which VR an element has that was sent without one (PS3.5 6.2, A.1)."""

from __future__ import annotations

import struct

from pydicom.datadict import dictionary_VR

from pacsnode.dicom.pixels import PIXEL_REPRESENTATION

_OTHERWISE_UNKNOWN = b"UN"
_PRIVATE_CREATORS = range(0x10, 0x100)
_SIGN = struct.Struct("<H")


class Representations:
    """VRs within one data set, whose elements come in order: some depend on what came before."""

    def __init__(self) -> None:
        self._signed = b"US"

    def of(self, tag: int, length: int) -> bytes:
        """The VR of an element with so many bytes of value; UN where nobody says."""
        if tag >> 16 & 1:
            return b"LO" if tag & 0xFFFF in _PRIVATE_CREATORS else _OTHERWISE_UNKNOWN
        if not tag & 0xFFFF:
            return b"UL"  # group length
        try:
            vr = dictionary_VR(tag)
        except KeyError:
            return _OTHERWISE_UNKNOWN
        if " or " not in vr:
            return vr.encode("ascii") if vr != "NONE" else _OTHERWISE_UNKNOWN
        if vr == "US or SS":
            return self._signed
        # A.1: pixels, overlays and waveforms are OW in implicit VR; a table has more than one number (C.7.6.3.1.6).
        return b"US" if vr == "US or OW" and length <= 2 else b"OW"

    def learn(self, tag: int, value: bytes) -> None:
        """Take note of a value that decides about others: whether pixels are signed (PS3.3 C.7.6.3.1)."""
        if tag == PIXEL_REPRESENTATION and len(value) == _SIGN.size:
            self._signed = b"SS" if _SIGN.unpack(value) == (1,) else b"US"
