"""Identifiers of C-FIND, C-MOVE and C-GET (PS3.4 C.4): from bytes to a query.

Strict where a wrong reading would answer another question; lenient where workstations deviate without doubt about
what they mean: unique keys of higher levels may be missing, attributes of higher levels may be asked for and matched.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from pacsnode.dicom import charset, condition, keys
from pacsnode.dicom.attributes import ATTRIBUTES, BY_NAME, BY_TAG, UNIQUE_KEYS, Attribute, Requirement
from pacsnode.dicom.coding import tag_name
from pacsnode.dicom.elements import Elements
from pacsnode.dicom.encode import (
    FAILED_SOP_INSTANCE_UID_LIST,
    INSTANCE_AVAILABILITY,
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_AE_TITLE,
    SPECIFIC_CHARACTER_SET,
    writer_of,
)
from pacsnode.dicom.items import SequenceKey
from pacsnode.dicom.readable import attribute_of
from pacsnode.dicom.walk import DataSetWalker
from pacsnode.errors import BadDataset, InvalidQuery
from pacsnode.model import OBJECT_KEY, Condition, InstanceHeader, Level, OneOf, Query, Uid

MAX_FAILED_UIDS = 1000  # 65 bytes each: more would not fit the 16 bits of an explicit VR length

_TIMEZONE_OFFSET_FROM_UTC = 0x00080201
# They say something of the exchange, or are our own answer: never matched.
_APART = frozenset(
    {
        SPECIFIC_CHARACTER_SET,
        QUERY_RETRIEVE_LEVEL,
        RETRIEVE_AE_TITLE,
        INSTANCE_AVAILABILITY,
        _TIMEZONE_OFFSET_FROM_UTC,
    }
)
# Their values are told, but are the same for everything: a key that asks for one is not matched.
_NOT_MATCHED = frozenset({RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY})
_DEPTH: Mapping[Level, int] = {level: depth for depth, level in enumerate(Level)}
_REQUIRED = frozenset(one.name for one in ATTRIBUTES if one.requirement is Requirement.REQUIRED)


class Root(Enum):
    """The query/retrieve information models (PS3.4 C.6), each with its levels from the top."""

    PATIENT = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)
    STUDY = (Level.STUDY, Level.SERIES, Level.IMAGE)
    PATIENT_STUDY_ONLY = (Level.PATIENT, Level.STUDY)

    @property
    def levels(self) -> tuple[Level, ...]:
        """Levels that may be asked for."""
        return tuple(self.value)


@dataclass(frozen=True, slots=True)
class FindRequest:
    """What a C-FIND asks. Tags of group lengths are not in it."""

    query: Query
    requested: tuple[int, ...]  # tags as they were sent, known or not
    unsupported: frozenset[int]  # neither matched nor answered: matches are told with FF01
    specific_character_set: str  # of the request, as it was sent; what is assumed where it declared none
    answered: tuple[int, ...]  # tags of every response, ascending, but Specific Character Set
    unmatched: frozenset[int] = frozenset()  # answered, but not, or not in all their items' keys, matched: FF01, too
    sequences: Mapping[int, SequenceKey] = field(default_factory=dict)  # those answered, by tag
    read: Mapping[int, Attribute] = field(default_factory=dict)  # answered, but in no column: an object tells, by tag

    @property
    def level(self) -> Level:
        """Query/Retrieve Level, of request and responses."""
        return self.query.level

    @property
    def is_supported(self) -> bool:
        """Are all optional keys that were sent supported for existence and matching (PS3.4 C.4.1.1.4)?"""
        return not self.unsupported and not self.unmatched


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What may differ from one association to another: by negotiation (PS3.4 C.5.1.1), or by the peer."""

    combines_date_and_time: bool = False  # of a range each: one interval instead of so many hours on each day
    reads_headers: bool = False  # what the index does not have is told from an object
    matches_unknown: bool = False  # an empty required attribute matches any single value and range


