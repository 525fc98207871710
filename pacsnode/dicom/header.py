"""From the raw elements of a walk to the header the index keeps, and whether it may be stored under its command."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import fields
from functools import lru_cache

from pacsnode.dicom import charset, items
from pacsnode.dicom.attributes import BY_NAME, Attribute
from pacsnode.dicom.coding import Coding, tag_name
from pacsnode.dicom.elements import Element, Elements
from pacsnode.errors import FaultyElement, MalformedUid, UidMismatch
from pacsnode.model import Arrival, InstanceHeader, Uid

_SPECIFIC_CHARACTER_SET = 0x00080005
_PADDING = " \0"
_HARMLESS_UID = re.compile(r"[0-9.]{1,64}\Z")
_BINARY_LAYOUTS = {"US": "H", "SS": "h", "UL": "I", "SL": "i"}
_KNOWN = {BY_NAME[field.name].tag: (field.name, BY_NAME[field.name].vr) for field in fields(InstanceHeader)}
_MANDATORY = {
    "sop_class_uid": "SOP Class UID",
    "sop_instance_uid": "SOP Instance UID",
    "study_instance_uid": "Study Instance UID",
    "series_instance_uid": "Series Instance UID",
}


def read_header(elements: Elements, assumed: str = "") -> InstanceHeader:
    """Decode the attributes of the index; what is absent is "", what is too long for its VR is kept.

    ``assumed`` is the Specific Character Set of a data set that declares none.
    Padding is stripped from every single value. Raises FaultyElement without one of the four UIDs.
    """
    terms, is_little_endian = _terms(elements, assumed), elements.is_little_endian
    values = {}
    for tag, element in elements.by_tag.items():  # half as many as there could be
        if (known := _KNOWN.get(tag)) is None or not element.value:
            continue
        name, attribute_vr = known
        vr, value, _ = element
        if attribute_vr == "SQ":
            values[name] = _items(element, name, terms, elements.coding)
        elif vr != "SQ":
            vr = attribute_vr if vr in ("", "UN") else vr
            values[name] = _text(value, attribute_vr, vr, terms, is_little_endian)
    for name, keyword in _MANDATORY.items():
        if not values.get(name):
            raise FaultyElement(f"{keyword} {_tag(name)} is missing or empty", tag=BY_NAME[name].tag)
    sop_class, sop_instance, study, series = (Uid(values.pop(name)) for name in _MANDATORY)
    return InstanceHeader(sop_class, sop_instance, study, series, **values)


def read_values(elements: Elements, attributes: Iterable[Attribute], assumed: str = "") -> dict[str, str]:
    """The values of these attributes, by name, as ``read_header`` decodes them; none for sequences."""
    terms = _terms(elements, assumed)
    values = {}
    for attribute in attributes:
        element = elements.by_tag.get(attribute.tag, Element("", b""))
        vr = attribute.vr if element.vr in ("", "UN") else element.vr
        raw = elements.value(attribute.tag)
        values[attribute.name] = _text(raw, attribute.vr, vr, terms, elements.is_little_endian)
    return values


def check_against(header: InstanceHeader, arrival: Arrival) -> None:
    """Compare the data set's UIDs with the command's (PS3.4 B.2.3) and with PS3.5 9.1.

    Raises UidMismatch; MalformedUid for the SOP Instance UID, FaultyElement for the others. Leading zeros in a
    component break 9.1, too, but are common and harmless. The texts tell no values: what is no UID might be a name.
    """
    if not _HARMLESS_UID.match(header.sop_instance_uid):
        raise MalformedUid(f"SOP Instance UID {_tag('sop_instance_uid')} is malformed")
    commanded = {"sop_class_uid": arrival.sop_class_uid, "sop_instance_uid": arrival.sop_instance_uid}
    for name, uid in commanded.items():
        if getattr(header, name) != uid.strip(_PADDING):
            raise UidMismatch(f"{_MANDATORY[name]} differs from the command's", tag=BY_NAME[name].tag)
    for name in ("study_instance_uid", "series_instance_uid"):
        if not _HARMLESS_UID.match(getattr(header, name)):
            raise FaultyElement(f"{_MANDATORY[name]} {_tag(name)} is malformed", tag=BY_NAME[name].tag)


def _terms(elements: Elements, assumed: str) -> str:
    sent = elements.value(_SPECIFIC_CHARACTER_SET).decode("latin-1").strip(_PADDING)
    return charset.declared(sent, assumed)


@lru_cache(maxsize=4096)  # the instances of a series repeat most values: 1 µs instead of 4 for each
def _text(value: bytes, attribute_vr: str, vr: str, terms: str, is_little_endian: bool) -> str:
    if attribute_vr == "US" and vr in _BINARY_LAYOUTS:
        return _numbers(value, ("<" if is_little_endian else ">") + _BINARY_LAYOUTS[vr])
    return items.decode(value, terms, attribute_vr)


@lru_cache(maxsize=1024)  # as above
def _items(element: Element, name: str, terms: str, coding: Coding) -> str:
    if len(element.value) > items.MAX_BYTES:
        return ""
    attribute = BY_NAME[name]
    return items.text_of(items.read_items(element, coding), attribute.items, terms)


def _numbers(value: bytes, layout: str) -> str:
    if len(value) % struct.calcsize(layout):
        return ""
    return "\\".join(str(number) for (number,) in struct.iter_unpack(layout, value))


def _tag(name: str) -> str:
    return tag_name(BY_NAME[name].tag)
