"""The demo of the backup: copied, read again, drilled; then the data folder is deleted, restored, and asked."""

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


def copied(node: LiveNode, report: Report) -> None:
    """Each job of the backup once, by the running node."""
    run = json.loads(node.run("job", "run", "backup", "--json"))
    read = json.loads(node.run("job", "run", "backup_verify", "--json"))
    drilled = json.loads(node.run("job", "run", "backup_drill", "--json"))
    report.add("backup", f"{run['done']} objects copied, {run['failed']} damaged", run["done"] > 0 == run["failed"])
    report.add("backup verify", f"{read['done']} files read again, {read['failed']} findings", read["failed"] == 0)
    details = drilled["details"]
    drill = f"{drilled['done']} objects and {details['queries']} queries as they were; RTO {details['rto_seconds']} s"
    report.add("backup drill", drill, drilled["failed"] == 0 < drilled["done"])


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
