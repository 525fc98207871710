"""Cut instances: a thousand of them, and none is ever answered Success; what cannot be told from a whole is counted."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from pacsnode.archive import Archive
from pacsnode.dicom import part10, syntax
from pacsnode.errors import BadDataset, MalformedUid
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Arrival, Outcome, Uid
from pacsnode.storage.filesystem import FilesystemStore
from tests.dicom.dataset_bytes import NATIVE
from tests.dimse.images import image, uid_of
from tests.dimse.raw_peer import CT, JPEG_BASELINE, Offer, RawPeer
from tests.system import material
from tests.system.live import LiveNode

CUTS, ON_THE_WIRE, FILES = 1_000, 50, 100
NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
UIDS = {0x00080016, 0x00080018, 0x0020000D, 0x0020000E}
DESCRIPTION = {0x00280002, 0x00280004, 0x00280010, 0x00280011, 0x00280100}
CONTENT = {0x7FE00010, 0x7FE00008, 0x7FE00009, 0x00287FE0, 0x00420011, 0x54000100}
PADDING = (0xFFFCFFFC, 0x00000000)


@dataclass(frozen=True)
class Whole:
    """An instance that is taken when it is whole."""

    name: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data: bytes

    @cached_property
    def elements(self) -> list[tuple[int, int]]:
        """Where each top-level element begins, and its tag, by pydicom; of a deflated data set none can be told."""
        uid = Uid(self.transfer_syntax_uid)
        if syntax.is_deflated(uid):
            return []
        is_implicit = syntax.is_implicit(uid)
        dataset = read_dataset(BytesIO(self.data), is_implicit, syntax.is_little_endian(uid))
        begins = []
        for tag in list(dataset.keys()):
            element = dataset.get_item(tag)
            value = element.value_tell if isinstance(element, RawDataElement) else element.file_tell
            assert value is not None
            is_short = is_implicit or element.VR not in EXPLICIT_VR_LENGTH_32
            begins.append((value - (8 if is_short else 12), int(tag)))
        return sorted(begins)

    @cached_property
    def end(self) -> int:
        """Where the last element that says something ends."""
        behind = [at for at, tag in self.elements if tag in PADDING]
        return min([*behind, len(self.data) - (1 if syntax.is_deflated(Uid(self.transfer_syntax_uid)) else 0)])

    @cached_property
    def boundaries(self) -> set[int]:
        """Where a cut leaves whole elements."""
        return {at for at, _ in self.elements} - {0} | {len(self.data)}

    def looks_whole(self, boundary: int) -> bool:
        """Are all UIDs before the boundary, and either the content or no word that there will be any?"""
        before = {tag for at, tag in self.elements if at < boundary}
        return UIDS <= before and bool(before & CONTENT or not self.promises(before))

    def promises(self, before: set[int]) -> bool:
        """Does what is before say that content has to follow?"""
        content = {tag for _, tag in self.elements} & CONTENT
        return bool(content) and (bool(before & DESCRIPTION) or bool(content & {0x00420011, 0x54000100}))


def arrival(whole: Whole) -> Arrival:
    uids = Uid(whole.sop_class_uid), Uid(whole.sop_instance_uid), Uid(whole.transfer_syntax_uid)
    return Arrival(*uids, "CT01", "PACSNODE", NOW)


def received(archive: Archive, whole: Whole, length: int) -> Outcome | None:
    """Send so many bytes of the data set; None where it is refused."""
    try:
        with archive.receive(arrival(whole)) as ingest:
            ingest.write(memoryview(whole.data)[:length])
            return ingest.commit()
    except (BadDataset, MalformedUid):
        return None


@cache
def wholes() -> list[Whole]:
    """Real instances that a node takes, else made-up ones; the same ones each time."""
    found = list(_real()) or list(_made_up())
    return random.Random(20261124).sample(found, min(FILES, len(found)))


def _real() -> Iterator[Whole]:
    for sample in material.real():
        with sample.path.open("rb") as source:
            source.seek(part10.read_foreign_head(source).offset)
            data = source.read()
        yield Whole(str(sample.path), sample.sop_class_uid, sample.sop_instance_uid, sample.transfer_syntax_uid, data)


def _made_up() -> Iterator[Whole]:
    for number in range(30):
        for transfer_syntax in (*NATIVE, Uid(JPEG_BASELINE)):
            data = image(number, syntax=transfer_syntax, pixels=random.Random(number).randbytes(200 << number % 8))
            yield Whole(f"made up {number}", CT, uid_of(number), transfer_syntax, data)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    index = SqliteIndex(tmp_path / "index.db")
    with closing(index):
        yield Archive(FilesystemStore(tmp_path), index, lambda: NOW)


@pytest.fixture
def taken(tmp_path: Path) -> list[Whole]:
    """Those that are taken when they are whole: the rest says nothing about cuts."""
    with closing(SqliteIndex(tmp_path / "whole.db")) as index:
        archive = Archive(FilesystemStore(tmp_path / "whole"), index, lambda: NOW)
        return [whole for whole in wholes() if received(archive, whole, len(whole.data)) is not None]


def cuts(taken: list[Whole]) -> list[tuple[Whole, int]]:
    """A thousand of them: anywhere, at the very end, within a header, at the boundaries that can be told."""
    chance, found = random.Random(3), list[tuple[Whole, int]]()
    while len(found) < CUTS:
        whole = taken[len(found) % len(taken)]
        length = _cut(whole, len(found) // len(taken), chance)
        if 0 < length < whole.end and (length not in whole.boundaries or not whole.looks_whole(length)):
            found.append((whole, length))
        else:
            taken = [*taken[1:], taken[0]]  # nothing can be told there: the next one
    return found


def _cut(whole: Whole, turn: int, chance: random.Random) -> int:
    starts = sorted(whole.boundaries)
    match turn % 5:
        case 0:
            return whole.end - 1
        case 1:
            return chance.choice(starts) - chance.randrange(1, 8)
        case 2:
            return chance.choice(starts) + chance.randrange(1, 8)
        case 3:
            return chance.choice(starts)
        case _:
            return chance.randrange(1, whole.end)


def test_a_thousand_cuts(archive: Archive, taken: list[Whole], tmp_path: Path) -> None:
    """An instance that was cut is refused, and nothing of it stays: no object, no row, no leftover."""
    accepted = [(whole.name, length) for whole, length in cuts(taken) if received(archive, whole, length) is not None]

    assert [] == accepted
    assert [] == [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]
    assert [] == list((tmp_path / "spool").rglob("*.part"))
    assert 0 == archive.index.totals().instances


def test_cuts_on_the_wire(tmp_path: Path, taken: list[Whole]) -> None:
    """The same over C-STORE: the status is a failure that says so, and the association goes on."""
    chosen = random.Random(4).sample(cuts(taken), ON_THE_WIRE)
    with LiveNode(tmp_path / "node") as node, closing(RawPeer(node.port)) as peer:
        peer.associate(
            [
                Offer(2 * number + 1, whole.sop_class_uid, (whole.transfer_syntax_uid,))
                for number, (whole, _) in enumerate(chosen)
            ]
        )
        statuses = [
            peer.store(2 * number + 1, whole.sop_class_uid, whole.sop_instance_uid, whole.data[:length]).status
            for number, (whole, length) in enumerate(chosen)
        ]
        data = tmp_path / "node" / "data"

        assert {0xC000, 0xC001} >= set(statuses)  # the latter where one of the four UIDs was cut off
        assert [] == [path for path in (data / "objects").rglob("*") if path.is_file()]
        assert [] == list((data / "spool").rglob("*.part"))


def test_every_boundary(archive: Archive, taken: list[Whole]) -> None:
    """Between two elements a cut is refused where a UID or the promised content is missing, and only there."""
    told, untold = 0, 0
    for whole in taken:
        for boundary in sorted(at for at in whole.boundaries if at < whole.end):
            is_taken = received(archive, whole, boundary) is not None
            told, untold = told + (not is_taken), untold + is_taken

            assert whole.looks_whole(boundary) == is_taken, f"{whole.name} cut at {boundary}"
    print(f"{told} of {told + untold} boundaries of {len(taken)} instances are told")
