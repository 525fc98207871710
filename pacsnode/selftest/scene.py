"""What is needed for a test: nodes, the peers they know, and the receivers behind these."""

from __future__ import annotations

import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynetdicom import AE, evt

from pacsnode.config import Config, Limits, PeerEntry
from pacsnode.dicom import syntax
from pacsnode.dimse import contexts
from pacsnode.selftest.samples import SOP_CLASSES, SYNTAXES
from pacsnode.selftest.scratch import LOOPBACK, ScratchNode, scratch_config
from pacsnode.selftest.scu import CALLING, Instance, instance_of

PARTIAL, DEAD, DENIED = "SELFTESTPART", "SELFTESTDEAD", "SELFTESTDENIED"
"""Peers besides ``CALLING``: takes one SOP class only; does not answer; may do nothing."""
GUARDED = "SELFTESTUSERS"
"""One more, whose users are checked."""
_REPORT_SECONDS = 30.0
_SMALL_DATA_SET = 64 * 1024
_NO_ROOM = 2**60


@dataclass(slots=True)
class Received:
    """What came to a receiver. Safe to use from several threads."""

    instances: list[Instance] = field(default_factory=list)
    reports: dict[str, tuple[int, Any]] = field(default_factory=dict)  # by transaction: event type and information
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, event: Any) -> int:
        """Handler of C-STORE."""
        with self.changed:
            self.instances.append(instance_of(event.request))
        return 0x0000

    def hear(self, event: Any) -> tuple[int, None]:
        """Handler of N-EVENT-REPORT."""
        with self.changed:
            information = event.event_information
            self.reports[str(information.TransactionUID)] = int(event.event_type), information
            self.changed.notify_all()
        return 0x0000, None

    def next_report(self, transaction: str) -> tuple[int, Any] | None:
        """Wait for the report of a transaction; None where none comes."""
        with self.changed:
            self.changed.wait_for(lambda: transaction in self.reports, _REPORT_SECONDS)
            return self.reports.get(transaction)


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that runs. ``strict`` has narrow limits and rejects unknown peers, ``full`` no room on its disk."""

    main: ScratchNode
    strict: ScratchNode
    full: ScratchNode
    called: str  # their AE title
    limits: Limits  # of the first one
    received: Received


@contextmanager
def scene(config: Config, folder: Path) -> Iterator[Scene]:
    """Start everything in the folder; stop it at the end."""
    with ExitStack() as stack:
        received = Received()
        ports = {
            CALLING: stack.enter_context(_receiver(SOP_CLASSES, received)),
            PARTIAL: stack.enter_context(_receiver(SOP_CLASSES[:1], Received())),
            DEAD: stack.enter_context(_nobody()),
        }
        peers = {title: PeerEntry(host=LOOPBACK, port=port) for title, port in ports.items()}
        peers[GUARDED] = PeerEntry(host=LOOPBACK, port=ports[DEAD], user_identity="accept")
        peers[DENIED] = PeerEntry(host=LOOPBACK, port=ports[DEAD], allow=frozenset())

        def node(name: str, **changes: dict[str, object]) -> ScratchNode:
            made = scratch_config(config, folder / name / "data", peers)
            tables = {table: getattr(made, table).model_copy(update=update) for table, update in changes.items()}
            return stack.enter_context(ScratchNode(folder / name, made.model_copy(update=tables)))

        main = node("main")
        strict = node(
            "strict",
            limits={"associations_per_peer": 1, "results": 1, "dataset": _SMALL_DATA_SET},
            commitment={"transactions": 1},
        )
        full = node("full", storage={"min_free": _NO_ROOM})
        yield Scene(main, strict, full, config.node.ae_title, config.limits, received)


@contextmanager
def _receiver(sop_classes: tuple[str, ...], received: Received) -> Iterator[int]:
    """An SCP of these SOP classes that takes reports of storage commitments, too: its port."""
    entity = AE(CALLING)
    for uid in sop_classes:
        entity.add_supported_context(uid, list(SYNTAXES))
    # Who reports is the requestor, and SCP by role selection.
    entity.add_supported_context(
        contexts.STORAGE_COMMITMENT, [syntax.IMPLICIT_VR_LITTLE_ENDIAN], scu_role=False, scp_role=True
    )
    handlers = [(evt.EVT_C_STORE, received.take), (evt.EVT_N_EVENT_REPORT, received.hear)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server: Any = entity.start_server((LOOPBACK, 0), block=False, evt_handlers=handlers)  # type: ignore[arg-type]
    try:
        yield int(server.socket.getsockname()[1])
    finally:
        server.shutdown()


@contextmanager
def _nobody() -> Iterator[int]:
    """A port that is taken, but where nobody listens."""
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        yield int(sock.getsockname()[1])
