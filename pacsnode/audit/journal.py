"""The thread that keeps what happens: messages come from anywhere at once, and are durable within a second."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from pacsnode import log
from pacsnode.audit import messages
from pacsnode.audit.messages import Message
from pacsnode.audit.trail import Trail
from pacsnode.errors import AuditFailure

_GATHER_SECONDS = 0.5  # for what comes together to share a sync: with the sync itself, less than a second
_TICK_SECONDS = 10.0
_RETRY_SECONDS = 5.0
_CAPACITY = 20_000  # messages held while the trail cannot be written; some 20 MB
_BATCH = 1_000
_STOP_SECONDS = 30.0


class Journal:
    """A sink that writes a trail. Safe to use from several threads."""

    def __init__(self, trail: Trail) -> None:
        self._trail = trail
        self._waiting: deque[Message] = deque()
        self._batch: list[bytes] = []  # encoded, not kept yet
        self._lost = 0  # since the trail cannot be written
        self._all_lost = 0  # before that
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._written = threading.Event()  # for who delivers
        self._failure = ""
        self._flush: Callable[[], None] = lambda: None
        self._tell_lost: Callable[[int], None] = lambda count: None
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    @property
    def degraded(self) -> str:
        """Why the trail is not written at present; "" where it is."""
        return self._failure

    @property
    def waiting(self) -> int:
        """How many messages are not kept yet."""
        return len(self._waiting) + len(self._batch)

    @property
    def lost(self) -> int:
        """How many could not be kept, ever since the start."""
        return self._all_lost + self._lost

    @property
    def written(self) -> threading.Event:
        """Set whenever something was added."""
        return self._written

    def post(self, message: Message) -> None:
        """Take a message; kept within a second, unless the trail cannot be written for long."""
        if len(self._waiting) >= _CAPACITY:
            self._lost += 1
            return
        self._waiting.append(message)
        self._wake.set()

    def start(self, flush: Callable[[], None], tell_lost: Callable[[int], None]) -> None:
        """Begin to write. ``flush`` is called every now and then; ``tell_lost`` when messages could not be kept."""
        self._flush, self._tell_lost = flush, tell_lost
        self._thread.start()

    def stop(self) -> None:
        """Write and seal what is there, and end."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except AuditFailure as error:
                self._failed(error)
                self._stopping.wait(_RETRY_SECONDS)
            except Exception:  # noqa: BLE001 - the outermost loop of this thread; logged with its place
                log.crash("audit_crashed")
                self._batch.clear()
                self._stopping.wait(_RETRY_SECONDS)
        try:
            self._keep()
            self._trail.seal()
        except AuditFailure as error:
            self._failed(error)
        self._written.set()

    def _turn(self) -> None:
        if not self._waiting and not self._batch:
            due = self._trail.seconds_to_seal()
            self._wake.wait(_TICK_SECONDS if due is None else min(due + 0.01, _TICK_SECONDS))
        self._wake.clear()
        self._flush()
        if not self._waiting and not self._batch:
            if self._trail.seconds_to_seal() == 0:
                self._trail.seal()
            return
        self._stopping.wait(_GATHER_SECONDS)
        self._keep()

    def _keep(self) -> None:
        while self._waiting or self._batch:
            while self._waiting and len(self._batch) < _BATCH:
                self._batch.append(messages.encode(self._waiting.popleft()))
            self._trail.append(self._batch)
            self._batch.clear()
            self._written.set()
            self._succeeded()

    def _failed(self, error: AuditFailure) -> None:
        if not self._failure:
            log.event("audit_failed", level=logging.ERROR, reason=error)
        self._failure = f"audit: {error}"

    def _succeeded(self) -> None:
        if not self._failure:
            return
        self._failure = ""
        lost, self._lost = self._lost, 0
        self._all_lost += lost
        log.event("audit_back", lost=lost)
        if lost:
            self._tell_lost(lost)
