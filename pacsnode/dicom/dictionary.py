"""What the standard calls things (PS3.6)."""

from __future__ import annotations

from pydicom.datadict import dictionary_description, dictionary_keyword
from pydicom.uid import UID


def attribute_name(tag: int) -> str:
    """The name of an attribute, e.g. "Patient's Name". Raises KeyError for one that the dictionary does not have."""
    return dictionary_description(tag)


def attribute_keyword(tag: int) -> str:
    """The keyword of an attribute, e.g. "PatientName". Raises KeyError as above."""
    return dictionary_keyword(tag)


def uid_name(uid: str) -> str:
    """The name of a UID; the UID itself where the dictionary does not have it."""
    return UID(uid).name
