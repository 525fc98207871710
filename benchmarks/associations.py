"""Associations: how many can be opened, echoed and released per second, and what idle ones cost."""

from __future__ import annotations

import contextlib
import time

from benchmarks import servers
from benchmarks.associate import Offer
from benchmarks.dataset import EXPLICIT
from benchmarks.figures import Figure, Quantity, Tally
from benchmarks.loadgen import IMPLICIT, VERIFICATION, Association
from benchmarks.servers import PACSNODE, Server
from benchmarks.stage import Stage
from pacsnode.dimse import contexts

_NO_SINK = 104
_MANY = 20


def rate_cell(offers: int) -> str:
    """E.g. "20 contexts"."""
    return f"{offers} context{'s' if offers > 1 else ''}"


def idle_cell(count: int) -> str:
    """E.g. "200 idle associations"."""
    return f"{count} idle associations"


def run(stage: Stage) -> list[Figure]:
    """Associate, echo, release, the servers in turn; then idle associations, which only pacsnode takes so many of."""
    settings = stage.settings
    tally = Tally()
    with servers.all_running(stage.folder / "associations", _NO_SINK, tuple(servers.STARTERS)) as running:
        for number in range(settings.rounds):
            for offers in (_offers(1), _offers(_MANY)):
                stage.say(f"associations, round {number + 1}: {rate_cell(len(offers))}")
                for server in running:
                    rate = _rate(server, offers, settings.associations)
                    tally.add(rate_cell(len(offers)), server.name, Quantity.ASSOCIATION_RATE, rate)
        for server in running:
            if server.name == PACSNODE:
                stage.say(f"associations: {idle_cell(settings.idle_associations)}")
                share = _idle_share(server, settings.idle_associations, settings.idle_seconds)
                tally.add(idle_cell(settings.idle_associations), PACSNODE, Quantity.CPU, share * 100)
    return tally.figures()


def _offers(count: int) -> list[Offer]:
    storage = sorted(contexts.storage_classes())[: count - 1]
    return [Offer(VERIFICATION, IMPLICIT), *(Offer(uid, EXPLICIT) for uid in storage)]


def _rate(server: Server, offers: list[Offer], count: int) -> float:
    begin = time.monotonic()
    for _ in range(count):
        with Association(server.called, offers) as association:
            association.echo()
    return count / (time.monotonic() - begin)


def _idle_share(server: Server, count: int, seconds: float) -> float:
    """The share of a core that the server takes while all wait; each has to answer before and after."""
    offers = [Offer(VERIFICATION, IMPLICIT)]
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(Association(server.called, offers)) for _ in range(count)]
        for association in waiting:
            association.echo()
        before, begin = server.cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        share = (server.cpu_seconds() - before) / (time.monotonic() - begin)
        for association in waiting:
            association.echo()
    return share
