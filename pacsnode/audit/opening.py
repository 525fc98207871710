"""The audit trail of a configuration, as the node and the commands use it."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pacsnode.audit import messages, syslog
from pacsnode.audit.delivery import Delivery
from pacsnode.audit.events import Narrator
from pacsnode.audit.journal import Journal
from pacsnode.audit.messages import Message
from pacsnode.audit.recorder import Recorder
from pacsnode.audit.trail import Trail
from pacsnode.config import Config
from pacsnode.model import Clock

_BATCH = 1_000


def trail_path(config: Config) -> Path:
    """The file of the trail that grows."""
    return config.node.data / config.audit.file


@dataclass(frozen=True, slots=True)
class Figures:
    """How the trail stands. What concerns the collector is None where there is none."""

    waiting: int  # messages that are not kept yet
    lost: int  # messages, since the start
    is_failing: bool  # the trail cannot be written at present
    undelivered: int | None  # records
    is_collector_failing: bool | None


class Auditing:
    """The trail of a running node: what it tells goes to ``recorder``."""

    def __init__(self, recorder: Recorder, journal: Journal, delivery: Delivery | None, trail: Trail) -> None:
        self.recorder = recorder
        self._journal, self._delivery, self._trail = journal, delivery, trail
        self._parts = (journal, delivery) if delivery is not None else (journal,)

    @property
    def degraded(self) -> list[str]:
        """What does not work at present."""
        return [part.degraded for part in self._parts if part.degraded]

    def figures(self) -> Figures:
        """How it stands now."""
        journal, delivery = self._journal, self._delivery
        return Figures(
            waiting=journal.waiting,
            lost=journal.lost,
            is_failing=bool(journal.degraded),
            undelivered=None if delivery is None else max(self._trail.last - delivery.position, 0),
            is_collector_failing=None if delivery is None else bool(delivery.degraded),
        )


def check(config: Config) -> None:
    """Raises ConfigError where a file of the collector is no good."""
    _deliver(config)


@contextmanager
def running(config: Config, clock: Clock) -> Iterator[Auditing]:
    """The audit trail of the node, which starts now and stops at the end of the block.

    Raises AuditFailure where it cannot be written, ConfigError for the collector's files.
    """
    deliver = _deliver(config)
    with ExitStack() as stack:
        trail = _open(config)
        stack.callback(trail.close)
        journal = Journal(trail)
        recorder = Recorder(journal, Narrator(config.node.ae_title, _person()), clock)
        delivery = None
        if deliver is not None:
            delivery = Delivery(trail.path, deliver, last=trail.last, written=journal.written, clock=clock)
            delivery.start()
            stack.callback(delivery.stop)
        journal.start(recorder.flush, recorder.lost)
        stack.callback(journal.stop)
        recorder.started()
        stack.callback(recorder.stopped)
        yield Auditing(recorder, journal, delivery, trail)


@contextmanager
def commanded(config: Config, clock: Clock) -> Iterator[Recorder]:
    """For a command: what it tells is kept and sealed when the block ends, however it ends. Raises AuditFailure."""
    trail = _open(config)
    kept = _Kept()
    try:
        yield Recorder(kept, Narrator(config.node.ae_title, _person()), clock)
    finally:
        try:
            for first in range(0, len(kept.messages), _BATCH):
                trail.append(list(map(messages.encode, kept.messages[first : first + _BATCH])))
            trail.seal()
        finally:
            trail.close()


class _Kept:
    """A sink that only holds what it is told."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def post(self, message: Message) -> None:
        """Hold a message."""
        self.messages.append(message)


def _open(config: Config) -> Trail:
    return Trail(trail_path(config), rotate_bytes=config.audit.rotate)


def _deliver(config: Config) -> syslog.Deliver | None:
    audit, collector = config.audit, config.audit.syslog
    if collector is None:
        return None
    if collector.protocol == "udp":
        return syslog.UdpCollector(collector).deliver
    certificate, key = audit.syslog_certificate or config.tls.certificate, audit.syslog_key or config.tls.key
    return syslog.TlsCollector(collector, syslog.tls_context(audit.syslog_ca, certificate, key)).deliver


def _person() -> str:
    """The user that the process runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
