"""C-FIND over a million studies, pacsnode alone: the index is filled directly, as queries read nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from benchmarks import query, servers
from benchmarks.dataset import EXPLICIT, TINY, Plan
from benchmarks.figures import Figure, Tally
from benchmarks.query import Kind
from benchmarks.stage import Stage
from pacsnode.dicom.attributes import HEADER_TAGS
from pacsnode.dicom.header import read_header
from pacsnode.dicom.walk import DataSetWalker
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Instance, StoredObject, Uid
from pacsnode.storage import layout

_NO_SINK = 104
_BATCH = 2_000
_DATE, _PATIENT_NAME = 0x00080020, 0x00100010

KINDS = (
    *query.KINDS[:2],
    Kind("STUDY by date", lambda plan, study: {**query.STUDY_KEYS, _DATE: plan.study_date(study)}),
    Kind(
        "STUDY by name, wildcard",
        lambda plan, study: {**query.STUDY_KEYS, _PATIENT_NAME: f"{plan.patient_name(study)[:-1]}*"},
    ),
    Kind(
        "STUDY by date and name",
        lambda plan, study: {
            **query.STUDY_KEYS,
            _DATE: plan.study_date(study),
            _PATIENT_NAME: plan.patient_name(study),
        },
    ),
)
"""Queries as people put them: with few answers, however many studies there are."""


def run(stage: Stage) -> list[Figure]:
    """Fill the index, start the node over it, ask."""
    settings = stage.settings
    folder = stage.folder / "scale"
    (folder / "data").mkdir(parents=True)
    plan = Plan(TINY, stage.new_root(), per_series=1, series_per_study=1)
    stage.say(f"scale: filling the index with {settings.scale_studies:,} studies")
    fill(folder / "data" / "index.db", plan, settings.scale_studies)
    # A clean stop: else the node would miss the objects, of which there are none.
    told = {"settled": datetime.now(UTC).isoformat(), "clean": True}
    (folder / "data" / "mark").write_text(json.dumps(told))
    tally = Tally()
    with servers.pacsnode(folder, _NO_SINK) as server:
        for number in range(settings.rounds):
            stage.say(f"scale, round {number + 1}")
            for kind in KINDS:
                query.ask(tally, server, plan, kind=kind, count=settings.queries, studies=settings.scale_studies)
    return tally.figures()


def fill(path: Path, plan: Plan, instances: int) -> None:
    """Record instances as if they had been received."""
    source = _instances(plan, instances)
    with contextlib.closing(SqliteIndex(path)) as index:
        while batch := list(islice(source, _BATCH)):
            index.add_many(batch)


def _instances(plan: Plan, count: int) -> Iterator[Instance]:
    moment = datetime.now(UTC)
    for data_set in plan.data_sets(0, count):
        walker = DataSetWalker(Uid(EXPLICIT), HEADER_TAGS)
        for piece in data_set.pieces:
            walker.feed(piece)
        header = read_header(walker.finish())
        digest = hashlib.sha256(data_set.sop_instance_uid.encode()).digest()
        stored = StoredObject(layout.new_key(moment, digest), data_set.size, digest.hex(), Uid(EXPLICIT), 0)
        yield Instance(header, stored, moment, "BENCH", "PACSNODE")
