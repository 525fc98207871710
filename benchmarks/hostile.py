"""Hostile peers: are others served beside them, and does the memory stay bounded? One server after the other."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks import attackers, servers
from benchmarks.associate import Offer
from benchmarks.certificates import Authority, CannotCertify, Certificate
from benchmarks.connection import Ended
from benchmarks.dataset import EXPLICIT, MR, Plan
from benchmarks.figures import Figure, Quantity, Tally
from benchmarks.loadgen import CALLING_AE, IMPLICIT, VERIFICATION, Association, Called, Refused
from benchmarks.senders import percentile
from benchmarks.servers import ORTHANC, PACSNODE, PYNETDICOM, CannotStart, Server
from benchmarks.stage import Stage

ECHO, STORE, TLS_ECHO, MEMORY = "C-ECHO", "C-STORE", "TLS and C-ECHO", "memory"
KINDS = ("dawdlers", "length_bombs", "vanishers", attackers.TLS_KIND)
_ROOT = Path(__file__).parents[1]
_NO_SINK = 104
_PAUSE_SECONDS = 0.05  # between two operations of a modality
_PATIENCE_SECONDS = 10.0  # of a modality
_WARM_UP_SECONDS = 1.0
_END_SECONDS = 60.0

Start = Callable[[Path], contextlib.AbstractContextManager[Server]]
StartWithTls = Callable[[Path, Certificate, Path], contextlib.AbstractContextManager[Server]]
"""Starts a server in a folder, with a certificate of its own, and that of a CA."""


@dataclass
class Modality:
    """A legitimate client of one kind: the same operation in a steady rhythm, an association for each."""

    operate: Callable[[int], None]
    seconds: list[float] = field(default_factory=list)
    succeeded: int = 0

    def work(self, is_over: threading.Event) -> None:
        """Operate until it is over; what fails has taken its time, too."""
        while not is_over.wait(_PAUSE_SECONDS):
            began = time.monotonic()
            with contextlib.suppress(OSError, Ended, Refused):
                self.operate(len(self.seconds))
                self.succeeded += 1
            self.seconds.append(time.monotonic() - began)


def run(stage: Stage) -> list[Figure]:
    """Attack each server that is here for so many seconds."""
    tally = Tally()
    folder = stage.folder / "hostile"
    try:
        authority = Authority(folder / "certificates")
        tls, starters = client_of(authority), _starters(authority)
    except CannotCertify as error:
        raise CannotStart(str(error)) from error
    for name, start in starters.items():
        if servers.is_installed(name):
            stage.say(f"hostile: {name}, {stage.settings.hostile_seconds} s")
            place = folder / name
            place.mkdir()
            with start(place) as server:
                _attack(tally, server, stage, tls)
            shutil.rmtree(place)
    return tally.figures()


def _starters(authority: Authority) -> Mapping[str, Start]:
    node: Certificate = authority.issue("node")
    return {
        PACSNODE: partial(servers.pacsnode_with_tls, certificate=node, ca=authority.certificate),
        ORTHANC: partial(servers.orthanc, sink_port=_NO_SINK),
        PYNETDICOM: partial(servers.pynetdicom, certificate=node, ca=authority.certificate),
    }


def client_of(authority: Authority) -> ssl.SSLContext:
    """A modality's side of TLS."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    made = authority.issue("modality")
    context.load_cert_chain(made.certificate, made.key)
    return context


def _attack(tally: Tally, server: Server, stage: Stage, tls: ssl.SSLContext) -> None:
    plan = Plan(MR, stage.new_root())
    _work(_modalities(server, Plan(MR, stage.new_root()), tls), _WARM_UP_SECONDS)
    idle = server.resident_mebibytes()
    modalities = _modalities(server, plan, tls)
    seconds = stage.settings.hostile_seconds
    with _attackers(server, seconds) as process:
        _work(modalities, seconds)
        stage.say(f"hostile: {server.name} was attacked: {process.communicate(timeout=_END_SECONDS)[0].strip()}")
    for cell, modality in modalities.items():
        ascending = sorted(modality.seconds)
        tally.add(cell, server.name, Quantity.P99, percentile(ascending, 0.99) * 1000)
        tally.add(cell, server.name, Quantity.P50, percentile(ascending, 0.50) * 1000)
        tally.add(cell, server.name, Quantity.SUCCESS, 100 * modality.succeeded / len(ascending))
    with contextlib.suppress(OSError, IndexError):  # a server that has died has no memory any more
        tally.add(MEMORY, server.name, Quantity.GROWN_MEMORY, server.peak_mebibytes() - idle)


def _modalities(server: Server, plan: Plan, tls: ssl.SSLContext) -> dict[str, Modality]:
    found = {
        ECHO: Modality(lambda number: echo(server.called, None)),
        STORE: Modality(lambda number: _store(server.called, plan, number)),
    }
    if (secured := server.tls) is not None:
        found[TLS_ECHO] = Modality(lambda number: echo(secured, tls))
    return found


def _work(modalities: Mapping[str, Modality], seconds: float) -> None:
    """Let all work for so long, each in a thread of its own."""
    is_over = threading.Event()
    with ThreadPoolExecutor(len(modalities)) as pool:
        working = [pool.submit(modality.work, is_over) for modality in modalities.values()]
        is_over.wait(seconds)
        is_over.set()
    for work in working:
        work.result()


def echo(called: Called, tls: ssl.SSLContext | None) -> None:
    """Associate, echo, release. Raises OSError, Ended, Refused."""
    offers = [Offer(VERIFICATION, IMPLICIT)]
    with Association(called, offers, timeout_seconds=_PATIENCE_SECONDS, tls=tls) as association:
        association.echo()


def _store(called: Called, plan: Plan, number: int) -> None:
    offers = [Offer(plan.image.sop_class_uid, EXPLICIT)]
    with Association(called, offers, timeout_seconds=_PATIENCE_SECONDS) as association:
        status = association.store(plan.data_set(number))
    if status:
        raise Refused(f"C-STORE ended with status {status:04X}")


@contextlib.contextmanager
def _attackers(server: Server, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """The hostile peers, in a process of their own, under a title that the server knows."""
    tls_port = (server.tls or server.called).port
    where = [str(server.called.port), str(seconds), "--tls-port", str(tls_port)]
    who = ["--called", server.called.ae_title, "--calling", CALLING_AE, "--kinds", ",".join(KINDS)]
    command = [sys.executable, "-m", "benchmarks.attackers", *where, *who]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()
