"""One instance in two encodings: whatever happens, it is there once, and what came is still known."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pacsnode.archive import Archive
from pacsnode.commitment.verdict import Judge
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import (
    Commitment,
    CommitmentRequest,
    DuplicatePolicy,
    Outcome,
    Reference,
    Transaction,
    Uid,
)
from pacsnode.recovery import Recovery, recover
from tests.encoded import encode_anew, swap
from tests.test_archive import NOW, Times, data_set, keys, opened, receive
from tests.test_recovery import NOTHING_KNOWN, UID, alter, store_of

MR = Uid("1.2.840.10008.5.1.4.1.1.4")


@pytest.fixture(params=list(DuplicatePolicy))
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Archive]:
    made = opened(tmp_path, request.param)
    yield made
    made.index.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Archive]:
    """An archive that keeps versions."""
    made = opened(tmp_path)
    yield made
    made.index.close()


def dump(archive: Archive) -> list[tuple[object, ...]]:
    assert isinstance(archive.index, SqliteIndex)
    return list(archive.index.dump())


def test_the_original_sent_again_is_here(archive: Archive) -> None:
    """Who sends the original of what was compressed since hears Success; nothing is written, nor a version made."""
    receive(archive, data_set())
    encoded = swap(archive, keys(archive)[0])
    before = dump(archive)

    assert [Outcome.ALREADY_THERE] * 3 == [receive(archive, data_set()) for _ in range(3)]
    assert [encoded.stored.key] == keys(archive)
    assert before == dump(archive)
    assert [encoded] == archive.index.versions(UID)


def test_resent_original_repairs_a_damaged_encoding(archive: Archive) -> None:
    """Where what was compressed is damaged, the original that is sent again takes its place."""
    receive(archive, data_set())
    encoded = swap(archive, keys(archive)[0])
    alter(archive, encoded.stored.key)

    assert Outcome.REPAIRED == receive(archive, data_set())
    (key,) = keys(archive)
    assert [archive.describe(key)] == archive.index.versions(UID)
    assert [encoded.stored.key] == list(store_of(archive).aside)


def test_other_content_is_another_version(kept: Archive) -> None:
    """Other content under the UID of what was compressed is a version of its own, as ever."""
    receive(kept, data_set())
    encoded = swap(kept, keys(kept)[0])

    assert Outcome.NEW_VERSION == receive(kept, data_set(PatientID="2"))
    assert Outcome.ALREADY_THERE == receive(kept, data_set())
    assert encoded == kept.index.versions(UID)[1]


def test_verify_and_commitment_hold(archive: Archive) -> None:
    """What was compressed verifies, and peers hear that it is committed."""
    receive(archive, data_set())
    encoded = swap(archive, keys(archive)[0])
    reference = Reference(MR, UID)
    request = CommitmentRequest(Uid("1.2"), (reference,), "CT01", "PACSNODE", NOW)
    transaction = Transaction(1, request.transaction_uid, "CT01", "PACSNODE", NOW)

    assert archive.problem_of(encoded) is None
    assert (None,) == Judge(archive, {MR}).verdict(Commitment(transaction, (reference,), None), lambda: False)


def test_encoding_that_was_not_put_in_place_goes(archive: Archive) -> None:
    """After a crash before the swap the original stays, and what was to take its place is removed."""
    receive(archive, data_set())
    (key,) = keys(archive)
    before = dump(archive)
    encode_anew(archive, key)

    assert Recovery(removed=1, verified=1) == recover(archive, NOTHING_KNOWN)
    assert [key] == keys(archive)
    assert before == dump(archive)


def test_encoding_takes_the_place_of_a_damaged_original(archive: Archive) -> None:
    """Where the original is damaged, what was to take its place does."""
    receive(archive, data_set())
    (key,) = keys(archive)
    encoded = encode_anew(archive, key)
    alter(archive, key)

    assert Recovery(set_aside=1, verified=1) == recover(archive, NOTHING_KNOWN)
    assert [encoded] == archive.index.versions(UID)
    assert [encoded.stored.key] == keys(archive)


def test_encoding_without_an_original_is_adopted(archive: Archive) -> None:
    """Where the original is gone, with its row, what was made of it is the instance."""
    receive(archive, data_set())
    (key,) = keys(archive)
    encoded = encode_anew(archive, key)
    archive.index.strike(key)
    archive.store.delete(key)

    assert Recovery(adopted=1, verified=1) == recover(archive, NOTHING_KNOWN)
    assert [encoded] == archive.index.versions(UID)


def test_kept_original_is_no_orphan(archive: Archive) -> None:
    """An original that is kept beside what took its place is neither adopted nor removed."""
    receive(archive, data_set())
    (key,) = keys(archive)
    encoded = swap(archive, key, keeps_original=True)
    before = dump(archive)

    assert Recovery(verified=1) == recover(archive, NOTHING_KNOWN)
    assert {key, encoded.stored.key} == set(keys(archive))
    assert before == dump(archive)


def test_kept_original_comes_back(archive: Archive) -> None:
    """Where what took its place is damaged, the kept original is the instance again."""
    receive(archive, data_set())
    (key,) = keys(archive)
    original = archive.describe(key)
    encoded = swap(archive, key, keeps_original=True)
    alter(archive, encoded.stored.key)

    assert Recovery(set_aside=1, verified=1) == recover(archive, NOTHING_KNOWN)
    assert [original] == archive.index.versions(UID)
    assert [encoded.stored.key] == list(store_of(archive).aside)


@pytest.mark.parametrize("keeps_original", [False, True])
def test_rebuilt_index_is_the_same(keeps_original: bool, kept: Archive, tmp_path: Path) -> None:
    """An index rebuilt after compression is the one that was lost, kept originals or not, versions or not."""
    for number in range(6):
        receive(kept, data_set(number), number)
    receive(kept, data_set(PatientID="2"))
    for key in keys(kept)[1:]:
        swap(kept, key, keeps_original=keeps_original)
    receive(kept, data_set(1), 1)
    before = dump(kept)

    with contextlib.closing(SqliteIndex(tmp_path / "rebuilt.db")) as index:
        rebuilt = Archive(kept.store, index, Times())
        assert [None] * len(keys(kept)) == list(rebuilt.rebuild())
        assert before == dump(rebuilt)
        list(rebuilt.rebuild())
        assert before == dump(rebuilt)
