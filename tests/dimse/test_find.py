"""C-FIND over the wire, with pynetdicom as SCU where that is enough, and raw bytes where it is not."""

from __future__ import annotations

import struct
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    PatientStudyOnlyQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)

from pacsnode.dimse.connection import Connection
from pacsnode.errors import IndexFailure
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Match, Query
from pacsnode.wire.message import Parts
from tests.dimse import images
from tests.dimse.conftest import Nodes, Running, limits
from tests.dimse.raw_peer import (
    BIG_ENDIAN,
    C_CANCEL,
    C_FIND,
    COMMAND,
    DATA_SET_TYPE,
    ERROR_COMMENT,
    EXPLICIT,
    IMPLICIT,
    MESSAGE_ID,
    NO_DATA_SET,
    P_DATA,
    PATIENT_FIND,
    PRIORITY,
    RESPONDED_TO,
    RESPONSE,
    SOP_CLASS,
    STUDY_FIND,
    STUDY_MOVE,
    VERIFICATION,
    Offer,
    RawPeer,
    Received,
    associate_rq,
    command_set,
    identifier,
    parse_elements,
    pdu,
    value,
)
from tests.index.samples import fill

PATIENT_ROOT = PatientRootQueryRetrieveInformationModelFind
STUDY_ROOT = StudyRootQueryRetrieveInformationModelFind
PATIENT_STUDY_ONLY = PatientStudyOnlyQueryRetrieveInformationModelFind
LEVEL, CHARSET, NAME, STUDY_UID = 0x00080052, 0x00080005, 0x00100010, 0x0020000D
FIND = (Offer(1, STUDY_FIND), Offer(3, VERIFICATION), Offer(5, STUDY_MOVE), Offer(7, PATIENT_FIND))
BATCH = 32
RESPONSE_COMMAND = struct.pack("<HHIH", 0, COMMAND, 2, C_FIND | RESPONSE)
Answers = list[tuple[int, Dataset | None]]


@contextmanager
def querying(node: Running, *syntaxes: str) -> Iterator[Association]:
    """pynetdicom, associated for queries of all three models."""
    entity = AE("WORKSTATION")
    for model in (PATIENT_ROOT, STUDY_ROOT, PATIENT_STUDY_ONLY):
        entity.add_requested_context(model, list(syntaxes or (IMPLICIT,)))
    association = entity.associate("127.0.0.1", node.port, ae_title="PACSNODE")
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def ask(node: Running, model: str, *syntaxes: str, **keys: str) -> Answers:
    """Every response to a query."""
    query = Dataset()
    for keyword, text in keys.items():
        setattr(query, keyword, text)
    with querying(node, *syntaxes) as association:
        return [(status.Status, found) for status, found in association.send_c_find(query, model)]


@pytest.fixture
def filled(node: Running) -> Running:
    """Two patients: P1 with a study of two series, P2 with a study of one image."""
    node.keep(1, 2)
    node.keep(3, series=f"{images.ROOT}.22")
    node.keep(4, study=f"{images.ROOT}.11", series=f"{images.ROOT}.21", patient_id=b"P2", name=b"Other^One")
    return node


def found(answers: Answers, keyword: str) -> list[str]:
    """A value of all matches, in order; the final response has to be Success without an identifier."""
    *matches, final = answers
    assert (0x0000, None) == final
    return sorted(str(getattr(match, keyword)) for _, match in matches)


