"""Studies to send: real ones from the folder beside the repository when it is there, else synthetic ones."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from pacsnode.dicom import part10

SHARED = Path(__file__).parents[2].parent / "shared" / "dicom"
_ROOT = "2.25.3151"


@dataclass(frozen=True)
class Sample:
    """One Part 10 file that can be sent as it is."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    study_uid: str


def digest(path: Path) -> str:
    """SHA-256 of the data set in a Part 10 file."""
    with path.open("rb") as source:
        source.seek(part10.read_foreign_head(source).offset)
        return hashlib.file_digest(source, "sha256").hexdigest()


def real(kind: str = "storable") -> list[Sample]:
    """The real files of a class of the manifest; none where the folder is absent."""
    manifest = SHARED / "MANIFEST.tsv"
    if not manifest.exists():
        return []
    with manifest.open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return [
        Sample(
            SHARED / row["path"],
            row["SOPClassUID"],
            row["SOPInstanceUID"],
            row["TransferSyntaxUID"],
            row["StudyUID"],
        )
        for row in rows
        if row["class"] == kind
    ]


def series(count: int, folder: Path, *, number: int = 1, rows: int = 128) -> list[Sample]:
    """Write a synthetic MR series: noise-free ramps, made-up UIDs, a patient who never was."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for index in range(count):
        path = folder / f"{number}-{index:04d}.dcm"
        data_set = instance(index, number=number, rows=rows)
        data_set.save_as(path, enforce_file_format=True)
        samples.append(
            Sample(
                path,
                str(data_set.SOPClassUID),
                str(data_set.SOPInstanceUID),
                str(ExplicitVRLittleEndian),
                str(data_set.StudyInstanceUID),
            )
        )
    return samples


def instance(index: int, *, number: int = 1, rows: int = 128) -> Dataset:
    """One synthetic MR image; ``number`` makes the study."""
    data_set = Dataset()
    data_set.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    data_set.SOPInstanceUID = f"{_ROOT}.{number}.3.{index}"
    data_set.StudyDate = f"2024{number % 12 + 1:02d}{number % 28 + 1:02d}"
    data_set.StudyTime = "101500"
    data_set.AccessionNumber = f"ACC{number}"
    data_set.Modality = "MR"
    data_set.StudyDescription = "SYNTHETIC"
    data_set.SeriesDescription = "RAMP"
    data_set.PatientName = f"Test^Patient{number}"
    data_set.PatientID = f"TEST{number}"
    data_set.PatientBirthDate = "19700101"
    data_set.PatientSex = "O"
    data_set.StudyInstanceUID = f"{_ROOT}.{number}.1"
    data_set.SeriesInstanceUID = f"{_ROOT}.{number}.2"
    data_set.StudyID = str(number)
    data_set.SeriesNumber = 1
    data_set.InstanceNumber = index + 1
    data_set.SamplesPerPixel = 1
    data_set.PhotometricInterpretation = "MONOCHROME2"
    data_set.Rows = data_set.Columns = rows
    data_set.BitsAllocated = data_set.BitsStored = 16
    data_set.HighBit = 15
    data_set.PixelRepresentation = 0
    data_set.PixelData = b"".join(((i + index) % 4096).to_bytes(2, "little") for i in range(rows * rows))
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data_set.file_meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    data_set.file_meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    return data_set


def association_request(called: str, *, abstract_syntax: str = "1.2.840.10008.1.1") -> bytes:
    """The bytes of a plain A-ASSOCIATE-RQ with one context, implicit VR little endian."""

    def item(kind: int, content: bytes) -> bytes:
        return bytes([kind, 0]) + len(content).to_bytes(2, "big") + content

    context = item(0x30, abstract_syntax.encode()) + item(0x40, b"1.2.840.10008.1.2")
    user = item(0x51, (16384).to_bytes(4, "big")) + item(0x52, b"2.25.1")
    body = b"\0\1\0\0" + called.ljust(16).encode() + b"IDLE".ljust(16) + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, b"\1\0\0\0" + context) + item(0x50, user)
    return b"\1\0" + len(body).to_bytes(4, "big") + body
