"""Facts about transfer syntaxes (PS3.5 10 and Annex A). What we do not know counts as explicit VR little endian."""

from __future__ import annotations

from pacsnode.model import Uid

IMPLICIT_VR_LITTLE_ENDIAN = Uid("1.2.840.10008.1.2")
EXPLICIT_VR_LITTLE_ENDIAN = Uid("1.2.840.10008.1.2.1")
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = Uid("1.2.840.10008.1.2.1.99")
EXPLICIT_VR_BIG_ENDIAN = Uid("1.2.840.10008.1.2.2")
JPIP_REFERENCED = Uid("1.2.840.10008.1.2.4.94")
JPIP_REFERENCED_DEFLATE = Uid("1.2.840.10008.1.2.4.95")
JPIP_HTJ2K_REFERENCED = Uid("1.2.840.10008.1.2.4.204")
JPIP_HTJ2K_REFERENCED_DEFLATE = Uid("1.2.840.10008.1.2.4.205")
PAPYRUS_3_IMPLICIT_VR_LITTLE_ENDIAN = Uid("1.2.840.10008.1.20")
GE_PRIVATE_IMPLICIT_VR_BIG_ENDIAN_PIXELS = Uid("1.2.840.113619.5.2")
"""Only the pixels are big endian: everything around them is implicit VR little endian."""
GE_PRIVATE_COMPRESS_EXPRESS = Uid("2.16.840.1.113709.1.2.2")
"""Pixels that only GE's PACS reads, in fragments."""

_IMPLICIT = frozenset(
    {
        IMPLICIT_VR_LITTLE_ENDIAN,
        PAPYRUS_3_IMPLICIT_VR_LITTLE_ENDIAN,
        GE_PRIVATE_IMPLICIT_VR_BIG_ENDIAN_PIXELS,
    }
)
_DEFLATED = frozenset({DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, JPIP_REFERENCED_DEFLATE, JPIP_HTJ2K_REFERENCED_DEFLATE})
_NEVER_ENCAPSULATED = (
    _IMPLICIT | _DEFLATED | {EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN, JPIP_REFERENCED, JPIP_HTJ2K_REFERENCED}
)


def is_implicit(uid: Uid) -> bool:
    """Whether elements carry no VR (PS3.5 A.1)."""
    return uid in _IMPLICIT


def is_little_endian(uid: Uid) -> bool:
    """Whether the data set is little endian: all but one syntax are (PS3.5 A.3)."""
    return uid != EXPLICIT_VR_BIG_ENDIAN


def is_deflated(uid: Uid) -> bool:
    """Whether the whole data set is one raw deflate stream (PS3.5 A.5)."""
    return uid in _DEFLATED


def is_encapsulated(uid: Uid) -> bool:
    """Whether Pixel Data may be a sequence of fragments (PS3.5 A.4); of an unknown syntax we assume so."""
    return uid not in _NEVER_ENCAPSULATED
