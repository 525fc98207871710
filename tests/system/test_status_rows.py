"""Status by status, service by service, as pynetdicom hears it from a node in a process of its own.

The rows that need more than a client that means well are in tests/dimse; docs/statuses.md lists all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association

from tests.system import material, pynetdicom_scu
from tests.system.live import LiveNode
from tests.system.material import Sample

MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
PATIENT_FIND, PATIENT_MOVE, PATIENT_GET = (f"1.2.840.10008.5.1.4.1.2.1.{number}" for number in (1, 2, 3))
STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
MODELS = (PATIENT_FIND, PATIENT_MOVE, PATIENT_GET, STUDY_FIND, STUDY_MOVE, STUDY_GET)
IMAGES, STUDIES, RESULTS, ASSOCIATIONS = 4, 5, 4, 3
STUDY = "2.25.3151.1.1"
NO_COUNTS = (None, None, None, None)


@dataclass
class Receiver:
    """A move destination: what it was told, and what it answers to each instance in turn."""

    answers: Callable[[int], int] = lambda number: 0
    originators: list[tuple[str, int]] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    hold_at: int = 0

    def begin_anew(self) -> None:
        """Take everything, and forget what was."""
        self.answers, self.hold_at = (lambda number: 0), 0
        self.originators.clear()
        self.held.clear()
        self.go_on.clear()

    def take(self, event: Any) -> int:
        """Handler of EVT_C_STORE."""
        request = event.request
        self.originators.append((request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID))
        if len(self.originators) == self.hold_at:
            self.held.set()
            self.go_on.wait(10)
        return self.answers(len(self.originators))


@dataclass(frozen=True)
class Scene:
    """A node with studies of its own, and a destination beside it."""

    node: LiveNode
    receiver: Receiver
    samples: list[Sample]


@contextmanager
def listening(receiver: Receiver) -> Iterator[int]:
    """The receiver as a pynetdicom SCP: its port."""
    entity = AE("DEST")
    entity.add_supported_context(MR, EXPLICIT)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, receiver.take)])
    assert server is not None
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("rows")
    samples: list[Sample] = []
    for number in range(1, STUDIES + 1):
        samples += material.series(IMAGES, folder / "samples", number=number, rows=8)
    receiver = Receiver()
    with listening(receiver) as port:
        tables = (
            '[access]\nunknown_peers = "reject"\n'
            f"[limits]\nresults = {RESULTS}\nassociations_per_peer = {ASSOCIATIONS}\n"
            '[peers.PYNETDICOM]\nhost = "127.0.0.1"\nport = 104\n'
            '[peers.READER]\nhost = "127.0.0.1"\nport = 104\nallow = ["echo", "find"]\n'
            '[peers.WRITER]\nhost = "127.0.0.1"\nport = 104\nallow = ["store"]\n'
            f'[peers.DEST]\nhost = "127.0.0.1"\nport = {port}\n'
            '[peers.DEAD]\nhost = "127.0.0.1"\nport = 1\n'
        )
        with LiveNode(folder / "node", tables) as node:
            with associated(node) as association:
                assert [0] * len(samples) == [pynetdicom_scu.store(association, sample) for sample in samples]
            yield Scene(node, receiver, samples)


@pytest.fixture
def scene(whole: Scene) -> Scene:
    """The scene, with a destination that takes everything."""
    whole.receiver.begin_anew()
    return whole


@contextmanager
def associated(
    node: LiveNode, calling: str = "PYNETDICOM", *, roles: tuple[bool, bool] = (True, True), answer: int = 0
) -> Iterator[Association]:
    """A pynetdicom association for everything; ``answer`` is its own to each sub-operation of a C-GET."""
    with attempted(node, calling, roles=roles, answer=answer) as association:
        assert association.is_established
        yield association


@contextmanager
def attempted(
    node: LiveNode,
    calling: str = "PYNETDICOM",
    called: str = "PACSNODE",
    *,
    roles: tuple[bool, bool] = (True, True),
    answer: int = 0,
) -> Iterator[Association]:
    """An association that may have been rejected."""
    entity = AE(calling)
    entity.add_requested_context(pynetdicom_scu.VERIFICATION)
    entity.add_requested_context(MR, EXPLICIT)
    for model in MODELS:
        entity.add_requested_context(model)
    association = entity.associate(
        "127.0.0.1",
        node.port,
        ae_title=called,
        ext_neg=[build_role(MR, scu_role=roles[0], scp_role=roles[1])],
        evt_handlers=[(evt.EVT_C_STORE, lambda event: answer)],
    )
    try:
        yield association
    finally:
        association.release()


def keys(level: str, **more: str) -> Dataset:
    """An identifier, right or wrong."""
    found = Dataset()
    for keyword, text in {"QueryRetrieveLevel": level, **more}.items():
        if level or keyword in more:
            found.add(DataElement(keyword, dictionary_VR(keyword), text, validation_mode=config.IGNORE))
    return found


def _without(keyword: str) -> Callable[[Dataset], None]:
    return lambda data_set: data_set.__delattr__(keyword)


def _with(keyword: str, text: str) -> Callable[[Dataset], None]:
    return lambda data_set: setattr(data_set, keyword, text)


STORE_ROWS: dict[str, tuple[str, Callable[[Dataset], None], int]] = {
    "0000 new": ("PYNETDICOM", lambda data_set: None, 0x0000),
    "0000 again": ("PYNETDICOM", lambda data_set: None, 0x0000),
    "0000 other content": ("PYNETDICOM", _with("PatientComments", "changed"), 0x0000),
    "A900 another class": ("PYNETDICOM", _with("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"), 0xA900),
    "A900 another instance": ("PYNETDICOM", _with("SOPInstanceUID", "1.2.3"), 0xA900),
    "C001 no study": ("PYNETDICOM", _without("StudyInstanceUID"), 0xC001),
    "C001 empty series": ("PYNETDICOM", _with("SeriesInstanceUID", ""), 0xC001),
    "0124 may not store": ("READER", lambda data_set: None, 0x0124),
}


@pytest.mark.parametrize(("calling", "change", "status"), STORE_ROWS.values(), ids=STORE_ROWS.keys())
def test_store(scene: Scene, tmp_path: Path, calling: str, change: Callable[[Dataset], None], status: int) -> None:
    """C-STORE (PS3.4 Table B.2-1): the command names what the file meta says, the data set says something else."""
    data_set = material.instance(7, number=STUDIES + 1, rows=8)
    change(data_set)
    path = tmp_path / "sent.dcm"
    data_set.preamble = bytes(128)
    data_set.save_as(path)  # as it is, wrong as it may be
    with associated(scene.node, calling) as association:
        found = pynetdicom_scu.store(association, Sample(path, MR, "", EXPLICIT, STUDY))

    assert f"{status:04X}" == f"{found:04X}"


def test_store_without_room(tmp_path: Path) -> None:
    """A700 below the mark of free space: the sender may come again."""
    with LiveNode(tmp_path / "full", min_free="1024 TiB") as node, associated(node) as association:
        found = association.send_c_store(material.instance(1, rows=8)).Status

    assert 0xA700 == found


FIND_ROWS: dict[str, tuple[str, str, Dataset, list[int]]] = {
    "0000 none": ("PYNETDICOM", STUDY_FIND, keys("STUDY", StudyInstanceUID="1.2.3"), [0x0000]),
    "FF00 one": ("PYNETDICOM", STUDY_FIND, keys("STUDY", StudyInstanceUID=STUDY), [0xFF00, 0x0000]),
    "FF00 by patient": ("PYNETDICOM", PATIENT_FIND, keys("PATIENT", PatientID="TEST2"), [0xFF00, 0x0000]),
    "FF01 unknown key": (
        "PYNETDICOM", STUDY_FIND, keys("STUDY", StudyInstanceUID=STUDY, DeviceSerialNumber=""), [0xFF01, 0x0000],
    ),
    "A700 too many": ("PYNETDICOM", STUDY_FIND, keys("STUDY"), [0xFF00] * RESULTS + [0xA700]),
    "A900 no level": ("PYNETDICOM", STUDY_FIND, keys("", PatientID="TEST1"), [0xA900]),
    "A900 level of another model": ("PYNETDICOM", STUDY_FIND, keys("PATIENT", PatientID="TEST1"), [0xA900]),
    "A900 wildcard in a UID": ("PYNETDICOM", STUDY_FIND, keys("STUDY", StudyInstanceUID="2.25.*"), [0xA900]),
    "A900 no date": ("PYNETDICOM", STUDY_FIND, keys("STUDY", StudyDate="20241301"), [0xA900]),
    "0122 context of C-MOVE": ("PYNETDICOM", STUDY_MOVE, keys("STUDY", StudyInstanceUID=STUDY), [0x0122]),
    "0122 context of C-GET": ("PYNETDICOM", PATIENT_GET, keys("PATIENT", PatientID="TEST1"), [0x0122]),
    "0124 may not find": ("WRITER", STUDY_FIND, keys("STUDY", StudyInstanceUID=STUDY), [0x0124]),
}  # fmt: skip


@pytest.mark.parametrize(("calling", "model", "asked", "statuses"), FIND_ROWS.values(), ids=FIND_ROWS.keys())
def test_find(scene: Scene, calling: str, model: str, asked: Dataset, statuses: list[int]) -> None:
    """C-FIND (PS3.4 Table C.4-1): an identifier in pending responses, and in no other."""
    with associated(scene.node, calling) as association:
        answers = list(association.send_c_find(asked, model))

    assert statuses == [status.Status for status, _ in answers]
    assert [code in (0xFF00, 0xFF01) for code in statuses] == [found is not None for _, found in answers]


@dataclass(frozen=True)
class Retrieve:
    """A C-MOVE or C-GET, and the final response to it."""

    asked: Dataset
    status: int
    counts: tuple[int | None, ...] = NO_COUNTS
    """Remaining, completed, failed, warning."""
    failed: int = 0
    """Entries of the Failed SOP Instance UID List."""
    model: str = ""
    calling: str = "PYNETDICOM"
    destination: str = "DEST"
    answer: Callable[[int], int] = lambda number: 0


def retrieve_failed(code: int) -> Callable[[int], int]:
    """The second instance is answered with the code."""
    return lambda number: code if number == 2 else 0


WHOLE = keys("STUDY", StudyInstanceUID=STUDY)
MOVE_ROWS = {
    "0000 all": Retrieve(WHOLE, 0x0000, (None, IMAGES, 0, 0)),
    "0000 a patient": Retrieve(keys("PATIENT", PatientID="TEST1"), 0x0000, (None, IMAGES, 0, 0), model=PATIENT_MOVE),
    "0000 nothing to send": Retrieve(keys("STUDY", StudyInstanceUID="1.2.3"), 0x0000, (None, 0, 0, 0)),
    "B000 one failed": Retrieve(WHOLE, 0xB000, (None, IMAGES - 1, 1, 0), 1, answer=retrieve_failed(0xC123)),
    "B000 one refused": Retrieve(WHOLE, 0xB000, (None, IMAGES - 1, 1, 0), 1, answer=retrieve_failed(0xA700)),
    "B000 one coerced": Retrieve(WHOLE, 0xB000, (None, IMAGES - 1, 0, 1), answer=retrieve_failed(0xB000)),
    "B000 all coerced": Retrieve(WHOLE, 0xB000, (None, 0, 0, IMAGES), answer=lambda number: 0xB007),
    "A702 all failed": Retrieve(WHOLE, 0xA702, (None, 0, IMAGES, 0), IMAGES, answer=lambda number: 0xA700),
    "A702 nobody there": Retrieve(WHOLE, 0xA702, (None, 0, IMAGES, 0), IMAGES, destination="DEAD"),
    "A801 unknown": Retrieve(WHOLE, 0xA801, destination="NOBODY"),
    "A801 lower case": Retrieve(WHOLE, 0xA801, destination="dest"),
    "A900 no level": Retrieve(keys("", StudyInstanceUID=STUDY), 0xA900),
    "A900 no unique key": Retrieve(keys("STUDY"), 0xA900),
    "A900 another key": Retrieve(keys("STUDY", StudyInstanceUID=STUDY, Modality="MR"), 0xA900),
    "A900 wildcard": Retrieve(keys("STUDY", StudyInstanceUID="2.25.*"), 0xA900),
    "A900 level of another model": Retrieve(keys("PATIENT", PatientID="TEST1"), 0xA900),
    "0122 context of C-FIND": Retrieve(WHOLE, 0x0122, model=STUDY_FIND),
    "0124 may not move": Retrieve(WHOLE, 0x0124, calling="READER"),
}


@pytest.mark.parametrize("row", MOVE_ROWS.values(), ids=MOVE_ROWS.keys())
def test_move(scene: Scene, row: Retrieve) -> None:
    """C-MOVE (PS3.4 Table C.4-2), and Move Originator in every sub-operation (PS3.7 9.1.1.1.6, 9.1.1.1.7)."""
    scene.receiver.answers = row.answer
    with associated(scene.node, row.calling) as association:
        answers = list(association.send_c_move(row.asked, row.destination, row.model or STUDY_MOVE, msg_id=4711))

    assert_final(answers, row)
    assert {("PYNETDICOM", 4711)} >= set(scene.receiver.originators)
    is_sent = row.destination == "DEST" and row.counts[1:] not in (NO_COUNTS[1:], (0, 0, 0))
    assert (IMAGES if is_sent else 0) == len(scene.receiver.originators)


def test_move_cancelled(scene: Scene) -> None:
    """FE00 with all four counters; what was under way is counted, and nothing failed, so there is no list."""
    receiver = scene.receiver
    receiver.hold_at = 1
    with associated(scene.node) as association:
        answers = association.send_c_move(WHOLE, "DEST", STUDY_MOVE, msg_id=7)
        pending = next(answers, None) if receiver.held.wait(10) else None
        association.send_c_cancel(7, query_model=STUDY_MOVE)
        receiver.go_on.set()
        rest = list(answers)

    assert pending is not None
    final, identifier = rest[-1]
    counts = counts_of(final)
    assert (0xFE00, False, IMAGES) == (final.Status, bool(identifier), sum(filter(None, counts)))
    assert None not in counts
    assert 0 < (counts[0] or 0)


GET_ROWS = {
    "0000 all": Retrieve(WHOLE, 0x0000, (None, IMAGES, 0, 0)),
    "0000 nothing to send": Retrieve(keys("STUDY", StudyInstanceUID="1.2.3"), 0x0000, (None, 0, 0, 0)),
    "B000 all coerced": Retrieve(WHOLE, 0xB000, (None, 0, 0, IMAGES), answer=lambda number: 0xB000),
    "A702 all failed": Retrieve(WHOLE, 0xA702, (None, 0, IMAGES, 0), IMAGES, answer=lambda number: 0xA700),
    "A900 no level": Retrieve(keys("", StudyInstanceUID=STUDY), 0xA900),
    "A900 no unique key": Retrieve(keys("SERIES", StudyInstanceUID=STUDY), 0xA900),
    "A900 another key": Retrieve(keys("STUDY", StudyInstanceUID=STUDY, PatientName="Test*"), 0xA900),
    "0122 context of C-MOVE": Retrieve(WHOLE, 0x0122, model=STUDY_MOVE),
    "0124 may not get": Retrieve(WHOLE, 0x0124, calling="WRITER"),
}


@pytest.mark.parametrize("row", GET_ROWS.values(), ids=GET_ROWS.keys())
def test_get(scene: Scene, row: Retrieve) -> None:
    """C-GET (PS3.4 Table C.4-3)."""
    with associated(scene.node, row.calling, answer=row.answer(0)) as association:
        answers = list(association.send_c_get(row.asked, row.model or STUDY_GET))

    assert_final(answers, row)


def test_get_without_the_role(scene: Scene) -> None:
    """A702 with every instance listed: where the requester is not SCP of storage, nothing can be sent to it."""
    row = Retrieve(WHOLE, 0xA702, (None, 0, IMAGES, 0), IMAGES)
    with associated(scene.node, roles=(True, False)) as association:
        answers = list(association.send_c_get(row.asked, STUDY_GET))

    assert_final(answers, row)


def assert_final(answers: list[tuple[Dataset, Dataset | None]], row: Retrieve) -> None:
    """Pending responses have all counters and no identifier; the final one is the row's."""
    *pending, (final, identifier) = answers

    assert f"{row.status:04X}" == f"{final.Status:04X}"
    assert row.counts == counts_of(final)
    assert row.failed == (identifier["FailedSOPInstanceUIDList"].VM if identifier else 0)
    for status, found in pending:
        assert (0xFF00, False) == (status.Status, bool(found))
        assert None not in counts_of(status)


