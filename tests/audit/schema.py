"""Audit messages as a collector reads them: by the standard's own schema."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from pacsnode.audit import chain, files

_SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).with_name("audit_message.rng")))


@dataclass(frozen=True)
class Told:
    """What a message says, as far as tests ask."""

    event: str
    types: tuple[str, ...]
    action: str
    outcome: str
    people: tuple[str, ...]  # AlternativeUserID, or UserID where there is none
    subjects: tuple[str, ...]
    instances: int


def read(xml: bytes) -> Told:
    """What the message says; it must be valid."""
    root = etree.fromstring(xml)
    assert _SCHEMA.validate(root), _SCHEMA.error_log
    event = root.find("EventIdentification")
    assert event is not None
    return Told(
        event=str(event.find("EventID").get("originalText")),
        types=tuple(str(one.get("originalText")) for one in event.iterfind("EventTypeCode")),
        action=str(event.get("EventActionCode")),
        outcome=str(event.get("EventOutcomeIndicator")),
        people=tuple(
            str(one.get("AlternativeUserID") or one.get("UserID")) for one in root.iterfind("ActiveParticipant")
        ),
        subjects=tuple(str(one.get("ParticipantObjectID")) for one in root.iterfind("ParticipantObjectIdentification")),
        instances=sum(int(one.get("NumberOfInstances")) for one in root.iter("SOPClass")),
    )


def messages(path: Path) -> list[bytes]:
    """Every message of a trail."""
    records = [chain.decode(line) for _, _, line in files.lines(path)]
    assert None not in records
    return [record.payload for record in records if record is not None and record.kind == chain.MESSAGE]


def told(path: Path) -> list[Told]:
    """What every message of a trail says."""
    return [read(xml) for xml in messages(path)]


def events(path: Path) -> Counter[str]:
    """How many messages there are of each event."""
    return Counter(one.event for one in told(path))
