"""DCMTK's clients against the real node: echo, store, find, get, move."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian

from tests.system import dcmtk, material
from tests.system.conftest import IMAGES, STUDIES, Ward
from tests.system.live import LiveNode

ROOT = "2.25.3151"


def find(ward: Ward, model: str, *keys: str) -> list[str]:
    """The matches of a findscu query, each as printed."""
    answer = dcmtk.run("findscu", "-v", model, *dcmtk.address(ward.node.port), *dcmtk.keys(keys))
    return answer.split("Find Response: ")[1:]


def test_echo(ward: Ward) -> None:
    """C-ECHO answers Success."""
    answer = dcmtk.run("echoscu", "-v", *dcmtk.address(ward.node.port))

    assert "Received Echo Response (Success)" in answer


def test_stored_instances_are_logged_without_patient_data(ward: Ward) -> None:
    """One line for each instance, with UID, peer, bytes and outcome, and no name."""
    stored = [line for line in ward.node.log.splitlines() if "event=stored" in line]

    assert STUDIES * IMAGES == len(stored)
    assert all(re.search(r"uid=2\.25\.\S+ peer=DCMTK bytes=\d+ ms=\S+ outcome=stored", line) for line in stored)
    assert "Test" not in ward.node.log.replace("TEST", "")


@pytest.mark.parametrize("model", ["-P", "-S", "-O"])
def test_find_studies_in_every_model(ward: Ward, model: str) -> None:
    """Patient Root, Study Root and Patient/Study Only answer at STUDY level, with the counts of the study."""
    keys = ["QueryRetrieveLevel=STUDY", "PatientID=TEST2", "StudyInstanceUID", "NumberOfStudyRelatedInstances"]
    matches = find(ward, model, *keys, "ModalitiesInStudy", "PatientName")

    assert 1 == len(matches)
    assert f"[{ROOT}.2.1" in matches[0]
    assert f"[{IMAGES}" in matches[0]
    assert "[MR" in matches[0]
    assert "[Test^Patient2" in matches[0]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("StudyDate=20240202-20240303", 2),
        ("StudyDate=-20240202", 1),
        ("StudyDate=20240404-", 1),
        ("StudyTime=1000-1100", 3),
        ("StudyTime=110000-", 0),
        ("PatientName=test^pat*", 3),
        ("PatientName=Test^Patient?", 3),
        ("PatientName=Test^Patient1", 1),
        ("PatientID=test1", 0),
        ("AccessionNumber=ACC[12]", 0),
        ("AccessionNumber=ACC*", 3),
        (f"StudyInstanceUID={ROOT}.1.1\\{ROOT}.3.1\\9.9", 2),
        ("ModalitiesInStudy=MR", 3),
        ("ModalitiesInStudy=CT", 0),
        ("StudyDescription=", 3),
        ("StudyDescription=*", 3),
    ],
)
def test_find_matches(ward: Ward, key: str, expected: int) -> None:
    """Single value, list of UID, wildcard, range and universal matching (PS3.4 C.2.2.2)."""
    matches = find(ward, "-S", "QueryRetrieveLevel=STUDY", key)

    assert expected == len(matches)


def test_find_series_and_images(ward: Ward) -> None:
    """SERIES and IMAGE level answer below the keys above them."""
    series = find(ward, "-S", "QueryRetrieveLevel=SERIES", f"StudyInstanceUID={ROOT}.1.1", "SeriesInstanceUID",
                  "Modality", "NumberOfSeriesRelatedInstances")  # fmt: skip
    images = find(ward, "-S", "QueryRetrieveLevel=IMAGE", f"StudyInstanceUID={ROOT}.1.1",
                  f"SeriesInstanceUID={ROOT}.1.2", "SOPInstanceUID", "InstanceNumber=3")  # fmt: skip

    assert 1 == len(series)
    assert f"[{ROOT}.1.2" in series[0]
    assert f"[{IMAGES}" in series[0]
    assert 1 == len(images)
    assert f"[{ROOT}.1.3.2" in images[0]


def test_find_patients(ward: Ward) -> None:
    """PATIENT level in the Patient Root model."""
    matches = find(ward, "-P", "QueryRetrieveLevel=PATIENT", "PatientID", "PatientName=Test*")

    assert STUDIES == len(matches)


def test_an_invalid_identifier_fails(ward: Ward) -> None:
    """No level, or one that the model does not have: A900."""
    answer = dcmtk.run("findscu", "-v", "-S", *dcmtk.address(ward.node.port), "-k", "PatientID", expect=None)
    level = dcmtk.run(
        "findscu", "-v", "-O", *dcmtk.address(ward.node.port), "-k", "QueryRetrieveLevel=IMAGE", expect=None
    )

    assert "DataSetDoesNotMatchSOPClass" in answer
    assert "DataSetDoesNotMatchSOPClass" in level


@pytest.mark.parametrize("level", ["STUDY", "SERIES", "IMAGE"])
def test_get_returns_the_bytes(ward: Ward, tmp_path: Path, level: str) -> None:
    """C-GET at each level brings back every data set, bit for bit."""
    keys = [f"QueryRetrieveLevel={level}", f"StudyInstanceUID={ROOT}.1.1"]
    if level != "STUDY":
        keys.append(f"SeriesInstanceUID={ROOT}.1.2")
    if level == "IMAGE":
        keys.append("SOPInstanceUID=" + "\\".join(f"{ROOT}.1.3.{index}" for index in range(IMAGES)))
    dcmtk.run("getscu", "-S", "+B", "-od", str(tmp_path), *dcmtk.address(ward.node.port), *dcmtk.keys(keys))

    first_study = [sample for sample in ward.samples if sample.study_uid == f"{ROOT}.1.1"]
    assert sorted(material.digest(sample.path) for sample in first_study) == sorted(
        material.digest(path) for path in tmp_path.iterdir()
    )


def test_move_sends_the_bytes_to_a_configured_peer(ward: Ward) -> None:
    """C-MOVE of a list of studies: everything arrives at the destination, bit for bit."""
    uids = "\\".join(f"{ROOT}.{number}.1" for number in range(1, STUDIES + 1))
    answer = dcmtk.run(
        "movescu", "-v", "-S", "-aem", "RECEIVER", *dcmtk.address(ward.node.port),
        *dcmtk.keys(["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={uids}"]),
    )  # fmt: skip

    assert "Received Final Move Response (Success)" in answer
    assert ward.digests == sorted(material.digest(path) for path in ward.receiver_folder.iterdir())


@pytest.mark.parametrize(
    ("destination", "words"), [("NOBODY", "MoveDestinationUnknown"), ("DEAD", "OutOfResourcesSubOperations")]
)
def test_move_to_nobody_fails(ward: Ward, destination: str, words: str) -> None:
    """A801 for a destination that is not configured, A702 for one that cannot be reached."""
    answer = dcmtk.run(
        "movescu", "-v", "-S", "-aem", destination, *dcmtk.address(ward.node.port),
        *dcmtk.keys(["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={ROOT}.1.1"]), expect=None,
    )  # fmt: skip

    assert words in answer.replace(" ", "").replace("-", "")


def test_a_peer_without_the_right_is_refused(ward: Ward, tmp_path: Path) -> None:
    """READER may echo and find, but not store."""
    address = dcmtk.address(ward.node.port, calling="READER")
    dcmtk.run("echoscu", *address)
    answer = dcmtk.run("storescu", "-v", *address, str(ward.samples[0].path), expect=None)

    assert "0x124" in answer


def test_an_unknown_called_title_is_rejected(ward: Ward) -> None:
    """An association has to name this node (PS3.8: 1, 1, 7)."""
    answer = dcmtk.run("echoscu", *dcmtk.address(ward.node.port, called="SOMEBODY"), expect=None)

    assert "Called AE Title Not Recognized" in answer


def test_status_of_the_running_node(ward: Ward) -> None:
    """``pacsnode status`` counts what is stored beside the running node."""
    status = json.loads(ward.node.run("status", "--json"))

    assert (STUDIES * IMAGES, STUDIES, []) == (status["instances"], status["studies"], status["degraded"])
    assert status["running"]
    assert status["stored_bytes"] > 0


def test_a_peer_can_be_tested(ward: Ward) -> None:
    """``pacsnode peer test`` associates, echoes and tells what the peer accepts; an unreachable one is one line."""
    answer = json.loads(ward.node.run("peer", "test", "RECEIVER", "--json"))

    assert 3 == len(answer["echo_ms"])
    assert "1.2.840.10008.5.1.4.1.1.4" in answer["accepted"]
    ward.node.run("peer", "test", "DEAD", expect=1)
    ward.node.run("peer", "test", "NOBODY", expect=2)


def test_move_in_the_default_syntax_alone(tmp_path: Path) -> None:
    """A storescp that takes nothing but Implicit VR Little Endian gets every image, stored as Explicit, in it."""
    samples = material.series(IMAGES, tmp_path / "samples")
    with dcmtk.receiver(tmp_path / "received", takes="+xi") as port:
        tables = f'[peers.RECEIVER]\nhost = "127.0.0.1"\nport = {port}\n'
        with LiveNode(tmp_path / "node", tables) as node:
            dcmtk.run("storescu", *dcmtk.address(node.port), *(str(sample.path) for sample in samples))
            keys = dcmtk.keys(["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={samples[0].study_uid}"])
            dcmtk.run("movescu", "-S", "-aem", "RECEIVER", *dcmtk.address(node.port), *keys)
    found = {data_set.SOPInstanceUID: data_set for data_set in map(dcmread, (tmp_path / "received").iterdir())}
    sent = {sample.sop_instance_uid: dcmread(sample.path) for sample in samples}

    assert {ImplicitVRLittleEndian} == {data_set.file_meta.TransferSyntaxUID for data_set in found.values()}
    assert sent == found
    assert IMAGES == len(found)
