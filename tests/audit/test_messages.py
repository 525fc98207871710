"""Every kind of message is valid by the standard's schema, whatever a peer may have sent."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from lxml import etree

from pacsnode.audit import events, messages
from pacsnode.audit.events import Actor, Narrator, Part, Result
from pacsnode.audit.messages import Action, Message, Outcome
from tests.audit.schema import read

AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
US = Narrator("PACSNODE", "operator")
PEER, OTHER = Actor("CT01", "192.0.2.1"), Actor("WS1", "192.0.2.2", "jane@example")
PART = Part("4711", "1.2.3", {"1.2.840.10008.5.1.4.1.1.2": 3, "1.2.840.10008.5.1.4.1.1.4": 1})
FAILED = Result(Outcome.MINOR_FAILURE, "status A700H")

KINDS: dict[str, tuple[Callable[[], Message], str, str]] = {
    "start": (lambda: US.started(AT), "Application Activity", "E"),
    "stop": (lambda: US.stopped(AT), "Application Activity", "E"),
    "log used": (lambda: US.log_used(AT, "file:///x"), "Audit Log Used", "R"),
    "begin": (lambda: US.begins_transfer(AT, PEER, OTHER, PART), "Begin Transferring DICOM Instances", "E"),
    "sent": (lambda: US.sent(AT, PEER, PEER, PART, FAILED), "DICOM Instances Transferred", "R"),
    "moved": (lambda: US.sent(AT, PEER, OTHER, PART, events.SUCCESS), "DICOM Instances Transferred", "R"),
    "received": (
        lambda: US.received(AT, PEER, PART, Action.CREATE, events.SUCCESS),
        "DICOM Instances Transferred",
        "C",
    ),
    "refused": (
        lambda: US.received(AT, PEER, Part("", "", {"1.2": 1}), Action.CREATE, FAILED),
        "DICOM Instances Transferred",
        "C",
    ),
    "import": (lambda: US.imported(AT, ["/a", "/b"], PART, Action.CREATE, events.SUCCESS), "Import", "C"),
    "export": (lambda: US.exported(AT, "/a", PART, events.SUCCESS), "Export", "R"),
    "delete": (lambda: US.deleted(AT, PART, Result(Outcome.SUCCESS, "asked for")), "DICOM Study Deleted", "D"),
    "query": (
        lambda: US.queried(AT, PEER, sop_class="1.2", syntax="1.2.1", identifier=b"\0<&", result=FAILED),
        "Query",
        "E",
    ),
    "alert": (
        lambda: US.alerted(AT, events.NODE_AUTHENTICATION, PEER.takes_part(), "192.0.2.1", FAILED),
        "Security Alert",
        "E",
    ),
    "login": (lambda: US.authenticated(AT, OTHER, FAILED), "User Authentication", "E"),
}


@pytest.mark.parametrize(("make", "event", "action"), KINDS.values(), ids=KINDS)
def test_every_kind_is_valid(make: Callable[[], Message], event: str, action: str) -> None:
    """Each kind of message obeys the schema, on one line, with the event and action of the standard."""
    xml = messages.encode(make())

    said = read(xml)
    assert (event, action) == (said.event, said.action)
    assert b"\n" not in xml


@pytest.mark.parametrize("text", ["<&\"'>", "a\nb\r\t", "\x00\x1b\ufffe", "名\U0001f9b4\ud800", "x" * 100_000, ""])
def test_hostile_text(text: str) -> None:
    """Nothing that a peer sends makes a message invalid, breaks its line, or makes it large."""
    actor, part = Actor(text, "192.0.2.1", text), Part(text, text, {text: 1})

    xml = messages.encode(US.received(AT, actor, part, Action.CREATE, Result(Outcome.MINOR_FAILURE, text)))

    assert "DICOM Instances Transferred" == read(xml).event
    assert b"\n" not in xml
    assert len(xml) < 32 * 1024


def query_of(identifier: bytes) -> bytes:
    """What the message of a query with this identifier says of it."""
    message = US.queried(AT, PEER, sop_class="1.2", syntax="1.2.1", identifier=identifier, result=events.SUCCESS)
    return base64.b64decode(etree.fromstring(messages.encode(message)).findtext(".//ParticipantObjectQuery"))


def test_query_bytes_are_kept() -> None:
    """The identifier of a query is in its message, byte for byte; of a huge one the beginning."""
    identifier = bytes(range(256))
    assert identifier == query_of(identifier)
    assert 16 * 1024 == len(query_of(identifier * 1000))


def test_schema_is_strict() -> None:
    """The schema of the tests refuses a message without its event."""
    xml = messages.encode(US.started(AT)).replace(b"EventID ", b"EventIX ")

    with pytest.raises(AssertionError):
        read(xml)