@pytest.mark.parametrize(
    ("model", "keys", "keyword", "expected"),
    [
        (PATIENT_ROOT, {"QueryRetrieveLevel": "PATIENT", "PatientID": ""}, "PatientID", ["P1", "P2"]),
        (PATIENT_STUDY_ONLY, {"QueryRetrieveLevel": "PATIENT", "PatientName": "oth*"}, "PatientID", ["P2"]),
        (STUDY_ROOT, {"QueryRetrieveLevel": "STUDY", "PatientID": "P1"}, "StudyInstanceUID", [images.STUDY]),
        (
            PATIENT_STUDY_ONLY,
            {"QueryRetrieveLevel": "STUDY", "PatientID": "P2"},
            "StudyInstanceUID",
            [f"{images.ROOT}.11"],
        ),
        (
            STUDY_ROOT,
            {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": images.STUDY},
            "SeriesInstanceUID",
            [images.SERIES, f"{images.ROOT}.22"],
        ),
        (
            PATIENT_ROOT,
            {
                "QueryRetrieveLevel": "IMAGE",
                "PatientID": "P1",
                "StudyInstanceUID": images.STUDY,
                "SeriesInstanceUID": images.SERIES,
            },
            "SOPInstanceUID",
            [images.uid_of(1), images.uid_of(2)],
        ),
        (
            STUDY_ROOT,
            {"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": f"{images.uid_of(2)}\\{images.uid_of(4)}"},
            "SOPInstanceUID",
            [images.uid_of(2), images.uid_of(4)],
        ),
    ],
)
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG_ENDIAN])
def test_models_and_levels(
    filled: Running, model: str, keys: dict[str, str], keyword: str, expected: list[str], syntax: str
) -> None:
    """Each information model answers at its levels, in each transfer syntax (PS3.4 C.6)."""
    answers = ask(filled, model, syntax, **{keyword: "", **keys})

    assert expected == found(answers, keyword)
    assert {0xFF00} == {status for status, _ in answers[:-1]}


def test_what_an_answer_consists_of(filled: Running) -> None:
    """Level, Retrieve AE Title, the keys asked for, those of higher levels, nothing else (PS3.4 C.4.1.1.3.2)."""
    answers = ask(filled, STUDY_ROOT, QueryRetrieveLevel="SERIES", StudyInstanceUID=images.STUDY, Modality="CT",
                  SeriesNumber="1", SeriesDescription="", InstanceAvailability="")  # fmt: skip
    match = answers[0][1]

    assert match is not None
    assert ("SERIES", "PACSNODE", "ONLINE", "CT", "1", "") == (
        match.QueryRetrieveLevel, match.RetrieveAETitle, match.InstanceAvailability, match.Modality,
        str(match.SeriesNumber), match.SeriesDescription or "",
    )  # fmt: skip
    assert images.STUDY == match.StudyInstanceUID
    assert "PatientName" not in match


def test_no_match(filled: Running) -> None:
    """Where nothing matches there is one response, Success (PS3.4 C.4.1.1.4)."""
    assert [(0x0000, None)] == ask(filled, STUDY_ROOT, QueryRetrieveLevel="STUDY", PatientID="NOBODY")


def test_unsupported_keys(filled: Running) -> None:
    """Optional keys that we do not know are not in the answer, which FF01 says (PS3.4 C.4.1.1.4)."""
    answers = ask(filled, STUDY_ROOT, QueryRetrieveLevel="STUDY", PatientID="P1", PatientComments="x")

    assert [0xFF01, 0x0000] == [status for status, _ in answers]
    assert "PatientComments" not in (answers[0][1] or Dataset())


BAD_IDENTIFIERS = {
    "no level": {NAME: ""},
    "unknown level": {LEVEL: "STUDIES"},
    "level of another model": {LEVEL: "PATIENT"},
    "wildcard in a UID": {LEVEL: "STUDY", STUDY_UID: "1.2.*"},
    "no date": {LEVEL: "STUDY", 0x00080020: "yesterday"},
    "range without ends": {LEVEL: "STUDY", 0x00080020: "-"},
}


def asked(node: Running, keys: bytes, *, context_id: int = 1, sop_class: str = STUDY_FIND) -> list[Received]:
    """Every response to the query, as it came; the association has to work afterwards."""
    with node.connect(*FIND) as peer:
        peer.start_query(context_id, C_FIND, sop_class, keys)
        responses = peer.responses()
        assert 0 == peer.echo(3)
        peer.release()
    return responses


@pytest.mark.parametrize("keys", BAD_IDENTIFIERS.values(), ids=BAD_IDENTIFIERS.keys())
def test_invalid_identifiers(filled: Running, keys: dict[int, str]) -> None:
    """A query that the standard does not allow is A900, with a comment and without an identifier."""
    (response,) = asked(filled, identifier(keys))

    assert (0xA900, None) == (response.status, response.data_set)
    assert 0 < len(response.elements[ERROR_COMMENT]) <= 64


