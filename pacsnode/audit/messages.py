"""An audit message as the standard's schema has it (PS3.15 A.5.1): values in, one line of XML out."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum
from typing import NamedTuple
from xml.sax.saxutils import escape

# What XML 1.0 has no way to say, not even escaped.
_NO_CHARACTER = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPED = {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
_MAX_CHARACTERS = 1024  # of one text: no peer makes a message larger than collectors take (RFC 5425 4.3.1)


class Code(NamedTuple):
    """A coded value (PS3.15 A.5.1, CodedValueType)."""

    value: str
    meaning: str
    scheme: str = "DCM"


class Action(Enum):
    """Event Action Code."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class Outcome(IntEnum):
    """Event Outcome Indicator."""

    SUCCESS = 0
    MINOR_FAILURE = 4  # may work another time
    SERIOUS_FAILURE = 8  # was not allowed
    MAJOR_FAILURE = 12


@dataclass(frozen=True, slots=True)
class Participant:
    """Who takes part (PS3.15 A.5.2.1-A.5.2.4): a person, a process, another node, or a medium."""

    user_id: str
    ae_titles: tuple[str, ...] = ()
    name: str = ""
    address: str = ""
    is_requestor: bool = False
    roles: tuple[Code, ...] = ()
    medium: Code | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """A Participant Object: what the event is about. ``query`` is there instead of a name."""

    id: str
    id_type: Code
    type_code: int  # 1 person, 2 system object
    role: int  # PS3.15 A.5.1.2.2
    name: str = ""
    life_cycle: int | None = None
    query: bytes | None = None
    details: tuple[tuple[str, bytes], ...] = ()
    instances: Mapping[str, int] = field(default_factory=dict)  # how many, by SOP class


@dataclass(frozen=True, slots=True)
class Message:
    """One event, and who reports it: ``source`` is the AE title of this node."""

    event: Code
    action: Action
    at: datetime  # aware
    source: str
    participants: tuple[Participant, ...]
    subjects: tuple[Subject, ...] = ()
    outcome: Outcome = Outcome.SUCCESS
    description: str = ""  # of the outcome, for people; no patient data
    types: tuple[Code, ...] = ()


def encode(message: Message) -> bytes:
    """The message as UTF-8 XML without a line break."""
    return "".join(_lines(message)).encode("utf-8")


def _lines(message: Message) -> Iterator[str]:
    moment = message.at.isoformat(timespec="microseconds")
    event = {
        "EventActionCode": message.action.value,
        "EventDateTime": moment,
        "EventOutcomeIndicator": str(message.outcome.value),
    }
    yield f'<?xml version="1.0" encoding="UTF-8"?><AuditMessage>{_begin("EventIdentification", event)}'
    yield _coded("EventID", message.event)
    yield from (_coded("EventTypeCode", code) for code in message.types)
    if message.description:
        yield f"<EventOutcomeDescription>{_text(message.description)}</EventOutcomeDescription>"
    yield "</EventIdentification>"
    for participant in message.participants:
        yield from _participant(participant)
    # Audit Source Type Code 4: application server (PS3.15 A.5.1.2.1).
    yield _begin("AuditSourceIdentification", {"AuditSourceID": message.source})
    yield '<AuditSourceTypeCode csd-code="4"/></AuditSourceIdentification>'
    for subject in message.subjects:
        yield from _subject(subject)
    yield "</AuditMessage>"


def _participant(participant: Participant) -> Iterator[str]:
    attributes = {"UserID": participant.user_id}
    if participant.ae_titles:
        attributes["AlternativeUserID"] = "AETITLES=" + ";".join(participant.ae_titles)
    if participant.name:
        attributes["UserName"] = participant.name
    attributes["UserIsRequestor"] = "true" if participant.is_requestor else "false"
    if participant.address:
        attributes["NetworkAccessPointID"] = participant.address
        attributes["NetworkAccessPointTypeCode"] = "2"  # an IP address
    yield _begin("ActiveParticipant", attributes)
    yield from (_coded("RoleIDCode", code) for code in participant.roles)
    if participant.medium is not None:
        yield f"<MediaIdentifier>{_coded('MediaType', participant.medium)}</MediaIdentifier>"
    yield "</ActiveParticipant>"


def _subject(subject: Subject) -> Iterator[str]:
    attributes = {
        "ParticipantObjectID": subject.id,
        "ParticipantObjectTypeCode": str(subject.type_code),
        "ParticipantObjectTypeCodeRole": str(subject.role),
    }
    if subject.life_cycle is not None:
        attributes["ParticipantObjectDataLifeCycle"] = str(subject.life_cycle)
    yield _begin("ParticipantObjectIdentification", attributes)
    yield _coded("ParticipantObjectIDTypeCode", subject.id_type)
    if subject.query is None:
        yield f"<ParticipantObjectName>{_text(subject.name)}</ParticipantObjectName>"
    else:
        yield f"<ParticipantObjectQuery>{_base64(subject.query)}</ParticipantObjectQuery>"
    for kind, value in subject.details:
        yield _begin("ParticipantObjectDetail", {"type": kind, "value": _base64(value)}, ends=True)
    if subject.instances:
        yield "<ParticipantObjectDescription>"
        yield from _classes(subject.instances.items())
        yield "</ParticipantObjectDescription>"
    yield "</ParticipantObjectIdentification>"


def _classes(instances: Iterable[tuple[str, int]]) -> Iterator[str]:
    for uid, count in instances:
        yield _begin("SOPClass", {"UID": uid, "NumberOfInstances": str(count)}, ends=True)


def _coded(name: str, code: Code) -> str:
    attributes = {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning}
    return _begin(name, attributes, ends=True)


def _begin(name: str, attributes: Mapping[str, str], *, ends: bool = False) -> str:
    said = "".join(f' {key}="{_text(value)}"' for key, value in attributes.items())
    return f"<{name}{said}{'/' if ends else ''}>"


def _text(value: str) -> str:
    return escape(_NO_CHARACTER.sub("\ufffd", value[:_MAX_CHARACTERS]), _ESCAPED)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
