"""Files of many makers, walked and compared with what pydicom reads."""

import csv
import json
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pydicom
import pytest
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, PersonName

from pacsnode.dicom import syntax
from pacsnode.dicom.attributes import BY_NAME, HEADER_TAGS, Attribute
from pacsnode.dicom.header import read_header
from pacsnode.dicom.part10 import FileHead, read_foreign_head
from pacsnode.dicom.walk import DataSetWalker
from pacsnode.errors import BadDataset
from tests.dicom.dataset_bytes import REAL_FILES, needs_real_files, walk

EXCEPTIONS = {
    "pydicom-bundled/test_files/MR_truncated.dcm": "cut in Pixel Data",
    "pydicom-bundled/test_files/SC_rgb_jpeg.dcm": "implicit VR under a syntax that is explicit",
    "pydicom-data-git/data_store/data/emri_small_jpeg_2k_lossless_too_short.dcm": "cut in the fragments",
}
"""Files that can be sent and yet must be refused."""
NAMELESS = (
    "pydicom-bundled/test_files/JPEGLSNearLossless_08.dcm",
    "pydicom-bundled/test_files/JPEGLSNearLossless_16.dcm",
    "pydicom-bundled/test_files/SC_rgb_jls_lossy_line.dcm",
    "pydicom-bundled/test_files/SC_rgb_jls_lossy_sample.dcm",
    "pydicom-data-git/data_store/data/HTJ2KLossless_08_RGB.dcm",
    "pydicom-data-git/data_store/data/HTJ2K_08_RGB.dcm",
    "pydicom-data-git/data_store/data/JLSL_08_07_0_1F.dcm",
    "pydicom-data-git/data_store/data/JLSL_16_15_1_1F.dcm",
)
"""Files without Study and Series Instance UID: whole, but nothing that could be filed."""
CHUNK_BYTES = 128 * 1024
pytestmark = needs_real_files


@dataclass(frozen=True)
class RealFile:
    name: str
    head: FileHead
    data: bytes  # the data set

    @property
    def path(self) -> Path:
        return REAL_FILES / self.name


@cache
def names() -> tuple[str, ...]:
    with open(REAL_FILES / "MANIFEST.tsv", encoding="utf-8", newline="") as manifest:
        return tuple(row["path"] for row in csv.DictReader(manifest, delimiter="\t") if row["class"] == "storable")


def load(name: str) -> RealFile:
    with open(REAL_FILES / name, "rb") as source:
        head = read_foreign_head(source)
        source.seek(head.offset)
        return RealFile(name, head, source.read())


def files() -> Iterator[RealFile]:
    """Every file that can be walked to its end."""
    return (load(name) for name in names() if name not in EXCEPTIONS)


def read_with_pydicom(real: RealFile) -> pydicom.FileDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom comments on values, which is not the matter here
        return pydicom.dcmread(real.path)


def value_of(dataset: pydicom.Dataset, name: str) -> str:
    """The value of an attribute as pydicom sees it, in our notation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        element = dataset.get(BY_NAME[name].tag)
    if element is None or element.value is None:
        return ""
    values = element.value if element.VM > 1 else [element.value]
    texts = [value if isinstance(value, PersonName) else getattr(value, "original_string", value) for value in values]
    return "\\".join(str(text).strip(" \0") for text in texts)


def items_of(element: DataElement | None, attributes: tuple[Attribute, ...]) -> list[dict[str, object]]:
    """What the index should keep of a sequence."""
    result = []
    for item in element.value or [] if element is not None else []:
        told: dict[str, object] = {}
        for one in attributes:
            inner = item.get(one.tag)
            known = items_of(inner, one.items) if one.vr == "SQ" else str(inner.value or "") if inner else ""
            if known:
                told[f"{one.tag:08X}"] = known
        result.append(told)
    return result if any(result) else []


def test_every_file_is_walked_to_its_end() -> None:
    """All files that can be stored are walked, but for those with known damage; no UID differs from pydicom's."""
    uids = ("sop_class_uid", "sop_instance_uid", "study_instance_uid", "series_instance_uid")
    seen, nameless = 0, list[str]()
    for real in files():
        walker = DataSetWalker(real.head.transfer_syntax_uid, HEADER_TAGS)
        for begin in range(0, len(real.data), CHUNK_BYTES):
            walker.feed(memoryview(real.data)[begin : begin + CHUNK_BYTES])
        elements, theirs = walker.finish(), read_with_pydicom(real)
        expected = [value_of(theirs, name) for name in uids]
        seen += 1
        if not all(expected):
            nameless.append(real.name)
            with pytest.raises(BadDataset, match="missing or empty"):
                read_header(elements)
            continue
        header = read_header(elements)

        assert expected == [getattr(header, name) for name in uids], real.name
    assert sorted(NAMELESS) == sorted(nameless)
    assert len(names()) - len(EXCEPTIONS) == seen


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_damaged_files_are_refused(name: str) -> None:
    """The exceptions are refused, each with a reason that fits an error comment."""
    real = load(name)
    with pytest.raises(BadDataset) as caught:
        walk(real.data, real.head.transfer_syntax_uid)

    assert len(str(caught.value)) <= 64


def test_headers_are_those_of_pydicom() -> None:
    """Of every fifth file, each attribute of the header has the value that pydicom reads."""
    for real in [real for real in files() if real.name not in NAMELESS][::5]:
        header, theirs = (
            read_header(walk(real.data, real.head.transfer_syntax_uid, HEADER_TAGS)),
            read_with_pydicom(real),
        )
        for name in (name for name, attribute in BY_NAME.items() if not attribute.is_counted):
            if BY_NAME[name].vr == "SQ":
                ours = json.loads(getattr(header, name) or "[]")
                assert items_of(theirs.get(BY_NAME[name].tag), BY_NAME[name].items) == ours, f"{name} of {real.name}"
                continue
            assert value_of(theirs, name) == getattr(header, name), f"{name} of {real.name}"


def test_heads_are_those_of_pydicom() -> None:
    """File meta information of other writers is read as pydicom reads it."""
    for real in files():
        meta = read_with_pydicom(real).file_meta
        expected = [
            str(meta.get(keyword, ""))
            for keyword in ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
        ]

        assert expected == [real.head.sop_class_uid, real.head.sop_instance_uid, real.head.transfer_syntax_uid]


def boundaries(real: RealFile) -> set[int]:
    """Where top-level elements begin or the last one ends, by pydicom."""
    dataset, begins = read_with_pydicom(real), {len(real.data)}
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        value_begins = element.value_tell if isinstance(element, RawDataElement) else element.file_tell
        assert value_begins is not None
        is_short = syntax.is_implicit(real.head.transfer_syntax_uid) or element.VR not in EXPLICIT_VR_LENGTH_32
        begins.add(value_begins - real.head.offset - (8 if is_short else 12))
    return begins


def test_a_thousand_cuts() -> None:
    """Real data sets that are cut inside of an element are refused, wherever that is."""
    chance = random.Random(20261124)
    candidates = [real for real in files() if not syntax.is_deflated(real.head.transfer_syntax_uid)]
    for real in chance.sample(candidates, 50):
        allowed = boundaries(real)
        for length in (chance.randrange(1, len(real.data)) for _ in range(20)):
            try:
                walk(real.data[:length], real.head.transfer_syntax_uid, HEADER_TAGS)
            except BadDataset:
                continue

            assert length in allowed, f"{real.name} cut at {length}"