def counts_of(status: Dataset) -> tuple[int | None, ...]:
    """Remaining, completed, failed, warning; None where absent."""
    kinds = ("Remaining", "Completed", "Failed", "Warning")
    return tuple(status.get(f"NumberOf{kind}Suboperations") for kind in kinds)


REJECTED = {
    "1-1-3 calling unknown": ("STRANGER", "PACSNODE", (1, 1, 3)),
    "1-1-3 calling in lower case": ("pynetdicom", "PACSNODE", (1, 1, 3)),
    "1-1-7 called unknown": ("PYNETDICOM", "ANY", (1, 1, 7)),
    "1-1-7 called in lower case": ("PYNETDICOM", "pacsnode", (1, 1, 7)),
}


@pytest.mark.parametrize(("calling", "called", "triple"), REJECTED.values(), ids=REJECTED.keys())
def test_association_rejected(scene: Scene, calling: str, called: str, triple: tuple[int, int, int]) -> None:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4): permanent, by the service user."""
    with attempted(scene.node, calling, called) as association:
        pass

    assert triple == rejection_of(association)


def test_association_beyond_the_limit(scene: Scene) -> None:
    """2-3-2: local limit exceeded, for now."""
    with associated(scene.node, "READER"), associated(scene.node, "READER"), associated(scene.node, "READER"):
        with attempted(scene.node, "READER") as association:
            pass
        with associated(scene.node) as other:
            echo = other.send_c_echo().Status

    assert ((2, 3, 2), 0) == (rejection_of(association), echo)


def rejection_of(association: Association) -> tuple[int | None, int | None, int | None]:
    """Result, source and reason."""
    answer = association.acceptor.primitive
    assert association.is_rejected
    assert answer is not None
    return answer.result, answer.result_source, answer.diagnostic


def test_echo_without_the_right(scene: Scene) -> None:
    """0124 for who may only store, 0000 for the others."""
    found = []
    for calling in ("WRITER", "READER"):
        with associated(scene.node, calling) as association:
            found.append(association.send_c_echo().Status)

    assert [0x0124, 0x0000] == found
