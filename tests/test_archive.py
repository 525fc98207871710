"""The use cases that need store and index: what is acknowledged is there, what failed leaves nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from pacsnode.archive import Archive
from pacsnode.dicom.charset import Assumptions
from pacsnode.errors import (
    BadDataset,
    DuplicateRefused,
    IndexFailure,
    MalformedUid,
    ObjectDamaged,
    PeerFailure,
    UidMismatch,
)
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Arrival, DuplicatePolicy, Instance, Key, Outcome, Uid
from pacsnode.storage.memory import MemoryStore
from tests.system import material

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


class Times:
    """A clock that moves on by one second whenever it is asked."""

    def __init__(self) -> None:
        self.seconds = 0

    def __call__(self) -> datetime:
        self.seconds += 1
        return NOW.replace(minute=self.seconds // 60, second=self.seconds % 60)


def data_set(index: int = 0, **changes: str) -> bytes:
    """A synthetic image, explicit VR little endian, with attributes changed or, when "", left out."""
    made = material.instance(index, rows=16)
    for keyword, value in changes.items():
        if value:
            setattr(made, keyword, value)
        else:
            delattr(made, keyword)
    return encoded(made)


def encoded(made: Dataset) -> bytes:
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_dataset(stream, made)
    return stream.getvalue()


@pytest.fixture(params=list(DuplicatePolicy))
def policy(request: pytest.FixtureRequest) -> DuplicatePolicy:
    chosen: DuplicatePolicy = request.param
    return chosen


def opened(folder: Path, policy: DuplicatePolicy = DuplicatePolicy.VERSION) -> Archive:
    return Archive(MemoryStore(), SqliteIndex(folder / "index.db", duplicates=policy), Times())


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    made = opened(tmp_path)
    yield made
    made.index.close()


def arrival(archive: Archive, index: int = 0, uid: str = "") -> Arrival:
    return Arrival(
        Uid("1.2.840.10008.5.1.4.1.1.4"),
        Uid(uid or f"2.25.3151.1.3.{index}"),
        Uid("1.2.840.10008.1.2.1"),
        "CT01",
        "PACSNODE",
        archive.clock(),
    )


def receive(archive: Archive, data: bytes, index: int = 0, uid: str = "") -> Outcome:
    with archive.receive(arrival(archive, index, uid)) as ingest:
        for start in range(0, len(data), 100):
            ingest.write(data[start : start + 100])
        return ingest.commit()


def keys(archive: Archive) -> list[Key]:
    return list(archive.store.keys())


def test_an_instance_is_stored_and_found(archive: Archive) -> None:
    """After commit the object has the very bytes and the index tells where."""
    data = data_set()
    outcome = receive(archive, data)

    found = archive.index.current(Uid("2.25.3151.1.3.0"))
    assert Outcome.STORED is outcome
    assert found is not None
    with archive.store.open(found.stored.key) as source:
        assert data == source.read()[found.stored.offset :]
    assert found == archive.describe(found.stored.key)
    assert ("CT01", "PACSNODE", len(data)) == (found.calling_ae, found.called_ae, found.stored.size)


def test_a_peer_that_vanishes_leaves_nothing(archive: Archive) -> None:
    """A half-sent instance leaves nothing behind."""
    with contextlib.suppress(PeerFailure), archive.receive(arrival(archive)) as ingest:
        ingest.write(data_set()[:300])
        raise PeerFailure("gone")

    assert [] == keys(archive)


@pytest.mark.parametrize(
    ("data", "uid", "error"),
    [
        (data_set()[:-7], "", BadDataset),
        (b"", "", BadDataset),
        (b"no data set at all", "", BadDataset),
        (data_set(StudyInstanceUID=""), "", BadDataset),
        (data_set(SeriesInstanceUID=""), "", BadDataset),
        (data_set(SOPInstanceUID=""), "", BadDataset),
        (data_set(), "2.25.999", UidMismatch),
        (data_set(SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), "", UidMismatch),
        (data_set(), "../../etc/passwd", MalformedUid),
    ],
)
def test_what_cannot_be_right_is_refused(archive: Archive, data: bytes, uid: str, error: type[Exception]) -> None:
    """Truncated, unreadable, without UIDs, or another instance than announced: the error says so, nothing is kept."""
    with pytest.raises(error):
        receive(archive, data, uid=uid)

    assert [] == keys(archive)
    assert 0 == archive.index.totals().instances


def test_the_same_again_writes_nothing(archive: Archive) -> None:
    """Sending a study twice is Success twice and one object each."""
    receive(archive, data_set())
    outcome = receive(archive, data_set())

    assert Outcome.ALREADY_THERE is outcome
    assert 1 == len(keys(archive))


def test_other_content_under_a_known_uid(tmp_path: Path, policy: DuplicatePolicy) -> None:
    """By policy a second version, the first one, or a refusal; what was there stays as it was."""
    archive = opened(tmp_path, policy)
    receive(archive, data_set())
    (first,) = keys(archive)
    if policy is DuplicatePolicy.REJECT:
        with pytest.raises(DuplicateRefused):
            receive(archive, data_set(PatientName="Other^Name"))
    else:
        outcome = receive(archive, data_set(PatientName="Other^Name"))
        assert {DuplicatePolicy.VERSION: Outcome.NEW_VERSION, DuplicatePolicy.FIRST: Outcome.KEPT_FIRST}[
            policy
        ] is outcome
    versions = archive.index.versions(Uid("2.25.3151.1.3.0"))
    archive.index.close()

    assert first in keys(archive)
    assert len(versions) == len(keys(archive))
    assert (policy is DuplicatePolicy.VERSION) == (versions[0].stored.key != first)


class FailingIndex(SqliteIndex):
    """Fails when it is to keep a row, as a full disk would."""

    def add(self, instance: Instance) -> Outcome:
        raise IndexFailure("disk full")


def test_an_index_that_fails_is_no_success(tmp_path: Path) -> None:
    """The row may have been written or not: the object stays as a harmless orphan, and the caller hears of it."""
    archive = Archive(MemoryStore(), FailingIndex(tmp_path / "index.db"), Times())
    with pytest.raises(IndexFailure):
        receive(archive, data_set())
    archive.index.close()

    assert 1 == len(keys(archive))


def test_damage_is_seen(archive: Archive) -> None:
    """A flipped byte, a missing tail, a missing object: a finding each; an object that is sound has none."""
    for index in range(4):
        receive(archive, data_set(index), index)
    store = archive.store
    assert isinstance(store, MemoryStore)
    flipped, cut, gone, _ = keys(archive)
    store.objects[flipped] = store.objects[flipped][:-9] + b"\xff" + store.objects[flipped][-8:]
    store.objects[cut] = store.objects[cut][:-9]
    del store.objects[gone]
    findings = list(archive.verify(list(archive.index.everything())))

    assert [flipped, cut, gone] == [finding.key for finding in findings if finding is not None]
    assert None is findings[-1]
    with pytest.raises(ObjectDamaged):
        archive.describe(flipped)


def test_an_index_is_rebuilt_from_the_objects(archive: Archive, tmp_path: Path) -> None:
    """Row by row the same, versions and descriptions included; what cannot be read is a finding."""
    for index in range(5):
        receive(archive, data_set(index), index)
    receive(archive, data_set(2, PatientName="Corrected^Name"), 2)
    assert isinstance(archive.index, SqliteIndex)
    before = list(archive.index.dump())
    rebuilt = Archive(archive.store, SqliteIndex(tmp_path / "other.db"), archive.clock)
    findings = list(rebuilt.rebuild())
    assert isinstance(rebuilt.index, SqliteIndex)
    after = list(rebuilt.index.dump())
    rebuilt.index.close()

    assert [None] * 6 == findings
    assert before == after


def test_what_is_assumed_of_a_sender_holds_when_rebuilt(tmp_path: Path) -> None:
    """Text without a declared set is read by the sender's assumption, by a rebuild too, which knows a corrected one."""
    cyrillic, greek = Assumptions({"CT01": "ISO_IR 144"}), Assumptions({"OTHER": "ISO_IR 144"}, "ISO_IR 126")
    made = material.instance(0, rows=16)
    made.PatientName = "Plain^Name"
    raw = encoded(made).replace(b"Plain^Name", "Иванов^Ив ".encode("iso8859-5"))
    archive = Archive(MemoryStore(), SqliteIndex(tmp_path / "index.db"), Times(), cyrillic)
    receive(archive, raw)
    names = [instance.header.patient_name for instance in archive.index.everything()]
    archive.index.close()
    for number, assumed in enumerate((cyrillic, greek)):
        rebuilt = Archive(archive.store, SqliteIndex(tmp_path / f"{number}.db"), archive.clock, assumed)
        list(rebuilt.rebuild())
        names += [instance.header.patient_name for instance in rebuilt.index.everything()]
        rebuilt.index.close()

    assert ["Иванов^Ив", "Иванов^Ив", "Иванов^Ив".encode("iso8859-5").decode("iso8859-7", "replace")] == names
