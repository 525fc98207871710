"""Every real file goes in and comes back bit for bit, and the index can be rebuilt from what was kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pacsnode.index.sqlite import SqliteIndex
from tests.system import material, pynetdicom_scu
from tests.system.live import LiveNode
from tests.system.pynetdicom_scu import Received

SAMPLES = material.real()
# Files that are refused, by path below the folder: the documented status, and why it is right.
_NO_UIDS = (0xC001, "no Study Instance UID and no Series Instance UID")
REFUSED = {
    "pydicom-bundled/charset_files/chrKoreanMulti.dcm": (0xC000, "an Image Pixel Module without any pixels"),
    "pydicom-bundled/test_files/MR_truncated.dcm": (0xC000, "Pixel Data ends 62 bytes before its declared length"),
    "pydicom-bundled/test_files/SC_rgb_jpeg.dcm": (0xC000, "implicit VR under an explicit VR transfer syntax"),
    "pydicom-data-git/data_store/data/emri_small_jpeg_2k_lossless_too_short.dcm": (
        0xC000,
        "encapsulated Pixel Data without the Sequence Delimitation Item",
    ),
    "pydicom-bundled/test_files/JPEGLSNearLossless_08.dcm": _NO_UIDS,
    "pydicom-bundled/test_files/JPEGLSNearLossless_16.dcm": _NO_UIDS,
    "pydicom-bundled/test_files/SC_rgb_jls_lossy_line.dcm": _NO_UIDS,
    "pydicom-bundled/test_files/SC_rgb_jls_lossy_sample.dcm": _NO_UIDS,
    "pydicom-data-git/data_store/data/HTJ2KLossless_08_RGB.dcm": _NO_UIDS,
    "pydicom-data-git/data_store/data/HTJ2K_08_RGB.dcm": _NO_UIDS,
    "pydicom-data-git/data_store/data/JLSL_08_07_0_1F.dcm": _NO_UIDS,
    "pydicom-data-git/data_store/data/JLSL_16_15_1_1F.dcm": _NO_UIDS,
}

pytestmark = pytest.mark.skipif(not SAMPLES, reason="the folder of real files, shared/dicom, is not beside the project")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with LiveNode(tmp_path_factory.mktemp("corpus")) as live:
        yield live


@pytest.mark.timeout(240)
def test_all_storable_files_come_back_bit_for_bit(node: LiveNode) -> None:
    """Stored by C-STORE, fetched by C-GET at once: the same SHA-256 of the data set, for every file."""
    received = Received()
    pairs = [(sample.sop_class_uid, sample.transfer_syntax_uid) for sample in SAMPLES]
    sent: list[str] = []
    refused: dict[str, int] = {}
    with pynetdicom_scu.associated(node.port, pairs, received) as association:
        for sample in SAMPLES:
            if status := pynetdicom_scu.store(association, sample):
                refused[str(sample.path.relative_to(material.SHARED))] = status
                continue
            sent.append(material.digest(sample.path))
            assert 0 == pynetdicom_scu.get_instance(association, sample.sop_instance_uid), sample.path
    for path, status in refused.items():
        print(f"{status:04X} {path}: {REFUSED.get(path, (0, 'not documented'))[1]}")

    assert {path: status for path, (status, _) in REFUSED.items()} == refused
    assert sent == received.digests
    assert 504 == len(sent) + len(refused)


@pytest.mark.timeout(240)
def test_reindex_gives_an_equal_index(node: LiveNode) -> None:
    """The index deleted and rebuilt from the files alone is the same, row by row."""
    node.stop()
    path = node.folder / "data" / "index.db"
    before = _dump(path)
    path.unlink()
    node.run("reindex")
    after = _dump(path)
    node.start()

    assert len(before) > 700
    assert before == after


def _dump(path: Path) -> list[tuple[object, ...]]:
    index = SqliteIndex(path, read_only=True)
    try:
        return list(index.dump())
    finally:
        index.close()