@dataclass(frozen=True, slots=True)
class RetrieveRequest:
    """What a C-MOVE or C-GET asks for."""

    query: Query

    @property
    def level(self) -> Level:
        """Query/Retrieve Level."""
        return self.query.level


def parse_find(
    data: bytes, transfer_syntax_uid: Uid, root: Root, rules: Rules = Rules(), *, assumed: str = ""
) -> FindRequest:
    """Read the identifier of a C-FIND (PS3.4 C.4.1.1.3.1); ``assumed`` is its character set where it declares none.

    Raises InvalidQuery with a text of at most 64 ASCII characters that names the offending tag, where there is one.
    """
    elements = _read(data, transfer_syntax_uid)
    level = _level(elements, root)
    terms = charset.declared(_plain(elements, SPECIFIC_CHARACTER_SET), assumed)
    tags = tuple(tag for tag in elements.by_tag if tag & 0xFFFF)  # without group lengths
    asked = [BY_TAG[tag] for tag in tags if tag in BY_TAG and _DEPTH[BY_TAG[tag].level] <= _DEPTH[level]]

    sequences = {a.tag: keys.parse(a, elements.by_tag[a.tag], elements.coding, terms) for a in asked if a.vr == "SQ"}
    wished = {a.name: _wished(elements, a, terms) for a in asked if a.vr != "SQ"}
    wished |= {key.sequence.attribute.name: key.sequence.condition for key in sequences.values()}
    conditions = {name: found for name, found in wished.items() if found is not None}
    if rules.combines_date_and_time:
        conditions = condition.combined(conditions)
    higher = [UNIQUE_KEYS[one] for one in root.levels if _DEPTH[one] < _DEPTH[level]]
    names = dict.fromkeys([*wished, *higher, UNIQUE_KEYS[level]])
    read = {tag: found for tag in tags if (found := attribute_of(tag))} if rules.reads_headers else {}
    read = {tag: found for tag, found in read.items() if tag not in _APART}
    if read:
        names[OBJECT_KEY] = None
    known = {attribute.tag for attribute in asked} | set(read)
    apart = {QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE} | ({INSTANCE_AVAILABILITY} & set(tags))
    return FindRequest(
        query=Query(level, conditions, tuple(names), _unknown(root) if rules.matches_unknown else frozenset()),
        requested=tags,
        unsupported=frozenset(set(tags) - known - _APART),
        specific_character_set=terms,
        answered=tuple(sorted(known | apart | {BY_NAME[name].tag for name in higher})),
        unmatched=frozenset(tag for tag in (*_NOT_MATCHED, *read) if _plain(elements, tag))
        | {tag for tag, key in sequences.items() if not key.is_known},
        sequences={tag: key.sequence for tag, key in sequences.items()},
        read=read,
    )


def parse_retrieve(data: bytes, transfer_syntax_uid: Uid, root: Root, *, assumed: str = "") -> RetrieveRequest:
    """Read the identifier of a C-MOVE or C-GET (PS3.4 C.4.2.1.4, C.4.3.1.3): unique keys, and that of the level filled.

    Patient ID narrows in the Study Root, too. Other keys may be there, but empty. InvalidQuery is as in ``parse_find``.
    """
    elements = _read(data, transfer_syntax_uid)
    level = _level(elements, root)
    terms = charset.declared(_plain(elements, SPECIFIC_CHARACTER_SET), assumed)
    keys = {UNIQUE_KEYS[one] for one in Level if _DEPTH[one] <= _DEPTH[level]}
    conditions: dict[str, Condition] = {}
    for tag in elements.by_tag:
        # Group lengths, private elements and sequences are no keys of the model.
        if tag in _APART or not tag & 0xFFFF or tag >> 16 & 1 or not elements.value(tag).strip(b" \0"):
            continue
        attribute = BY_TAG.get(tag)
        if attribute is None or attribute.name not in keys:
            raise InvalidQuery(f"{tag_name(tag)} is not a unique key of level {level.value}")
        conditions[attribute.name] = _unique(attribute, _text(elements, attribute, terms))
    if UNIQUE_KEYS[level] not in conditions:
        raise InvalidQuery(f"{tag_name(BY_NAME[UNIQUE_KEYS[level]].tag)} is required at level {level.value}")
    return RetrieveRequest(Query(level, conditions))


