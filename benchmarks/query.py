"""C-FIND of every usual kind, over an archive of many studies."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks import senders, servers
from benchmarks.associate import Offer
from benchmarks.dataset import TINY, Plan
from benchmarks.figures import Figure, Quantity, Tally
from benchmarks.loadgen import IMPLICIT, STUDY_FIND, Association
from benchmarks.receive import batches
from benchmarks.servers import ORTHANC, PACSNODE, Server
from benchmarks.stage import Stage

Keys = Mapping[int, str]

_LEVEL = 0x00080052
_SOP_UID, _STUDY_UID, _SERIES_UID = 0x00080018, 0x0020000D, 0x0020000E
_DATE, _PATIENT_NAME, _PATIENT_ID = 0x00080020, 0x00100010, 0x00100020
STUDY_KEYS: Keys = {_LEVEL: "STUDY"} | dict.fromkeys(
    (_DATE, 0x00080030, 0x00080050, 0x00081030, _PATIENT_NAME, _PATIENT_ID, _STUDY_UID, 0x00200010), ""
)
_SERIES_KEYS: Keys = {_LEVEL: "SERIES"} | dict.fromkeys((0x00080060, 0x0008103E, _SERIES_UID, 0x00200011), "")
_IMAGE_KEYS: Keys = {_LEVEL: "IMAGE"} | dict.fromkeys((0x00080016, _SOP_UID, 0x00200013), "")
_NO_SINK = 104
_FILL_ASSOCIATIONS = 4
_SERIES_PER_STUDY = 2
_STRIDE = 7919  # a prime: successive queries ask for studies far from each other
_FEW = 5  # queries of a kind that answers with everything


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of query: its keys for the study of a number."""

    name: str
    keys: Callable[[Plan, int], Keys]
    answers_everything: bool = False


KINDS = (
    Kind("STUDY by UID", lambda plan, study: {**STUDY_KEYS, _STUDY_UID: plan.study_uid(study)}),
    Kind("STUDY by Patient ID", lambda plan, study: {**STUDY_KEYS, _PATIENT_ID: plan.patient_id(study)}),
    Kind("STUDY by name, wildcard", lambda plan, study: {**STUDY_KEYS, _PATIENT_NAME: f"Family{study % 10}*"}),
    Kind("STUDY by date range", lambda plan, study: {**STUDY_KEYS, _DATE: _month_of(plan.study_date(study))}),
    Kind("all studies", lambda plan, study: STUDY_KEYS, answers_everything=True),
    Kind("SERIES of one study", lambda plan, study: {**_SERIES_KEYS, _STUDY_UID: plan.study_uid(study)}),
    Kind(
        "IMAGE of one series",
        lambda plan, study: (
            {
                **_IMAGE_KEYS,
                _STUDY_UID: plan.study_uid(study),
                _SERIES_UID: plan.series_uid(study * plan.series_per_study),
            }
        ),
    ),
)


def plan_for(stage: Stage) -> Plan:
    """Studies of equal size, in series of equal size."""
    per_series = max(stage.settings.instances_per_study // _SERIES_PER_STUDY, 1)
    return Plan(TINY, stage.new_root(), per_series=per_series, series_per_study=_SERIES_PER_STUDY)


def run(stage: Stage) -> list[Figure]:
    """Fill both servers by sending, then ask them in turn, kind after kind, round after round."""
    settings = stage.settings
    tally = Tally()
    with servers.all_running(stage.folder / "query", _NO_SINK, (PACSNODE, ORTHANC)) as running:
        plan = plan_for(stage)
        for server in running:
            stage.say(f"query: filling {server.name} with {settings.studies:,} studies")
            senders.send(server.called, batches(plan, settings.studies * plan.per_study, _FILL_ASSOCIATIONS))
        for number in range(settings.rounds):
            stage.say(f"query, round {number + 1}")
            for kind in KINDS:
                for server in running:
                    ask(tally, server, plan, kind=kind, count=settings.queries, studies=settings.studies)
    return tally.figures()


def ask(tally: Tally, server: Server, plan: Plan, *, kind: Kind, count: int, studies: int) -> None:
    """Put this many queries of the kind through one association, and tally their times."""
    latencies = []
    matches = 0
    with Association(server.called, [Offer(STUDY_FIND, IMPLICIT)]) as association:
        for number in range(min(count, _FEW) if kind.answers_everything else count):
            keys = kind.keys(plan, number * _STRIDE % studies)
            begin = time.monotonic()
            matches = association.find(keys)
            latencies.append(time.monotonic() - begin)
    latencies.sort()
    tally.add(kind.name, server.name, Quantity.P50, senders.percentile(latencies, 0.50) * 1000)
    tally.add(kind.name, server.name, Quantity.P99, senders.percentile(latencies, 0.99) * 1000)
    tally.add(kind.name, server.name, Quantity.MATCHES, matches)


def _month_of(date: str) -> str:
    return f"{date[:6]}01-{date[:6]}31"
