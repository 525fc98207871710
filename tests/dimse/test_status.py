"""The status tables: every error of ours has an answer, of the right class, that tells nothing of our troubles."""

from __future__ import annotations

import pytest

from pacsnode import errors
from pacsnode.dimse import status
from pacsnode.errors import (
    BadDataset,
    DatasetTooLarge,
    DuplicateRefused,
    FaultyElement,
    IndexFailure,
    InvalidQuery,
    MalformedUid,
    NotAllowed,
    ObjectDamaged,
    ObjectNotFound,
    PacsNodeError,
    RejectedByUs,
    SopClassNotSupported,
    StoreError,
    StoreFull,
    UidMismatch,
    UnknownDestination,
)

TABLES = {"STORE": status.STORE, "FIND": status.FIND, "RETRIEVE": status.RETRIEVE}
ERRORS = [found for found in vars(errors).values() if isinstance(found, type) and issubclass(found, PacsNodeError)]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_every_error_has_an_entry(table: status.Table) -> None:
    """Nothing falls through to a status that was not meant for it."""
    assert set(ERRORS) == set(table)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_every_entry_is_a_failure(table: status.Table) -> None:
    """Only failures of PS3.7 Annex C: Axxx, Cxxx, 01xx but the warnings."""
    for code in table.values():
        assert code >> 12 in (0xA, 0xC) or code >> 8 == 0x01
        assert not status.is_warning(code)


@pytest.mark.parametrize(
    "kind", [StoreError, StoreFull, ObjectNotFound, ObjectDamaged, IndexFailure], ids=lambda kind: str(kind.__name__)
)
def test_our_troubles_may_be_tried_again(kind: type[PacsNodeError]) -> None:
    """Transient causes are A7xx, which senders repeat."""
    for table in TABLES.values():
        assert 0xA7 == table[kind] >> 8


@pytest.mark.parametrize(
    "kind",
    [RejectedByUs, BadDataset, FaultyElement, DatasetTooLarge, UidMismatch, MalformedUid, DuplicateRefused, NotAllowed],
    ids=lambda kind: str(kind.__name__),
)
def test_their_faults_are_not_to_be_tried_again(kind: type[PacsNodeError]) -> None:
    """Permanent causes of a C-STORE are never A7xx."""
    assert 0xA7 != status.STORE[kind] >> 8


def test_codes_that_the_standard_fixes() -> None:
    """PS3.4 Tables B.2-1, C.4-1 and C.4-2; PS3.7 Annex C."""
    assert 0xA700 == status.STORE[StoreFull]
    assert 0xA900 == status.STORE[UidMismatch]
    assert 0xC000 == status.STORE[BadDataset]
    assert 0x0117 == status.STORE[MalformedUid]
    assert 0x0124 == status.STORE[NotAllowed] == status.FIND[NotAllowed] == status.RETRIEVE[NotAllowed]
    for table in TABLES.values():
        assert 0x0122 == table[SopClassNotSupported]
    assert 0xA900 == status.FIND[InvalidQuery] == status.RETRIEVE[InvalidQuery]
    assert 0xA801 == status.RETRIEVE[UnknownDestination]
    assert 0xA701 == status.RETRIEVE[IndexFailure]


def test_an_unlisted_class_has_the_status_of_its_ancestor() -> None:
    """A new kind of error is never without an answer."""

    class Special(StoreFull):
        pass

    assert 0xA700 == status.of(status.STORE, Special("x"))


@pytest.mark.parametrize(
    "kind", [kind for kind in ERRORS if not issubclass(kind, FaultyElement)], ids=lambda kind: kind.__name__
)
def test_comments(kind: type[PacsNodeError]) -> None:
    """At most 64 ASCII characters; of our own failures no details."""
    words = status.comment(kind("secret place: Müller\n" * 10))

    assert 0 < len(words) <= 64
    assert words.isascii()
    assert words.isprintable()
    assert issubclass(kind, RejectedByUs) == ("secret" in words)


@pytest.mark.parametrize(
    ("code", "is_warning"),
    [(0x0000, False), (0x0001, True), (0x0107, True), (0x0116, True), (0xB000, True), (0xBFFF, True)]
    + [(code, False) for code in (0x0110, 0xA700, 0xC000, 0xFE00, 0xFF00, 0x0211)],
)
def test_warnings(code: int, is_warning: bool) -> None:
    """PS3.7 Annex C."""
    assert is_warning == status.is_warning(code)