def encode_failed_uids(uids: Sequence[Uid], transfer_syntax_uid: Uid) -> bytes:
    """An identifier with the Failed SOP Instance UID List (PS3.4 C.4.2): the first ``MAX_FAILED_UIDS`` of them."""
    listed = "\\".join(uids[:MAX_FAILED_UIDS])
    return writer_of(transfer_syntax_uid).element(FAILED_SOP_INSTANCE_UID_LIST, listed.encode("ascii"))


def encode_instance_keys(header: InstanceHeader, transfer_syntax_uid: Uid) -> bytes:
    """The identifier of a retrieve of this very instance (PS3.4 C.4.3.1.3): its own UID and those above it."""
    writer = writer_of(transfer_syntax_uid)
    keys = {QUERY_RETRIEVE_LEVEL: Level.IMAGE.value} | {
        BY_NAME[name].tag: getattr(header, name)
        for name in ("sop_instance_uid", "study_instance_uid", "series_instance_uid")
    }
    return b"".join(writer.element(tag, value.encode("ascii")) for tag, value in sorted(keys.items()))


def _read(data: bytes, transfer_syntax_uid: Uid) -> Elements:
    walker = DataSetWalker(transfer_syntax_uid, None)
    try:
        walker.feed(data)
        return walker.finish()
    except BadDataset as error:
        raise InvalidQuery("identifier cannot be read to its end") from error


def _level(elements: Elements, root: Root) -> Level:
    sent = _plain(elements, QUERY_RETRIEVE_LEVEL)
    if not sent:
        raise InvalidQuery(f"{tag_name(QUERY_RETRIEVE_LEVEL)} Query/Retrieve Level is missing")
    for level in root.levels:
        if level.value == sent.upper():
            return level
    raise InvalidQuery(f"{tag_name(QUERY_RETRIEVE_LEVEL)} is no level of this information model")


def _unknown(root: Root) -> frozenset[str]:
    """The required keys of the model: Patient ID, too, where the patient is no level of its own (PS3.4 C.6.2.1.2)."""
    return _REQUIRED if Level.PATIENT in root.levels else _REQUIRED | {UNIQUE_KEYS[Level.PATIENT]}


def _plain(elements: Elements, tag: int) -> str:
    """A value of the default character repertoire, without padding; "" where it is absent."""
    return elements.value(tag).decode("latin-1").strip(" \0")


def _wished(elements: Elements, attribute: Attribute, terms: str) -> Condition | None:
    # Most keys are empty: they ask for the attribute, and match everything.
    return condition.parse(attribute, _text(elements, attribute, terms)) if elements.value(attribute.tag) else None


def _text(elements: Elements, attribute: Attribute, terms: str) -> str:
    raw = elements.value(attribute.tag)
    if attribute.vr != "US":
        return charset.decode(raw, terms, attribute.vr)
    if len(raw) % 2:
        raise InvalidQuery(f"{tag_name(attribute.tag)} is not of whole US values")
    order = "<" if elements.is_little_endian else ">"
    return "\\".join(map(str, struct.unpack(f"{order}{len(raw) // 2}H", raw)))


def _unique(attribute: Attribute, text: str) -> Condition:
    """A unique key of a retrieve: a list of UIDs, or one Patient ID; never a pattern."""
    values = condition.split(attribute, text)
    if attribute.vr == "UI":
        return condition.uids(attribute, values)
    if len(values) != 1 or condition.has_wildcard(values[0]):
        raise InvalidQuery(f"{tag_name(attribute.tag)} is not a single value")
    return OneOf((values[0],))
