"""C-GET and C-MOVE of one study of CT- and of MR-sized instances, in the syntax they are stored in."""

from __future__ import annotations

import time

from benchmarks import senders, servers, sink
from benchmarks.associate import Offer
from benchmarks.dataset import CT, EXPLICIT, MR, Image, Plan
from benchmarks.figures import Figure, Quantity, Tally
from benchmarks.loadgen import IMPLICIT, STUDY_GET, STUDY_MOVE, Association, Retrieved
from benchmarks.senders import Batch
from benchmarks.servers import Server
from benchmarks.sink import Sink
from benchmarks.stage import Stage

GET, MOVE = "C-GET", "C-MOVE"
_LEVEL, _STUDY_UID = 0x00080052, 0x0020000D
_BYTES_PER_MB = 1e6


def cell_name(image: Image, operation: str) -> str:
    """E.g. "CT, C-GET"."""
    return f"{image.name}, {operation}"


def run(stage: Stage) -> list[Figure]:
    """Every server gets both studies once; then each retrieves them in turn, round after round."""
    count = stage.settings.retrieved_instances
    tally = Tally()
    with sink.running() as destination:
        with servers.all_running(stage.folder / "retrieve", destination.port, tuple(servers.STARTERS)) as running:
            plans = {image: Plan(image, stage.new_root(), per_series=count, series_per_study=1) for image in (CT, MR)}
            for server in running:
                stage.say(f"retrieve: filling {server.name}")
                for plan in plans.values():
                    senders.send(server.called, [Batch(plan, 0, count)])
            for number in range(stage.settings.rounds):
                for image, plan in plans.items():
                    for operation in (GET, MOVE):
                        stage.say(f"retrieve, round {number + 1}: {cell_name(image, operation)}")
                        for server in running:
                            _retrieve(tally, server, plan, operation=operation, destination=destination, count=count)
    return tally.figures()


def _retrieve(tally: Tally, server: Server, plan: Plan, *, operation: str, destination: Sink, count: int) -> None:
    keys = {_LEVEL: "STUDY", _STUDY_UID: plan.study_uid(0)}
    offers = [
        Offer(STUDY_GET, IMPLICIT),
        Offer(STUDY_MOVE, IMPLICIT),
        Offer(plan.image.sop_class_uid, EXPLICIT, as_scp=True),
    ]
    destination.take_counts()
    with Association(server.called, offers) as association:
        begin = time.monotonic()
        done = association.get(keys) if operation == GET else association.move(keys, sink.AE_TITLE)
        seconds = time.monotonic() - begin
    if operation == MOVE:
        instances, data_bytes = destination.take_counts()
        done = Retrieved(min(done.instances, instances), done.failed, data_bytes)
    cell = cell_name(plan.image, operation)
    tally.add(cell, server.name, Quantity.INSTANCE_RATE, done.instances / seconds)
    tally.add(cell, server.name, Quantity.MEGABYTE_RATE, done.data_bytes / _BYTES_PER_MB / seconds)
    tally.add(cell, server.name, Quantity.FAILED, count - done.instances)
