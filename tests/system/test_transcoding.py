"""Compressed images for DCMTK and pynetdicom, which take native syntaxes alone here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from pacsnode.codec.codecs import Codec
from pacsnode.codec.sandbox import Sandbox
from pacsnode.dicom import part10
from pacsnode.dicom.recode import to_default_syntax
from pacsnode.dicom.syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
)
from pacsnode.model import Uid
from tests.codec import material
from tests.codec.material import SECONDARY_CAPTURE, STUDY, compressed, data_set, uid_of
from tests.dimse.conftest import eventually
from tests.system import dcmtk, pynetdicom_scu
from tests.system.live import LiveNode

pytestmark = pytest.mark.skipif(bool(dcmtk.missing()), reason="DCMTK is not installed")

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
SHAPES = (material.GREY, material.CINE, material.RGB, material.SIGNED)
KEYS = ["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={STUDY}"]


def part_10(path: Path, number: int, syntax: str, data: bytes) -> None:
    """Write a file with this data set."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(SECONDARY_CAPTURE), UID(uid_of(number))
    meta.TransferSyntaxUID, meta.ImplementationClassUID = UID(syntax), UID("2.25.7104")
    with path.open("wb") as file:
        file.write(bytes(128) + b"DICM")
        write_file_meta_info(file, meta)  # type: ignore[arg-type]  # any file will do
        file.write(data)


def fill(folder: Path) -> dict[str, bytes]:
    """Files by every codec, one deflated, one big endian, one that nobody can decode: the native data sets by UID."""
    originals: dict[str, bytes] = {}
    folder.mkdir()
    with Sandbox() as sandbox:
        for number, (shape, codec) in enumerate(zip(SHAPES, Codec, strict=True), start=1):
            originals[uid_of(number)] = data = data_set(shape, number=number)
            made = compressed(data, EXPLICIT_VR_LITTLE_ENDIAN, codec, sandbox, folder)
            part_10(folder / str(number), number, codec.transfer_syntax_uid, made)
        for number, syntax in ((5, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN), (6, EXPLICIT_VR_BIG_ENDIAN)):
            originals[uid_of(number)] = data_set(material.GREY, number=number)
            part_10(folder / str(number), number, syntax, data_set(material.GREY, syntax, number=number))
        part_10(folder / "7", 7, "1.2.840.10008.1.2.4.100", made.replace(uid_of(4).encode(), uid_of(7).encode()))
    return originals


def plain(data: bytes, syntax: str) -> bytes:
    """In Implicit VR Little Endian without lengths of sequences."""
    return b"".join(to_default_syntax([data], Uid(syntax), max_bytes=1 << 30))


def received(folder: Path) -> dict[str, bytes]:
    """What came, by UID, written as it came."""
    found = {}
    for path in folder.iterdir():
        with path.open("rb") as file:
            head = part10.read_foreign_head(file)
            file.seek(head.offset)
            found[head.sop_instance_uid] = plain(file.read(), head.transfer_syntax_uid)
    return {str(uid): data for uid, data in found.items()}


@dataclass(frozen=True)
class Filled:
    """A node with the files, and what is expected of them in Implicit VR Little Endian."""

    node: LiveNode
    expected: dict[str, bytes]
    folders: dict[str, Path]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """With two receivers of DCMTK: one that takes explicit VR, one that takes implicit VR alone."""
    folder = tmp_path_factory.mktemp("transcoding")
    originals = fill(folder / "files")
    folders = {name: folder / name for name in ("EXPLICIT", "IMPLICIT")}
    with (
        dcmtk.receiver(folders["EXPLICIT"], ae_title="EXPLICIT", takes="+xe") as explicit,
        dcmtk.receiver(folders["IMPLICIT"], ae_title="IMPLICIT", takes="+xi") as implicit,
    ):
        tables = "".join(
            f'[peers.{name}]\nhost = "127.0.0.1"\nport = {port}\n'
            for name, port in (("EXPLICIT", explicit), ("IMPLICIT", implicit))
        )
        with LiveNode(folder / "node", tables) as node:
            node.stop()
            node.run("import", str(folder / "files"))
            node.start()
            expected = {uid: plain(data, EXPLICIT) for uid, data in originals.items()}
            yield Filled(node, expected, folders)


@pytest.mark.parametrize("name", ["EXPLICIT", "IMPLICIT"])
def test_move_to_storescp(filled: Filled, name: str) -> None:
    """All arrive as they were but the one that nobody can decode, which is counted as failed."""
    answer = dcmtk.run(
        "movescu", "-v", "-S", "-aem", name, *dcmtk.address(filled.node.port), *dcmtk.keys(KEYS), expect=None
    )

    assert filled.expected == received(filled.folders[name])
    assert "OneOrMoreFailures" in answer


def test_getscu(filled: Filled, tmp_path: Path) -> None:
    """The same by C-GET to DCMTK, which offers native syntaxes."""
    arguments = (*dcmtk.address(filled.node.port), *dcmtk.keys(KEYS))
    dcmtk.run("getscu", "-S", "+B", "-od", str(tmp_path), *arguments, expect=None)

    assert filled.expected == received(tmp_path)


def test_pynetdicom(filled: Filled) -> None:
    """And to pynetdicom, which offers Implicit VR Little Endian alone."""
    got = pynetdicom_scu.Received()
    with pynetdicom_scu.associated(filled.node.port, [(SECONDARY_CAPTURE, IMPLICIT)], got) as association:
        statuses = [pynetdicom_scu.get_instance(association, uid) for uid in filled.expected]

    assert {0x0000} == set(statuses)
    assert sorted(sha256(data).hexdigest() for data in filled.expected.values()) == sorted(got.digests)


def test_codec_processes_end_with_the_node(filled: Filled, tmp_path: Path) -> None:
    """None is left when the node has stopped, and none when it was killed."""
    for end in (filled.node.stop, filled.node.kill):
        if end == filled.node.kill:
            filled.node.start()
        arguments = (*dcmtk.address(filled.node.port), *dcmtk.keys(KEYS))
        dcmtk.run("getscu", "-S", "+B", "-od", str(tmp_path), *arguments, expect=None)
        workers = children(filled.node.pid)
        assert workers
        end()

        assert eventually(lambda: not any(map(is_running, workers)))  # noqa: B023 - called at once
    filled.node.start()


def children(pid: int) -> list[int]:
    """Processes that this one has started, by any of its threads."""
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def is_running(pid: int) -> bool:
    """Is there a process of this number that has not ended?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
