"""An archive on the disk, images of many kinds to compress, and codecs that cannot be trusted."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pacsnode.archive import Archive
from pacsnode.codec.codecs import Codec
from pacsnode.codec.sandbox import WORKER, Limits, Sandbox
from pacsnode.compression.job import CompressionJob
from pacsnode.compression.policy import Policy
from pacsnode.dicom import part10
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.jobs.budget import RunBudget
from pacsnode.jobs.job import JobReport
from pacsnode.model import Arrival, Instance, Key, Outcome, Uid
from pacsnode.storage.filesystem import FilesystemStore
from tests.system.material import Sample

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
POLICY = Policy(Codec.HTJ2K, timedelta(days=7))


@dataclass(frozen=True)
class Kind:
    """A kind of image."""

    name: str
    syntax: str = ExplicitVRLittleEndian
    allocated: int = 16
    stored: int = 12
    is_signed: bool = False
    photometric: str = "MONOCHROME2"
    frames: int = 1
    planar: int = 0


KINDS = (
    Kind("ct"),
    Kind("ct signed", is_signed=True, stored=16),
    Kind("implicit", syntax=ImplicitVRLittleEndian, stored=16),
    Kind("big endian", syntax=ExplicitVRBigEndian),
    Kind("deflated", syntax=DeflatedExplicitVRLittleEndian),
    Kind("8 bit", allocated=8, stored=8),
    Kind("8 bit signed", allocated=8, stored=8, is_signed=True),
    Kind("monochrome1", photometric="MONOCHROME1", stored=10),
    Kind("multi-frame", frames=5),
    Kind("multi-frame 8 bit implicit", frames=3, allocated=8, stored=8, syntax=ImplicitVRLittleEndian),
    Kind("rgb", allocated=8, stored=8, photometric="RGB"),
    Kind("rgb by plane", allocated=8, stored=8, photometric="RGB", planar=1),
    Kind("ybr", allocated=8, stored=8, photometric="YBR_FULL"),
    Kind("32 bit", allocated=32, stored=32),
    Kind("1 bit", allocated=1, stored=1),
    Kind("odd length", allocated=8, stored=8, frames=1),
)


def image(kind: Kind, number: int = 1, size: int = 48) -> bytes:
    """A Part 10 file of this kind: a ramp with some noise, private elements and a sequence."""
    rows, columns = (size, size) if kind.name != "odd length" else (size - 1, size - 3)
    samples = 3 if kind.photometric in ("RGB", "YBR_FULL") else 1
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, f"2.25.77.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID = "2.25.77", "2.25.77.0"
    made.PatientID, made.Modality, made.InstanceNumber = "77", "CT", str(number)
    made.add_new(0x00091001, "LO", "private")
    made.add_new(0x00090010, "LO", "MAKER")
    item = Dataset()
    item.CodeValue = "1"
    made.ProcedureCodeSequence = [item]
    made.Rows, made.Columns, made.SamplesPerPixel = rows, columns, samples
    made.BitsAllocated, made.BitsStored, made.HighBit = kind.allocated, kind.stored, kind.stored - 1
    made.PixelRepresentation, made.PhotometricInterpretation = int(kind.is_signed), kind.photometric
    if kind.frames > 1:
        made.NumberOfFrames = str(kind.frames)
    if samples > 1:
        made.PlanarConfiguration = kind.planar
    count = kind.frames * rows * columns * samples
    if kind.allocated == 1:
        pixels = np.packbits(np.arange(count) % 2 == 0).tobytes()
    else:
        steps = np.random.default_rng(number).integers(0, 4, count) + np.arange(count) // 7
        low = -(1 << (kind.stored - 1)) if kind.is_signed else 0
        values = steps % (1 << min(kind.stored, 31)) + low
        order = ">" if kind.syntax == ExplicitVRBigEndian else "<"
        pixels = values.astype(f"{order}{'i' if kind.is_signed else 'u'}{kind.allocated // 8}").tobytes()
    made.add_new(0x7FE00010, "OB" if kind.allocated <= 8 else "OW", pixels + bytes(len(pixels) % 2))
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.UID(kind.syntax)
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def store(archive: Archive, file: bytes) -> Outcome:
    """Receive a Part 10 file."""
    head = part10.read_foreign_head(io.BytesIO(file))
    return _receive(archive, head.sop_class_uid, head.sop_instance_uid, head.transfer_syntax_uid, file[head.offset :])


def store_sample(archive: Archive, sample: Sample) -> Outcome:
    """Receive a real file."""
    file = sample.path.read_bytes()
    offset = part10.read_foreign_head(io.BytesIO(file)).offset
    return _receive(archive, sample.sop_class_uid, sample.sop_instance_uid, sample.transfer_syntax_uid, file[offset:])


def _receive(archive: Archive, sop_class: str, uid: str, transfer_syntax: str, data: bytes) -> Outcome:
    arrival = Arrival(Uid(sop_class), Uid(uid), Uid(transfer_syntax), "CT01", "PACSNODE", archive.clock())
    with archive.receive(arrival) as ingest:
        ingest.write(data)
        return ingest.commit()


class Times:
    """A clock that moves on by a second whenever it is asked."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@contextmanager
def opened(folder: Path) -> Iterator[Archive]:
    """An archive in a folder, with a clock that stands in 2026."""
    index = SqliteIndex(folder / "index.db")
    try:
        yield Archive(FilesystemStore(folder), index, Times())
    finally:
        index.close()


def age(archive: Archive) -> None:
    """Let a month go by."""
    assert isinstance(archive.clock, Times)
    archive.clock.now += timedelta(days=31)


def job(archive: Archive, folder: Path, policy: Policy = POLICY, command: Sequence[str] = WORKER) -> CompressionJob:
    """The job, with codecs that have little memory and time."""
    limits = Limits(memory_bytes=2 * 1024**3, cpu_seconds=1, seconds=4.0)
    return CompressionJob(archive, folder, policy, coder=lambda: Sandbox(1, limits, command))


def compress(archive: Archive, folder: Path, policy: Policy = POLICY, command: Sequence[str] = WORKER) -> JobReport:
    """Run the job when a month has gone by."""
    age(archive)
    return job(archive, folder, policy, command).run(RunBudget())


def wicked(statement: str) -> Sequence[str]:
    """A codec process whose encoder does something else for images of 48 rows."""
    code = (
        "import os, time\n"
        "from pacsnode.codec import engines, worker\n"
        "def encode(codec, pixels, frame):\n"
        f"    if pixels.rows == 48:\n        {statement}\n"
        "    return engines.encode(codec, pixels, frame)\n"
        "worker.main(encode, engines.decode)\n"
    )
    return (sys.executable, "-I", "-c", code)


def rows(archive: Archive) -> list[Instance]:
    """All versions of all instances."""
    return list(archive.index.everything())


def keys(archive: Archive) -> list[Key]:
    """Of all objects."""
    return list(archive.store.keys())


def dump(archive: Archive) -> list[tuple[object, ...]]:
    """Every row of the index."""
    assert isinstance(archive.index, SqliteIndex)
    return list(archive.index.dump())
