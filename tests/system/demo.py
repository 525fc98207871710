"""``make demo``: real studies go in with storescu, are asked for with findscu, and come back with getscu and movescu.

The SHA-256 of every data set is compared with what was sent. Exit code 0 only if everything held.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.system import dcmtk, deletion_step, demo_backup, integrity_step, material
from tests.system.live import LiveNode
from tests.system.material import Sample

_SYNTHETIC_SERIES = 3
_SYNTHETIC_IMAGES = 40


@dataclass
class Report:
    """The rows of the table, and whether all of them held."""

    rows: list[tuple[str, str, bool]] = field(default_factory=list)

    def add(self, step: str, result: str, held: bool) -> None:
        """One step, what came out, and whether that is what was promised."""
        self.rows.append((step, result, held))

    @property
    def held(self) -> bool:
        """Did every step hold?"""
        return all(held for _, _, held in self.rows)

    def print(self) -> None:
        """The one table."""
        table = Table(title="pacsnode demo")
        table.add_column("step")
        table.add_column("result")
        table.add_column("held")
        for step, result, held in self.rows:
            table.add_row(step, result, "[green]yes[/green]" if held else "[red]NO[/red]")
        Console().print(table)


def main() -> int:
    """Run the demo: the exit code."""
    if missing := dcmtk.missing():
        sys.exit(f"demo: DCMTK's {', '.join(missing)} missing; run: apt-get install dcmtk")
    report = Report()
    with tempfile.TemporaryDirectory(prefix="pacsnode-demo-") as scratch:
        _run(Path(scratch), report)
    report.print()
    return 0 if report.held else 1


def _run(scratch: Path, report: Report) -> None:
    samples = whole_series(scratch)
    sent = _as_sent(scratch / "sent", samples)
    studies = sorted({sample.study_uid for sample in samples})
    with dcmtk.receiver(scratch / "moved") as port, LiveNode(scratch / "copy") as copy:
        tables = f'[peers.RECEIVER]\nhost = "127.0.0.1"\nport = {port}\n{integrity_step.tables(copy)}'
        tables += f'[jobs.compression]\nolder_than = "0 s"\n{demo_backup.tables(scratch)}'
        with LiveNode(scratch / "node", tables) as node:
            _store(node, samples, report)
            _find(node, samples, studies, report)
            _get(node, scratch / "got", studies, sent, report)
            _move(node, scratch / "moved", studies, sent, report)
            node.run("verify", "--all")
            report.add("verify", "every object re-read while the node runs", True)
            dcmtk.run("storescu", *dcmtk.address(copy.port), *(str(sample.path) for sample in samples))
            deletion_step.delete_and_undelete(node, studies[0], report.add)
            integrity_step.heal(node, "peer COPY", report.add)
            _jobs(node, report)
            _get(node, scratch / "decoded", studies, sent, report)
            for job in ("backup", "backup_verify", "compression"):  # now the originals may go
                node.run("job", "run", job)
            integrity_step.heal(node, "backup", report.add)
            node.run("job", "run", "backup")
        node.run("reindex")
        node.run("verify", "--all")
        report.add("reindex", "index rebuilt from the files alone, verified again", True)
        demo_backup.restored(node, studies, report)


def _as_sent(folder: Path, samples: list[Sample]) -> Counter[str]:
    """Digests of what storescu puts on the wire, which writes some elements anew: DCMTK's own receiver has kept it."""
    with dcmtk.receiver(folder) as port:
        dcmtk.run("storescu", "127.0.0.1", str(port), *(str(sample.path) for sample in samples))
    return Counter(material.digest(path) for path in folder.iterdir())


def whole_series(scratch: Path) -> list[Sample]:
    """The real series whose instances all have their own UID and one syntax, else synthetic ones."""
    found = material.real()
    count = Counter(sample.sop_instance_uid for sample in found)
    folders = ("dcm_qa_deident", "dcm_qa_agfa", "dicom-numpy")
    chosen = [
        sample
        for sample in found
        if count[sample.sop_instance_uid] == 1
        and sample.transfer_syntax_uid == "1.2.840.10008.1.2.1"
        and any(folder in sample.path.parts for folder in folders)
    ]
    if chosen:
        return chosen
    synthetic: list[Sample] = []
    for number in range(1, _SYNTHETIC_SERIES + 1):
        synthetic += material.series(_SYNTHETIC_IMAGES, scratch / "synthetic", number=number, rows=256)
    return synthetic


def _store(node: LiveNode, samples: list[Sample], report: Report) -> None:
    files = [str(sample.path) for sample in samples]
    dcmtk.run("storescu", *dcmtk.address(node.port), *files)
    kept = node.log.count("event=stored")
    report.add("storescu", f"{kept} of {len(files)} instances stored", kept == len(files))


def _find(node: LiveNode, samples: list[Sample], studies: list[str], report: Report) -> None:
    wanted = ["QueryRetrieveLevel=STUDY", "StudyInstanceUID", "PatientName", "NumberOfStudyRelatedInstances"]
    answer = dcmtk.run("findscu", "-S", *dcmtk.address(node.port), *dcmtk.keys(wanted))
    found = [study for study in studies if f"[{study}" in answer]
    report.add("findscu", f"{len(found)} of {len(studies)} studies found", found == studies)


def _get(node: LiveNode, folder: Path, studies: list[str], sent: Counter[str], report: Report) -> None:
    folder.mkdir()
    for study in studies:
        query = dcmtk.keys(["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study}"])
        dcmtk.run("getscu", "-S", "+B", "-od", str(folder), *dcmtk.address(node.port), *query)
    _compare("getscu", folder, sent, report)


def _move(node: LiveNode, folder: Path, studies: list[str], sent: Counter[str], report: Report) -> None:
    for study in studies:
        query = dcmtk.keys(["QueryRetrieveLevel=STUDY", f"StudyInstanceUID={study}"])
        dcmtk.run("movescu", "-S", "-aem", "RECEIVER", *dcmtk.address(node.port), *query)
    _compare("movescu", folder, sent, report)


def _jobs(node: LiveNode, report: Report) -> None:
    """Each job once, by the running node."""
    for job in json.loads(node.run("job", "list", "--json")):
        told = json.loads(node.run("job", "run", job["job"], "--json"))
        counts = ", ".join(f"{told[what]} {what}" for what in ("done", "skipped", "failed"))
        has_work = job["job"] != "retention"  # of which this node has no rules; its trash is empty
        is_well = told["finished"] and bool(told["done"]) == has_work and not told["failed"]
        report.add(f"job {job['job']}", counts, is_well)


def _compare(step: str, folder: Path, sent: Counter[str], report: Report) -> None:
    came = Counter(material.digest(path) for path in folder.iterdir())
    identical, total = (came & sent).total(), sent.total()
    result = f"{identical} of {total} data sets identical (SHA-256), {came.total() - identical} others"
    report.add(step, result, came == sent)


if __name__ == "__main__":
    sys.exit(main())
