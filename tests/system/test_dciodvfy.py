"""What comes out has no faults that did not go in, as David Clunie's dciodvfy sees it."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE, build_role, evt

from tests.system import dcmtk, material, pynetdicom_scu
from tests.system.live import LiveNode
from tests.system.material import Sample
from tests.system.pynetdicom_scu import Received

_MOST_BYTES = 2 << 20
_CONTEXTS = 60
_SECONDS = 60

pytestmark = [
    pytest.mark.skipif(not material.real(), reason="the folder of real files, shared/dicom, is not beside the project"),
    pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy missing; run: apt-get install dicom3tools"),
]


@dataclass(frozen=True)
class Filled:
    """A node, what went into it, and DCMTK's receiver beside it."""

    node: LiveNode
    samples: dict[str, Sample]
    """By SOP Instance UID."""
    receiver_folder: Path


def sample() -> list[Sample]:
    """A real file of moderate size for each SOP class and transfer syntax."""
    one_of_each: dict[tuple[str, str], Sample] = {}
    for found in material.real():
        if found.path.stat().st_size <= _MOST_BYTES:
            one_of_each.setdefault((found.sop_class_uid, found.transfer_syntax_uid), found)
    return list(one_of_each.values())[:_CONTEXTS]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    folder = tmp_path_factory.mktemp("dciodvfy")
    samples = sample()
    pairs = [(one.sop_class_uid, one.transfer_syntax_uid) for one in samples]
    with dcmtk.receiver(folder / "received") as port:
        tables = f'[peers.RECEIVER]\nhost = "127.0.0.1"\nport = {port}\n'
        with LiveNode(folder / "node", tables) as node:
            with pynetdicom_scu.associated(node.port, pairs, Received()) as association:
                stored = [one for one in samples if pynetdicom_scu.store(association, one) == 0]
            yield Filled(node, {one.sop_instance_uid: one for one in stored}, folder / "received")


def errors(path: Path) -> Counter[str]:
    """The errors that dciodvfy prints of a file."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, timeout=_SECONDS)
    lines = (done.stderr + done.stdout).decode("latin-1").splitlines()
    return Counter(line for line in lines if line.startswith("Error"))


def new_errors(filled: Filled, folder: Path) -> dict[str, Counter[str]]:
    """By SOP Instance UID, for each file of the folder that came of a sample."""
    found: dict[str, Counter[str]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        uid = str(dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
        found[uid] = errors(path) - errors(filled.samples[uid].path)
    return found


def worse(found: dict[str, Counter[str]]) -> dict[str, Counter[str]]:
    """Those that have new errors."""
    return {uid: new for uid, new in found.items() if new}


@pytest.mark.timeout(180)
def test_study_export(filled: Filled, tmp_path: Path) -> None:
    """Every stored instance, exported: no new error."""
    for number, study in enumerate(sorted({one.study_uid for one in filled.samples.values()})):
        filled.node.run("study", "export", study, str(tmp_path / str(number)))
    found = new_errors(filled, tmp_path)

    assert {} == worse(found)
    assert filled.samples.keys() == found.keys()
    assert len(found) > 25


@pytest.mark.timeout(180)
def test_get(filled: Filled, tmp_path: Path) -> None:
    """The same over C-GET, written to files by pynetdicom."""

    def take(event: Any) -> int:
        (tmp_path / event.request.AffectedSOPInstanceUID).write_bytes(event.encoded_dataset())
        return 0

    entity = AE("GETTER")
    entity.add_requested_context(pynetdicom_scu.GET)
    pairs = {(one.sop_class_uid, one.transfer_syntax_uid) for one in filled.samples.values()}
    for sop_class, syntax in pairs:
        entity.add_requested_context(sop_class, syntax)
    roles = [build_role(sop_class, scp_role=True) for sop_class in {pair[0] for pair in pairs}]
    association = entity.associate(
        "127.0.0.1",
        filled.node.port,
        ae_title="PACSNODE",
        ext_neg=roles,  # type: ignore[arg-type]
        evt_handlers=[(evt.EVT_C_STORE, take)],
    )
    statuses = {uid: pynetdicom_scu.get_instance(association, uid) for uid in filled.samples}
    association.release()

    found = new_errors(filled, tmp_path)

    assert dict.fromkeys(filled.samples, 0) == statuses
    assert {} == worse(found)
    assert filled.samples.keys() == found.keys()


@pytest.mark.timeout(180)
def test_move(filled: Filled) -> None:
    """The same over C-MOVE, written to files by DCMTK's storescp, of the classes and syntaxes that it takes."""
    for study in sorted({one.study_uid for one in filled.samples.values()}):
        keys = dcmtk.keys(["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study}"])
        dcmtk.run("movescu", "-S", "-aem", "RECEIVER", *dcmtk.address(filled.node.port), *keys, expect=None)
    found = new_errors(filled, filled.receiver_folder)

    assert {} == worse(found)
    assert len(found) > 20
