"""``pacsnode study``: list, show, export; the verbs that change something are in ``deletion``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import click

from pacsnode import app
from pacsnode.archive import Archive
from pacsnode.audit import opening as audit
from pacsnode.audit.events import SUCCESS, Result, parts_of
from pacsnode.audit.messages import Outcome
from pacsnode.cli import console, deletion, export
from pacsnode.cli.command import Group, json_option, load_config
from pacsnode.config import Config, size_text
from pacsnode.model import Instance, Level, OneOf, Query, Uid

_Json = dict[str, object]
_NOT_WRITTEN = Result(Outcome.MINOR_FAILURE, "objects that are damaged or missing")


@click.group("study", cls=Group)
def command() -> None:
    """List, show, export and delete studies."""


for _verb in deletion.COMMANDS:
    command.add_command(_verb)


@command.command("list")
@json_option
def list_studies(as_json: bool) -> int:
    """List all studies, by date."""
    rows = _studies(load_config())
    if as_json:
        console.print_json(rows)
        return console.Exit.OK
    headings = ("STUDY", "PATIENT ID", "DATE", "MODALITIES", "SERIES", "INSTANCES", "BYTES")
    console.print_table(headings, [[" ".join(v) if isinstance(v, list) else v for v in row.values()] for row in rows])
    return console.Exit.OK


@command.command()
@click.argument("uid", metavar="UID")
@json_option
def show(uid: str, as_json: bool) -> int:
    """Show the series and instances of a study, with their versions."""
    config = load_config()
    with app.open_archive(config, read_only=True) as archive:
        instances = instances_of(archive, uid)
        versions = {instance.header.sop_instance_uid: _versions(archive, instance) for instance in instances}
    hold = deletion.hold_on(config, uid)
    if as_json:
        console.print_json({**_study(instances, versions), "hold": deletion.hold_json(hold)})
        return console.Exit.OK
    if hold is not None:
        console.print_line(f"under a hold of {hold.who} since {hold.at:%Y-%m-%d}: {hold.reason}")
    headings = ("SERIES", "MODALITY", "NUMBER", "INSTANCE", "NUMBER", "BYTES", "VERSIONS")
    console.print_table(headings, [(*_line(one), len(versions[one.header.sop_instance_uid])) for one in instances])
    return console.Exit.OK


@command.command("export")
@click.argument("uid", metavar="UID")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@json_option
def export_study(uid: str, folder: Path, as_json: bool) -> int:
    """Write the objects of a study as Part 10 files.

    DIR must be empty, or not there yet. Every digest is checked on the way; what fails is listed and not written.
    """
    config = load_config()
    with (
        app.open_archive(config, read_only=True) as archive,
        audit.commanded(config, app.system_clock) as recorder,
    ):
        instances = instances_of(archive, uid)
        if folder.exists() and any(folder.iterdir()):
            raise click.ClickException(f"{folder} is not empty; choose an empty folder, or one that is not there yet")
        with console.progress("export", len(instances)) as advance:
            done = export.write(archive, instances, folder, advance)
        failed = frozenset(finding.uid for finding in done.findings)
        written = [one for one in instances if one.header.sop_instance_uid not in failed]
        missing = [one for one in instances if one.header.sop_instance_uid in failed]
        recorder.exported(str(folder.absolute()), parts_of(written), SUCCESS)
        recorder.exported(str(folder.absolute()), parts_of(missing), _NOT_WRITTEN)
    findings = [{"uid": finding.uid, "key": finding.key, "problem": finding.problem} for finding in done.findings]
    if as_json:
        console.print_json({"study_uid": uid, "files": done.files, "bytes": done.size, "findings": findings})
    else:
        for finding in done.findings:
            console.print_line(f"{finding.uid}  {finding.problem}")
        console.print_line(f"{done.files} files written, {size_text(done.size)}, {len(findings)} findings")
    return console.Exit.FINDINGS if findings else console.Exit.OK


def _studies(config: Config) -> list[_Json]:
    if app.is_new(config):
        return []
    with app.open_archive(config, read_only=True) as archive:
        sizes: Counter[str] = Counter()
        for instance in archive.index.instances(Query(Level.STUDY)):
            sizes[instance.header.study_instance_uid] += instance.stored.size
        matches = [match.values for match in archive.index.find(Query(Level.STUDY, requested=_REQUESTED))]
    return [
        {
            "study_uid": study["study_instance_uid"],
            "patient_id": study["patient_id"],
            "study_date": study["study_date"],
            "modalities": [modality for modality in study["modalities_in_study"].split("\\") if modality],
            "series": int(study["number_of_study_related_series"]),
            "instances": int(study["number_of_study_related_instances"]),
            "bytes": sizes[study["study_instance_uid"]],
        }
        for study in sorted(matches, key=lambda study: (study["study_date"], study["study_instance_uid"]))
    ]


_REQUESTED = (
    "study_instance_uid",
    "patient_id",
    "study_date",
    "modalities_in_study",
    "number_of_study_related_series",
    "number_of_study_related_instances",
)


def instances_of(archive: Archive, study_uid: str) -> list[Instance]:
    """The instances of a study, in the order of their series and numbers."""
    found = list(archive.index.instances(Query(Level.STUDY, {"study_instance_uid": OneOf((study_uid,))})))
    if not found:
        raise click.ClickException(f"no study {study_uid} is stored here; see: pacsnode study list")
    return sorted(found, key=_order)


def _order(instance: Instance) -> tuple[int, str, int, str]:
    header = instance.header
    return (
        _number(header.series_number),
        header.series_instance_uid,
        _number(header.instance_number),
        header.sop_instance_uid,
    )


def _number(text: str) -> int:
    """An IS value as a number; what is none comes first."""
    try:
        return int(text)
    except ValueError:
        return 0


def _series_uid(instance: Instance) -> str:
    return instance.header.series_instance_uid


def _study(instances: Sequence[Instance], versions: Mapping[Uid, list[_Json]]) -> _Json:
    first = instances[0].header
    return {
        "study_uid": first.study_instance_uid,
        "patient_id": first.patient_id,
        "study_date": first.study_date,
        "series": [_series(list(members), versions) for _, members in groupby(instances, _series_uid)],
    }


def _series(instances: Sequence[Instance], versions: Mapping[Uid, list[_Json]]) -> _Json:
    first = instances[0].header
    return {
        "series_uid": first.series_instance_uid,
        "modality": first.modality,
        "series_number": first.series_number,
        "instances": [
            {
                "instance_uid": instance.header.sop_instance_uid,
                "sop_class_uid": instance.header.sop_class_uid,
                "instance_number": instance.header.instance_number,
                "versions": versions[instance.header.sop_instance_uid],
            }
            for instance in instances
        ],
    }


def _versions(archive: Archive, instance: Instance) -> list[_Json]:
    """The current one first."""
    return [
        {
            "key": version.stored.key,
            "bytes": version.stored.size,
            "sha256": version.stored.digest,
            "transfer_syntax_uid": version.stored.transfer_syntax_uid,
            "received_at": version.received_at.isoformat(),
            "calling_ae": version.calling_ae,
        }
        for version in archive.index.versions(instance.header.sop_instance_uid)
    ]


def _line(instance: Instance) -> tuple[object, ...]:
    header = instance.header
    series = (header.series_instance_uid, header.modality, header.series_number)
    return (*series, header.sop_instance_uid, header.instance_number, instance.stored.size)