@pytest.mark.parametrize("keys", [b"", b"rubbish", identifier({LEVEL: "STUDY"})[:-1], bytes(100_000)])
def test_identifiers_that_are_none(filled: Running, keys: bytes) -> None:
    """Bytes that are no data set are A900, too."""
    assert [(0xA900, None)] == [(response.status, response.data_set) for response in asked(filled, keys)]


def test_a_query_without_identifier(filled: Running) -> None:
    """A C-FIND that says that no data set follows is not waited for."""
    with filled.connect(*FIND) as peer:
        peer.send_command(1, {SOP_CLASS: STUDY_FIND, COMMAND: C_FIND, MESSAGE_ID: 1, PRIORITY: 0})
        (response,) = peer.responses()

    assert 0xA900 == response.status


@pytest.mark.parametrize(("context_id", "sop_class"), [(3, VERIFICATION), (5, STUDY_MOVE)])
def test_a_query_in_another_context(filled: Running, context_id: int, sop_class: str) -> None:
    """C-FIND belongs to contexts of C-FIND: 0122."""
    (response,) = asked(filled, identifier({LEVEL: "STUDY"}), context_id=context_id, sop_class=sop_class)

    assert 0x0122 == response.status


def test_what_a_response_consists_of(filled: Running) -> None:
    """Class, message and status, a data set in pending ones only (PS3.7 9.3.2.2)."""
    pending, final = asked(filled, identifier({LEVEL: "STUDY", 0x00100020: "P1"}))

    for response, kind in ((pending, 1), (final, NO_DATA_SET)):
        assert (C_FIND | RESPONSE, 1) == (response.number(COMMAND), response.number(RESPONDED_TO))
        assert (STUDY_FIND, kind) == (response.text(SOP_CLASS), response.number(DATA_SET_TYPE))
    assert (0xFF00, 0x0000) == (pending.status, final.status)
    assert b"P1" == parse_elements(pending.data_set or b"")[0x00100020]


def many_studies(node: Running, count: int) -> None:
    """So many studies of one image each."""
    for number in range(count):
        node.keep(number, study=f"{images.ROOT}.1.{number}", series=f"{images.ROOT}.2.{number}")


def test_cancel(node: Running) -> None:
    """After a C-CANCEL there is no more than one batch of matches, then FE00 (PS3.4 C.4.1.3.2)."""
    many_studies(node, 60)
    find = command_set({SOP_CLASS: STUDY_FIND, COMMAND: C_FIND, MESSAGE_ID: 9, PRIORITY: 0, DATA_SET_TYPE: 1})
    cancel = command_set({COMMAND: C_CANCEL, RESPONDED_TO: 9, DATA_SET_TYPE: NO_DATA_SET})
    keys = identifier({LEVEL: "STUDY"})
    with node.connect(*FIND) as peer:
        # In one piece, so that the cancel is there before the first response.
        peer.send(pdu(P_DATA, value(1, 3, find) + value(1, 2, keys)) + pdu(P_DATA, value(1, 3, cancel)))
        responses = peer.responses()
        again = peer.start_query(1, C_FIND, STUDY_FIND, keys)
        complete = peer.responses()

    assert (0xFE00, None) == (responses[-1].status, responses[-1].data_set)
    assert BATCH + 1 == len(responses)
    assert (again, 61, 0) == (1, len(complete), complete[-1].status)


