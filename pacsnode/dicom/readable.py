"""Attributes that are in no column of the index, and can be told from an object nevertheless."""

from __future__ import annotations

from functools import cache

# pydicom documents the dictionary as part of datadict, but lists it in no __all__.
from pydicom.datadict import DicomDictionary  # type: ignore[attr-defined]

from pacsnode.dicom.attributes import BY_TAG, Attribute, Requirement
from pacsnode.dicom.coding import tag_name
from pacsnode.model import Level

_VRS = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI", "US"])
"""Text and numbers with lengths of 16 bits. Sequences and bulk data are not read."""


@cache  # one for each standard attribute that was ever asked for
def attribute_of(tag: int) -> Attribute | None:
    """The attribute of a tag; None for private, repeating and unknown ones, for those that we index, and other VRs."""
    vr = str(DicomDictionary[tag][0]) if tag in DicomDictionary else ""
    if vr not in _VRS or tag in BY_TAG:
        return None
    return Attribute(tag_name(tag), tag, vr, Level.IMAGE, Requirement.OPTIONAL)
