"""Which standard attributes are sequences (PS3.6): in implicit VR only the tag tells."""

from __future__ import annotations

# pydicom documents the dictionary as part of datadict, but lists it in no __all__.
from pydicom.datadict import DicomDictionary  # type: ignore[attr-defined]

SEQUENCE_TAGS: frozenset[int] = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
