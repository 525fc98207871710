"""The demo of the backup: the data folder is deleted, restored, and asked."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tests.system import dcmtk
from tests.system.live import LiveNode

if TYPE_CHECKING:
    from tests.system.demo import Report


def tables(scratch: Path) -> str:
    """What the node's configuration has to say."""
    target = scratch / "backup"
    target.mkdir()
    return f'[jobs.backup]\ntarget = "file://{target}"\n'


def restored(node: LiveNode, studies: list[str], report: Report) -> None:
    """With the node stopped: its data folder is deleted, restored and served again."""
    data = node.folder / "data"
    before = _digests(data)
    shutil.rmtree(data)
    told = json.loads(node.run("backup", "restore", "--to", str(data), "--json"))
    same = _digests(data) == before
    report.add("restore", f"data folder deleted; {told['objects']} objects back in {told['seconds']:.1f} s", same)
    with node:
        wanted = ["QueryRetrieveLevel=STUDY", "StudyInstanceUID"]
        answer = dcmtk.run("findscu", "-S", *dcmtk.address(node.port), *dcmtk.keys(wanted))
        found = [study for study in studies if f"[{study}" in answer]
        node.run("verify", "--all")
    report.add("findscu again", f"{len(found)} of {len(studies)} studies found in the restored node", found == studies)


def _digests(data: Path) -> dict[str, str]:
    objects = sorted(path for path in (data / "objects").rglob("*") if path.is_file())
    return {path.relative_to(data).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in objects}