class WaitingIndex(SqliteIndex):
    """An index that begins the second batch of matches only when it is told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.waits, self.may_go_on = threading.Event(), threading.Event()

    def find(self, query: Query) -> Generator[Match, None, None]:
        for number, match in enumerate(super().find(query)):
            if number == BATCH:
                self.waits.set()
                assert self.may_go_on.wait(30)
            yield match


def test_cancel_between_batches(nodes: Nodes, tmp_path: Path) -> None:
    """A C-CANCEL that comes while matches are sent ends them at the next batch; what was sent before had gone out."""
    index = WaitingIndex(tmp_path / "waiting.db")
    node = nodes.start(index=index)
    many_studies(node, 3 * BATCH)
    with node.connect(*FIND) as peer:
        message_id = peer.start_query(1, C_FIND, STUDY_FIND, identifier({LEVEL: "STUDY"}))
        first = [peer.read_message().status for _ in range(BATCH)]
        assert index.waits.wait(30)  # else the cancel might come before the first look for it
        peer.cancel(1, message_id)
        peer.flush()
        index.may_go_on.set()
        rest = [response.status for response in peer.responses()]

    assert [0xFF00] * BATCH == first
    assert [0xFF00] * BATCH + [0xFE00] == rest


@pytest.mark.parametrize("studies", [0, 1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 1])
def test_few_sends(node: Running, monkeypatch: pytest.MonkeyPatch, studies: int) -> None:
    """Responses go out many at a time, in order, and the final one with the last of them."""
    many_studies(node, studies)
    sent: list[int] = []
    send = Connection.send

    def recording(connection: Connection, parts: Parts) -> None:
        sent.append(b"".join(parts).count(RESPONSE_COMMAND))
        send(connection, parts)

    with node.connect(*FIND) as peer:
        monkeypatch.setattr(Connection, "send", recording)
        peer.start_query(1, C_FIND, STUDY_FIND, identifier({LEVEL: "STUDY", STUDY_UID: ""}))
        responses = peer.responses()
        monkeypatch.undo()

    assert [0xFF00] * studies + [0x0000] == [response.status for response in responses]
    assert [BATCH] * (studies // BATCH) + [studies % BATCH + 1] == sent
    uids = [parse_elements(response.data_set or b"")[STUDY_UID] for response in responses[:-1]]
    assert [f"{images.ROOT}.1.{number}" for number in range(studies)] == [uid.decode().strip("\0") for uid in uids]


def test_matches_before_a_failure(nodes: Nodes, tmp_path: Path) -> None:
    """Matches that were found before the index failed are told, then the failure."""
    node = nodes.start(index=HalfwayFailingIndex(tmp_path / "halfway.db"))
    many_studies(node, 5)

    assert [0xFF00] * 3 + [0xA700] == [response.status for response in asked(node, identifier({LEVEL: "STUDY"}))]


def test_cancel_of_something_else(node: Running) -> None:
    """A C-CANCEL for another message stops nothing."""
    many_studies(node, 40)
    with node.connect(*FIND) as peer:
        peer.cancel(1, 5)
        peer.start_query(1, C_FIND, STUDY_FIND, identifier({LEVEL: "STUDY"}))
        peer.cancel(1, 4711)
        responses = peer.responses()

    assert (41, 0) == (len(responses), responses[-1].status)


def test_result_limit(nodes: Nodes) -> None:
    """More matches than allowed end in A700; exactly as many do not."""
    node = nodes.start(limits=limits(results=5))
    statuses = []
    for count in (5, 8):
        many_studies(node, count)
        statuses.append([response.status for response in asked(node, identifier({LEVEL: "STUDY"}))])

    assert [0xFF00] * 5 + [0x0000] == statuses[0]
    assert [0xFF00] * 5 + [0xA700] == statuses[1]


def test_result_limit_is_explained(nodes: Nodes) -> None:
    """The final response says why it is not Success."""
    node = nodes.start(limits=limits(results=1))
    many_studies(node, 2)
    *_, final = asked(node, identifier({LEVEL: "STUDY"}))

    assert b"more than 1 matches" in final.elements[ERROR_COMMENT]
    assert final.data_set is None


def test_peer_leaves_within_the_answers(node: Running) -> None:
    """A peer that does not want the rest is no trouble."""
    many_studies(node, 60)
    peer = node.connect(*FIND)
    peer.start_query(1, C_FIND, STUDY_FIND, identifier({LEVEL: "STUDY"}))
    peer.reset()

    assert node.echoes()


class HalfwayFailingIndex(SqliteIndex):
    """An index that fails after three matches."""

    def find(self, query: Query) -> Generator[Match, None, None]:
        yield from islice(super().find(query), 3)
        raise IndexFailure("disk I/O error")


class FailingIndex(SqliteIndex):
    """An index that cannot answer."""

    def find(self, query: Query) -> Generator[Match, None, None]:
        raise IndexFailure("database /var/lib/secret is locked")


def test_an_index_that_fails(nodes: Nodes, tmp_path: Path) -> None:
    """Our trouble is A700, "out of resources", and no more than that is told."""
    node = nodes.start(index=FailingIndex(tmp_path / "failing.db"))
    (response,) = asked(node, identifier({LEVEL: "STUDY"}))

    assert (0xA700, None) == (response.status, response.data_set)
    assert b"secret" not in response.elements[ERROR_COMMENT]


def test_a_query_that_takes_too_long(nodes: Nodes, tmp_path: Path) -> None:
    """A scan beyond the deadline is A700, and the peer hears what to do."""
    fill(tmp_path / "large.db", 300_000)  # some 40 ms of scanning
    node = nodes.start(index=SqliteIndex(tmp_path / "large.db", query_seconds=0.002))
    (refused,) = asked(node, identifier({LEVEL: "STUDY", 0x00081030: "*x*"}))

    assert 0xA700 == refused.status
    assert b"this takes too long here; ask for less" == refused.elements[ERROR_COMMENT]


@pytest.mark.parametrize(
    ("stored", "asked_in", "name", "pattern", "answered_in"),
    [
        ("ISO_IR 192", "ISO_IR 192", "Müller^Jörg", "Müll*", "ISO_IR 192"),
        ("ISO_IR 192", "ISO_IR 100", "Müller^Jörg", "Müll*", "ISO_IR 100"),
        ("ISO_IR 100", "ISO_IR 192", "Müller^Jörg", "MÜLLER^JÖRG", "ISO_IR 192"),
        ("ISO_IR 100", "", "Müller^Jörg", "M*", "ISO_IR 192"),
        ("ISO_IR 192", "ISO_IR 144", "Люкceмбypг", "Люк*", "ISO_IR 144"),
        ("ISO_IR 192", "ISO_IR 100", "山田^太郎", "*", "ISO_IR 192"),
        ("", "ISO_IR 100", "Plain^Name", "Plain*", None),
    ],
)
def test_character_sets(
    node: Running, stored: str, asked_in: str, name: str, pattern: str, answered_in: str | None
) -> None:
    """Names are found and told whatever set they came in; the answer is in the question's where that can say it."""
    codecs = {"ISO_IR 192": "utf-8", "ISO_IR 100": "latin-1", "ISO_IR 144": "iso8859-5", "": "ascii"}
    node.keep(1, name=name.encode(codecs[stored]), charset=stored.encode())
    keys: dict[int, str | bytes] = {LEVEL: "STUDY", NAME: pattern.encode(codecs[asked_in])}
    if asked_in:
        keys[CHARSET] = asked_in
    match, final = asked(node, identifier(keys))
    elements = parse_elements(match.data_set or b"")
    term = elements[CHARSET].decode().strip() if CHARSET in elements else None

    assert (answered_in, 0) == (term, final.status)
    assert name == elements[NAME].decode(codecs[term or ""]).strip()


class MeasuringPeer(RawPeer):
    """A peer that notes the length of each PDU."""

    longest = 0

    def read_pdu(self) -> tuple[int, bytes]:
        kind, body = super().read_pdu()
        if kind == P_DATA:
            self.longest = max(self.longest, len(body))
        return kind, body


@pytest.mark.parametrize("maximum", [8, 20, 77, 200, 4096])
def test_a_peer_with_a_small_maximum_length(filled: Running, maximum: int) -> None:
    """Responses are cut to what the peer takes, and are the same as for a peer that takes all."""
    keys = identifier({LEVEL: "STUDY", NAME: "", 0x00100020: "", 0x00081030: ""})
    whole = [(response.status, response.data_set) for response in asked(filled, keys)]
    peer = MeasuringPeer(filled.port)
    with peer:
        peer.associate(request=associate_rq(FIND, maximum_length=maximum))
        peer.start_query(1, C_FIND, STUDY_FIND, keys)
        cut = [(response.status, response.data_set) for response in peer.responses()]

    assert (3, whole) == (len(cut), cut)
    assert peer.longest <= maximum
