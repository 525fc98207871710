"""A listener of ours in this process, on a free port of loopback, over a store in memory and an index in a file."""

from __future__ import annotations

import itertools
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pacsnode.archive import Archive
from pacsnode.audit.recorder import Recorder, silent
from pacsnode.config import Limits
from pacsnode.dicom.charset import Assumptions
from pacsnode.dimse import server
from pacsnode.dimse.access import Access
from pacsnode.dimse.admission import Admission
from pacsnode.dimse.association import Service
from pacsnode.dimse.echo import EchoService
from pacsnode.dimse.find import FindService
from pacsnode.dimse.get import GetService
from pacsnode.dimse.move import MoveService
from pacsnode.dimse.reception import Reception
from pacsnode.dimse.refusals import refusals
from pacsnode.dimse.send import Transcoding
from pacsnode.dimse.server import Entity, Listener
from pacsnode.dimse.store import StoreService
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Arrival, Peer, Uid
from pacsnode.storage.memory import MemoryStore
from pacsnode.storage.store import Store
from pacsnode.wire.command import CommandField
from tests.dimse import images
from tests.dimse.raw_peer import CT, EXPLICIT, MR, Closed, Offer, RawPeer

AE_TITLE = "PACSNODE"
STARTED = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
_STEP_SECONDS = 0.002


@dataclass(frozen=True)
class Running:
    """A listener that serves, and what is behind it."""

    port: int
    archive: Archive
    entity: Entity
    commits: list[float]
    """How long each commit took."""

    @property
    def admission(self) -> Admission:
        """Who is connected."""
        return self.entity.admission

    def keys(self) -> list[str]:
        """Every object of the store."""
        return list(self.archive.store.keys())

    def keep(self, *numbers: int, syntax: str = EXPLICIT, sop_class: str = CT, **more: Any) -> None:
        """Have these images (see ``images.image``) in the archive."""
        for number in numbers:
            uid = more.get("uid") or images.uid_of(number)
            arrival = Arrival(Uid(sop_class), Uid(uid), Uid(syntax), "MODALITY", AE_TITLE, self.archive.clock())
            with self.archive.receive(arrival) as ingest:
                ingest.write(images.image(number, syntax=syntax, sop_class=sop_class, **more))
                ingest.commit()

    def connect(self, *offers: Offer) -> RawPeer:
        """A peer that has associated with these presentation contexts (by default Verification)."""
        peer = RawPeer(self.port)
        try:
            peer.associate(offers or (Offer(1, "1.2.840.10008.1.1"),))
        except BaseException:
            peer.close()
            raise
        return peer

    def echoes(self) -> bool:
        """Does a new association work, now?"""
        try:
            with self.connect() as peer:
                worked = peer.echo() == 0
                peer.release()
        except Closed:
            return False
        return worked


def limits(**changes: float) -> Limits:
    """The default limits but for the changes, with deadlines that a test can wait for."""
    short = {"association_deadline": 5.0, "pdu_deadline": 5.0, "response": 5.0, "connect": 5.0, "idle": 30.0}
    return Limits.model_validate({**short, **changes})


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Wait until the condition holds: whether it came to that."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(_STEP_SECONDS)
    return True


def serving_threads() -> list[str]:
    """Names of the threads that serve a connection."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("association")]


class Nodes:
    """Starts listeners and stops them at the end of the test."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack

    def start(
        self,
        *peers: Peer,
        store: Store | None = None,
        index: SqliteIndex | None = None,
        limits: Limits = limits(),  # noqa: B008 - frozen
        accepts_unknown: bool = True,
        storage: Iterable[str] = (CT, MR),
        tls: ssl.SSLContext | None = None,
        assumed: Assumptions = Assumptions(),  # noqa: B008 - frozen
        read_headers: bool = False,
        transcoding: Transcoding | None = None,
        audit: Recorder | None = None,
    ) -> Running:
        """A listener that answers as PACSNODE; with few storage classes, since all of them take a tenth of a second."""
        index = index or SqliteIndex(self._folder / "index.db")
        self._stack.callback(index.close)
        ticks = itertools.count(1)
        clock = lambda: STARTED + timedelta(microseconds=next(ticks))  # noqa: E731
        archive = Archive(store or MemoryStore(), index, clock, assumed)
        commits: list[float] = []
        access = Access(titles=(AE_TITLE, "ALIAS"), peers=peers)
        services: dict[int, Service] = {
            CommandField.C_ECHO_RQ: EchoService(access),
            CommandField.C_STORE_RQ: StoreService(archive, access, commits.append, audit=audit),
            CommandField.C_FIND_RQ: FindService(
                index, access, AE_TITLE, archive if read_headers else None, assumed=assumed, audit=audit
            ),
            CommandField.C_GET_RQ: GetService(archive, access, transcoding, audit=audit),
            CommandField.C_MOVE_RQ: MoveService(
                archive, access, ae_title=AE_TITLE, limits=limits, transcoding=transcoding, audit=audit
            ),
        }
        told = audit or silent()
        entity = Entity(Reception(access, refused=refusals(told)), Admission(limits), services, limits, audit=told)
        listener = server.listen(
            ("127.0.0.1", 0),
            entity,
            ae_title=AE_TITLE,
            storage=frozenset(map(Uid, storage)),
            accepts_unknown=accepts_unknown,
            tls=tls,
        )
        thread = threading.Thread(target=listener.serve_forever, name="listener")
        thread.start()
        self._stack.callback(_stop, listener, thread)
        self._stack.callback(entity.admission.drain, 0)
        return Running(int(listener.server_address[1]), archive, entity, commits)


def _stop(listener: Listener, thread: threading.Thread) -> None:
    listener.shutdown()
    thread.join()
    listener.server_close()


class Timer:
    """A monotonic clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def timer() -> Timer:
    """The time."""
    return Timer()


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    """Starts listeners; afterwards no connection may still be served."""
    with ExitStack() as stack:
        yield Nodes(tmp_path, stack)

    assert eventually(lambda: not serving_threads()), serving_threads()


@pytest.fixture
def node(nodes: Nodes) -> Running:
    """A listener with ordinary limits that accepts every calling AE title."""
    return nodes.start()
