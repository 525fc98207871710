"""Synthetic data sets, explicit VR little endian: made-up patients, unique UIDs, shared pixels.

A plan numbers its instances from 0; which study and series an instance belongs to follows from its number, so that
sender, query and retrieve agree without telling each other.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

EXPLICIT = "1.2.840.10008.1.2.1"
_BYTES_PER_PIXEL = 2
_FIRST_DAY, _DAYS, _DAYS_BETWEEN = date(2010, 1, 1), 5_478, 997  # without a common divisor


@dataclass(frozen=True, slots=True)
class Image:
    """A kind of image: 16 bits a pixel, one sample."""

    name: str
    sop_class_uid: str
    modality: str
    rows: int
    columns: int
    frames: int = 1

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return self.rows * self.columns * _BYTES_PER_PIXEL


CT = Image("CT", "1.2.840.10008.5.1.4.1.1.2", "CT", 512, 512)
MR = Image("MR", "1.2.840.10008.5.1.4.1.1.4", "MR", 128, 128)
TINY = Image("tiny", "1.2.840.10008.5.1.4.1.1.4", "MR", 16, 16)
MULTI_FRAME_CLASS = "1.2.840.10008.5.1.4.1.1.7.3"  # Multi-frame Grayscale Word Secondary Capture


@dataclass(frozen=True, slots=True)
class DataSet:
    """One instance to be sent: its bytes are the pieces, one after the other."""

    sop_class_uid: str
    sop_instance_uid: str
    pieces: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Bytes of the data set."""
        return sum(map(len, self.pieces))


@dataclass(frozen=True, slots=True)
class Plan:
    """Instances of one kind under one UID root."""

    image: Image
    root: str
    per_series: int = 100
    series_per_study: int = 4
    studies_per_patient: int = 3

    @property
    def per_study(self) -> int:
        """Instances of one study."""
        return self.per_series * self.series_per_study

    def study_uid(self, study: int) -> str:
        """Study Instance UID."""
        return f"{self.root}.1.{study}"

    def series_uid(self, series: int) -> str:
        """Series Instance UID; series are numbered through all studies."""
        return f"{self.root}.2.{series}"

    def patient_id(self, study: int) -> str:
        """Patient ID of a study."""
        return f"PID{study // self.studies_per_patient:07d}"

    def patient_name(self, study: int) -> str:
        """Patient's Name of a study: one of 997 family names."""
        patient = study // self.studies_per_patient
        return f"Family{patient % 997}^Given{patient % 89}"

    def study_date(self, study: int) -> str:
        """Study Date: one of the days of fifteen years, which take turns."""
        return f"{_FIRST_DAY + timedelta(days=study * _DAYS_BETWEEN % _DAYS):%Y%m%d}"

    def data_sets(self, start: int, stop: int) -> Iterator[DataSet]:
        """The instances of these numbers."""
        for number in range(start, stop):
            yield self.data_set(number)

    def data_set(self, number: int) -> DataSet:
        """One instance."""
        image = self.image
        uid = f"{self.root}.3.{number}"
        head = b"".join(_element(tag, vr, value) for tag, vr, value in self._elements(number, uid))
        length = struct.pack("<I", image.frame_bytes * image.frames)
        pixel_data = struct.pack("<HH", 0x7FE0, 0x0010) + b"OW\0\0" + length
        frame = _frame(image.frame_bytes)
        return DataSet(image.sop_class_uid, uid, (head + pixel_data, *([frame] * image.frames)))

    def _elements(self, number: int, uid: str) -> list[tuple[int, str, str | int]]:
        image = self.image
        study, series = number // self.per_study, number // self.per_series
        elements: list[tuple[int, str, str | int]] = [
            (0x00080005, "CS", "ISO_IR 100"),
            (0x00080008, "CS", "ORIGINAL\\PRIMARY"),
            (0x00080016, "UI", image.sop_class_uid),
            (0x00080018, "UI", uid),
            (0x00080020, "DA", self.study_date(study)),
            (0x00080030, "TM", f"{study % 24:02d}1500"),
            (0x00080050, "SH", f"ACC{study:08d}"),
            (0x00080060, "CS", image.modality),
            (0x00080090, "PN", "Referring^Made-Up"),
            (0x00081030, "LO", "BRAIN" if study % 2 else "KNEE"),
            (0x0008103E, "LO", f"AXIAL {series % self.series_per_study + 1}"),
            (0x00100010, "PN", self.patient_name(study)),
            (0x00100020, "LO", self.patient_id(study)),
            (0x00100030, "DA", f"{1940 + study % 60}0101"),
            (0x00100040, "CS", "F" if study % 2 else "M"),
            (0x0020000D, "UI", self.study_uid(study)),
            (0x0020000E, "UI", self.series_uid(series)),
            (0x00200010, "SH", str(study + 1)),
            (0x00200011, "IS", str(series % self.series_per_study + 1)),
            (0x00200013, "IS", str(number % self.per_series + 1)),
            (0x00280002, "US", 1),
            (0x00280004, "CS", "MONOCHROME2"),
            (0x00280010, "US", image.rows),
            (0x00280011, "US", image.columns),
            (0x00280100, "US", 16),
            (0x00280101, "US", 16),
            (0x00280102, "US", 15),
            (0x00280103, "US", 0),
        ]
        if image.frames > 1:
            elements.insert(-6, (0x00280008, "IS", str(image.frames)))
        return elements


def _element(tag: int, vr: str, value: str | int) -> bytes:
    raw = struct.pack("<H", value) if isinstance(value, int) else value.encode("ascii")
    if len(raw) % 2:
        raw += b"\0" if vr == "UI" else b" "
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode() + struct.pack("<H", len(raw)) + raw


@lru_cache(maxsize=4)
def _frame(size: int) -> bytes:
    """Noise, so that no file system can make less of it."""
    return random.Random(size).randbytes(size)
