"""Studies that a running node is told to delete, and to bring back."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.system import dcmtk, material
from tests.system.live import LiveNode


def found(node: LiveNode, study: str) -> int:
    """How many instances C-FIND tells of the study."""
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}", "-k", "NumberOfStudyRelatedInstances")
    told = dcmtk.run("findscu", "-v", "-S", *dcmtk.address(node.port), *keys)
    counts = re.findall(r"\(0020,1208\) IS \[(\d+) *\]", told)
    return max(map(int, counts), default=0)


def fetched(node: LiveNode, study: str, folder: Path) -> dict[str, bytes]:
    """What C-GET brings of the study."""
    folder.mkdir()
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
    dcmtk.run("getscu", "-S", *dcmtk.address(node.port), "-od", str(folder), *keys)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_deleted_and_undeleted_while_it_runs(tmp_path: Path) -> None:
    """C-FIND and C-GET show the study no longer, also after a kill; then all of it is there again, to the byte."""
    samples = material.series(5, tmp_path / "in", rows=64)
    with LiveNode(tmp_path / "node") as node:
        dcmtk.run("storescu", *dcmtk.address(node.port), *(str(sample.path) for sample in samples))
        (study,) = [row["study_uid"] for row in json.loads(node.run("study", "list", "--json"))]
        before, stored = fetched(node, study, tmp_path / "before"), objects(node)
        done = json.loads(node.run("study", "delete", study, "--reason", "test", "--json"))
        node.wait_for(f"event=study_deleted study={study} .*versions=5")
        assert (5, 0, {}) == (done["instances"], found(node, study), fetched(node, study, tmp_path / "gone"))
        node.kill()
        node.start()
        assert (0, {}) == (found(node, study), fetched(node, study, tmp_path / "still gone"))
        node.run("study", "hold", study, "--reason", "case 7")
        back = json.loads(node.run("study", "undelete", study, "--json"))
        node.run("study", "delete", study, "--reason", "test", expect=1)

        assert (5, 5) == (back["versions"], found(node, study))
        assert before == fetched(node, study, tmp_path / "after")
        assert len(before) == 5
        assert stored == objects(node)


def objects(node: LiveNode) -> dict[Path, bytes]:
    """The files of all objects."""
    return {path: path.read_bytes() for path in (node.folder / "data" / "objects").rglob("*") if path.is_file()}
