"""``pacsnode import``: files, folders and zips, under the same checks as a C-STORE."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from pacsnode import app
from pacsnode.archive import Archive
from pacsnode.audit import opening as audit
from pacsnode.audit.events import Result
from pacsnode.audit.messages import Outcome as Failed
from pacsnode.audit.recorder import Intake
from pacsnode.cli import console, media
from pacsnode.cli.command import Command, json_option, load_config
from pacsnode.cli.media import Candidate, Skipped
from pacsnode.config import Config
from pacsnode.dicom import header, part10
from pacsnode.dicom.walk import DataSetWalker
from pacsnode.errors import BadDataset, MalformedUid, NodeRunning, NotAllowed, RejectedByUs, UidMismatch
from pacsnode.model import Arrival, Outcome, Uid

_CALLING_AE = "IMPORT"
_REFUSED = Result(Failed.MINOR_FAILURE, "files that cannot be stored")
_DICOMDIR = Uid("1.2.840.10008.1.3.10")
_READ_BYTES = 1024 * 1024
_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018
_STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID = 0x0020000D, 0x0020000E
_IDENTITY = frozenset({_SOP_CLASS_UID, _SOP_INSTANCE_UID, _STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID})


@dataclass(slots=True)
class _Report:
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    not_imported: list[Skipped] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


@click.command("import", cls=Command)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@json_option
def command(paths: tuple[Path, ...], as_json: bool) -> int:
    """Store files, folders and zips.

    Part 10 files pass the same checks as a C-STORE; of a DICOMDIR the files around it are what counts. Symbolic links
    are not followed. The node must not run: send to a running one by C-STORE instead.
    """
    report = _Report()
    config = load_config()
    try:
        with (
            app.open_archive(config, read_only=False) as archive,
            audit.commanded(config, app.system_clock) as recorder,
            console.progress("import") as advance,
        ):
            intake = recorder.media([str(path.absolute()) for path in paths])
            try:
                importer = _Importer(archive, config, intake)
                for found in media.candidates(paths):
                    importer.take(found, report)
                    advance()
            finally:
                intake.end()
    except NodeRunning as error:
        raise NodeRunning(f"{error}, or send to the running node by C-STORE instead") from error
    _print(report, as_json=as_json)
    return console.Exit.FINDINGS if report.not_imported else console.Exit.OK


class _Importer:
    """Takes candidates into the archive."""

    def __init__(self, archive: Archive, config: Config, intake: Intake) -> None:
        self._archive = archive
        self._intake = intake
        self._called_ae = config.node.ae_title
        self._max_bytes = config.limits.dataset
        self._classes = app.storage_classes(config)

    def take(self, found: Candidate | Skipped, report: _Report) -> None:
        """Store one, and write down what became of it. Raises StoreError and IndexFailure: then nothing else helps."""
        if isinstance(found, Skipped):
            report.not_imported.append(found)
            return
        try:
            outcome, note = self._store(found)
        except RejectedByUs as error:
            self._intake.refuse("", _REFUSED)
            report.not_imported.append(Skipped(found.name, str(error)))
            return
        if outcome is not None:
            report.outcomes[outcome] += 1
        if note:
            report.notes.append((found.name, note))

    def _store(self, candidate: Candidate) -> tuple[Outcome | None, str]:
        with candidate.open() as source:
            head = part10.read_foreign_head(source)
        if head.sop_class_uid == _DICOMDIR:
            return None, ""
        if head.sop_instance_uid and head.sop_class_uid in self._classes:
            try:
                return self._receive(candidate, head), ""
            except (UidMismatch, MalformedUid):
                pass  # the file meta is not the truth: what counts is the data set
        inner = self._identified(candidate, head)
        note = "" if inner == head else "the file meta names other UIDs than the data set; the data set's were taken"
        return self._receive(candidate, inner), note

    def _receive(self, candidate: Candidate, head: part10.FileHead) -> Outcome:
        if head.sop_class_uid not in self._classes:
            raise NotAllowed(f"SOP class {head.sop_class_uid} is not stored here; see [storage] private_sop_classes")
        arrival = Arrival(
            sop_class_uid=head.sop_class_uid,
            sop_instance_uid=head.sop_instance_uid,
            transfer_syntax_uid=head.transfer_syntax_uid,
            calling_ae=_CALLING_AE,
            called_ae=self._called_ae,
            received_at=self._archive.clock(),
        )
        with self._archive.receive(arrival) as ingest:
            for chunk in self._chunks(candidate, head):
                ingest.write(chunk)
            outcome = ingest.commit()
            if ingest.header is not None:
                self._intake.add(ingest.header, outcome)
            return outcome

    def _identified(self, candidate: Candidate, head: part10.FileHead) -> part10.FileHead:
        """The head with the UIDs of the data set, which is read to its end for them."""
        walker = DataSetWalker(head.transfer_syntax_uid, _IDENTITY)
        for chunk in self._chunks(candidate, head):
            walker.feed(chunk)
        found = header.read_header(walker.finish())
        return dataclasses.replace(head, sop_class_uid=found.sop_class_uid, sop_instance_uid=found.sop_instance_uid)

    def _chunks(self, candidate: Candidate, head: part10.FileHead) -> Iterator[bytes]:
        """The bytes of the data set. Raises BadDataset beyond the limit: a zip may hold far more than it weighs."""
        size = 0
        with candidate.open() as source:
            source.seek(head.offset)
            while chunk := source.read(_READ_BYTES):
                size += len(chunk)
                if size > self._max_bytes:
                    raise BadDataset(f"larger than {self._max_bytes} bytes; see [limits] dataset")
                yield chunk


def _print(report: _Report, *, as_json: bool) -> None:
    told = (outcome for outcome in Outcome if outcome is not Outcome.UNDECIDED)  # which is the index's alone
    counts = {outcome.value: report.outcomes[outcome] for outcome in told} | {"refused": len(report.not_imported)}
    if as_json:
        refused = [{"path": skipped.name, "reason": skipped.reason} for skipped in report.not_imported]
        notes = [{"path": path, "note": note} for path, note in report.notes]
        console.print_json({**counts, "not_imported": refused, "notes": notes})
        return
    for path, note in report.notes:
        console.print_line(f"{path}: note: {note}")
    for skipped in report.not_imported:
        console.print_line(f"{skipped.name}: {skipped.reason}")
    console.print_line(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items()))
