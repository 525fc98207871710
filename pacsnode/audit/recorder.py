"""What the services tell, made messages: one for each operation, of a long run of instances one for each study."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from pacsnode import model
from pacsnode.audit import events
from pacsnode.audit.events import SUCCESS, Actor, Narrator, Part, Result
from pacsnode.audit.messages import Action, Code, Message, Outcome, Participant
from pacsnode.model import Clock, InstanceHeader

FLUSH_SECONDS = 30.0
_MAX_INSTANCES = 10_000  # told in one message
_MAX_KINDS = 1_000  # messages that an association holds back
_ALERTS_AT_ONCE, _ALERTS_PER_SECOND = 1_000, 5.0  # of strangers, who must not fill the disk
_ACTIONS = {
    model.Outcome.STORED: Action.CREATE,
    model.Outcome.ALREADY_THERE: Action.READ,
    model.Outcome.KEPT_FIRST: Action.READ,
    model.Outcome.NEW_VERSION: Action.UPDATE,
    model.Outcome.REPAIRED: Action.UPDATE,
}


class Sink(Protocol):
    """Where messages go. Safe to use from several threads; returns at once."""

    def post(self, message: Message) -> None:
        """Take a message."""


class Recorder:
    """Takes down what happens. Safe to use from several threads."""

    def __init__(
        self, sink: Sink, narrator: Narrator, clock: Clock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        self.monotonic = monotonic
        self._sink = sink
        self._narrator = narrator
        self._alerts = _Allowance(monotonic)
        self._lock = threading.Lock()
        self._intakes: set[Intake] = set()

    def started(self) -> None:
        """The node is about to listen."""
        self._sink.post(self._narrator.started(self.clock()))

    def stopped(self) -> None:
        """The node has ended its last association."""
        self._sink.post(self._narrator.stopped(self.clock()))

    def refused(self, who: Actor, *, called_ae: str, result: Result) -> None:
        """An association was rejected; ``result`` says why, and how serious that is."""
        culprit = Participant(who.ae_title, (who.ae_title, called_ae), address=who.address, is_requestor=True)
        why = Result(result.outcome, f"association rejected: {result.description}")
        self._alert(events.NODE_AUTHENTICATION, culprit, who.address, why)

    def handshake_failed(self, address: str, reason: str) -> None:
        """Who connected could not be authenticated by TLS."""
        culprit = Participant(address, address=address, is_requestor=True)
        why = Result(Outcome.SERIOUS_FAILURE, f"TLS handshake failed: {reason}")
        self._alert(events.NODE_AUTHENTICATION, culprit, address, why)

    def authenticated(self, who: Actor) -> None:
        """A peer has named its user, and proved it."""
        self._sink.post(self._narrator.authenticated(self.clock(), who, SUCCESS))

    def authentication_failed(self, who: Actor, reason: str) -> None:
        """A peer has named a user that it is not."""
        if self._alerts.take():
            result = Result(Outcome.SERIOUS_FAILURE, reason)
            self._sink.post(self._narrator.authenticated(self.clock(), who, result))

    def reconfigured(self, what: str) -> None:
        """The configuration in effect has changed: ``what`` names tables and keys, no values."""
        result = Result(Outcome.SUCCESS, what)
        self._sink.post(
            self._narrator.alerted(
                self.clock(), events.SECURITY_CONFIGURATION, self._narrator.operator(), "configuration", result
            )
        )

    def queried(self, who: Actor, *, sop_class: str, syntax: str, identifier: bytes, result: Result) -> None:
        """A C-FIND is over."""
        message = self._narrator.queried(
            self.clock(), who, sop_class=sop_class, syntax=syntax, identifier=identifier, result=result
        )
        self._sink.post(message)

    def deleted(self, part: Part, reason: str, who: str = "") -> None:
        """A study was deleted, as ``who`` has told the process."""
        self._sink.post(self._narrator.deleted(self.clock(), part, Result(Outcome.SUCCESS, reason), who))

    def undeleted(self, part: Part) -> None:
        """Instances of a deleted study are back."""
        self._sink.post(self._narrator.imported(self.clock(), ["trash"], part, Action.CREATE, SUCCESS))

    def decided(self, what: str, node: str) -> None:
        """Somebody has decided, by a command, what is to become of something that was set aside."""
        alert = self._narrator.alerted(
            self.clock(), events.RESTRICTED_FUNCTION, self._narrator.operator(), node, Result(Outcome.SUCCESS, what)
        )
        self._sink.post(alert)

    def damaged(self, uid: str, problem: str, outcome: Outcome) -> None:
        """A stored instance is not what it should be, or it was seen to."""
        alert = self._narrator.alerted(
            self.clock(), events.DAMAGE, self._narrator.operator(), uid, Result(outcome, problem)
        )
        self._sink.post(alert)

    def exported(self, folder: str, parts: Iterable[Part], result: Result = SUCCESS) -> None:
        """Instances were written to files."""
        for part in parts:
            self._sink.post(self._narrator.exported(self.clock(), folder, part, result))

    def log_used(self, log: str) -> None:
        """Somebody has read the audit trail."""
        self._sink.post(self._narrator.log_used(self.clock(), log))

    def intake(self, sender: Actor) -> Intake:
        """What comes from a peer over one association."""

        def tell(at: datetime, part: Part, action: Action, result: Result) -> None:
            self._sink.post(self._narrator.received(at, sender, part, action, result))

        return self._watched(Intake(self, tell))

    def media(self, origin: Sequence[str]) -> Intake:
        """What comes from files."""

        def tell(at: datetime, part: Part, action: Action, result: Result) -> None:
            self._sink.post(self._narrator.imported(at, origin, part, action, result))

        return Intake(self, tell)

    def transfer(self, requester: Actor) -> Transfer:
        """What a C-MOVE or C-GET sends."""
        return Transfer(self._sink, self._narrator, self.clock, requester)

    def flush(self) -> None:
        """Tell of what came some time ago over associations that are still open, and of alerts that were left out."""
        with self._lock:
            due = [intake for intake in self._intakes if intake.is_due()]
        for intake in due:
            intake.flush()
        if left_out := self._alerts.left_out():
            result = Result(Outcome.MINOR_FAILURE, f"{left_out} further alerts were left out")
            self._sink.post(self._alerted(events.NODE_AUTHENTICATION, self._narrator.operator(), "network", result))

    def lost(self, count: int) -> None:
        """Messages could not be kept while the trail could not be written."""
        result = Result(Outcome.SERIOUS_FAILURE, f"{count} audit messages were lost: the trail could not be written")
        self._sink.post(self._alerted(events.RECORDING_STOPPED, self._narrator.operator(), "audit trail", result))

    def forget(self, intake: Intake) -> None:
        """The association of an intake has ended."""
        with self._lock:
            self._intakes.discard(intake)

    def _watched(self, intake: Intake) -> Intake:
        with self._lock:
            self._intakes.add(intake)
        return intake

    def _alert(self, kind: Code, culprit: Participant, node: str, result: Result) -> None:
        if self._alerts.take():
            self._sink.post(self._alerted(kind, culprit, node, result))

    def _alerted(self, kind: Code, culprit: Participant, node: str, result: Result) -> Message:
        return self._narrator.alerted(self.clock(), kind, culprit, node, result)


def silent() -> Recorder:
    """One that nobody listens to."""
    return Recorder(_Nowhere(), Narrator(""), lambda: datetime.now(UTC))


class _Nowhere:
    def post(self, message: Message) -> None:
        """Forget it."""


@dataclass(slots=True)
class _Run:
    began: datetime
    classes: Counter[str] = field(default_factory=Counter)


class Intake:
    """Counts what comes in, by study and by what became of it. Safe to use from several threads."""

    def __init__(self, recorder: Recorder, tell: Callable[[datetime, Part, Action, Result], None]) -> None:
        self._recorder = recorder
        self._tell = tell
        self._lock = threading.Lock()
        self._runs: dict[tuple[str, str, Action, Result], _Run] = {}
        self._last: tuple[str, str, model.Outcome] | None = None  # of the run that the next instance is likely to be of
        self._last_classes: Counter[str] = Counter()
        self._count = 0
        self._since = 0.0

    def add(self, header: InstanceHeader, outcome: model.Outcome) -> None:
        """An instance is in the archive."""
        last = self._last
        if last is not None and last[1] == header.study_instance_uid and last[0] == header.patient_id:
            with self._lock:
                # Looked at again: a flush, or a thread, may have come between.
                if last is self._last and last[2] is outcome and self._count < _MAX_INSTANCES - 1:
                    self._last_classes[header.sop_class_uid] += 1
                    self._count += 1
                    return
        key = (header.patient_id, header.study_instance_uid, _ACTIONS[outcome], SUCCESS)
        self._add(key, header.sop_class_uid, (header.patient_id, header.study_instance_uid, outcome))

    def refuse(self, sop_class: str, result: Result) -> None:
        """An instance was not taken; of which study it is nobody knows."""
        self._add(("", "", Action.CREATE, result), sop_class)

    def is_due(self) -> bool:
        """Is there something that has waited long enough?"""
        return self._count > 0 and self._recorder.monotonic() - self._since >= FLUSH_SECONDS

    def flush(self) -> None:
        """Tell of what came since the last time."""
        with self._lock:
            runs, self._runs, self._count, self._last = self._runs, {}, 0, None
        for (patient_id, study_uid, action, result), run in runs.items():
            self._tell(run.began, Part(patient_id, study_uid, run.classes), action, result)

    def end(self) -> None:
        """Nothing more will come."""
        self.flush()
        self._recorder.forget(self)

    def _add(
        self,
        key: tuple[str, str, Action, Result],
        sop_class: str,
        stored: tuple[str, str, model.Outcome] | None = None,
    ) -> None:
        with self._lock:
            if not self._count:
                self._since = self._recorder.monotonic()
            run = self._runs.get(key)
            if run is None:
                run = self._runs[key] = _Run(self._recorder.clock())
            run.classes[sop_class] += 1
            if stored is not None:
                self._last, self._last_classes = stored, run.classes
            self._count += 1
            is_full = self._count >= _MAX_INSTANCES or len(self._runs) >= _MAX_KINDS
        if is_full:
            self.flush()


@dataclass(slots=True)
class _Sent:
    completed: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)


class Transfer:
    """Counts what a retrieve sends, by study. Used by one thread."""

    def __init__(self, sink: Sink, narrator: Narrator, clock: Clock, requester: Actor) -> None:
        self.destination = requester  # a C-MOVE names another one
        self._requester = requester
        self._sink = sink
        self._narrator = narrator
        self._clock = clock
        self._studies: dict[tuple[str, str], _Sent] = {}

    def begin(self, header: InstanceHeader) -> None:
        """An instance is about to be sent; of the first one of each study a message tells."""
        key = (header.patient_id, header.study_instance_uid)
        if key not in self._studies:
            self._studies[key] = _Sent()
            part = Part(*key, {})
            message = self._narrator.begins_transfer(self._clock(), self._requester, self.destination, part)
            self._sink.post(message)

    def complete(self, header: InstanceHeader) -> None:
        """The destination has taken an instance that was begun."""
        self._studies[header.patient_id, header.study_instance_uid].completed[header.sop_class_uid] += 1

    def fail(self, header: InstanceHeader) -> None:
        """The destination has not got an instance that was begun."""
        self._studies[header.patient_id, header.study_instance_uid].failed[header.sop_class_uid] += 1

    def end(self, result: Result, wanted: Part) -> None:
        """The retrieve is over, as ``result`` says; ``wanted`` stands for what was asked for where nothing was found.

        What went and what did not are told apart: no message has both (PS3.15 A.5.2).
        """
        for (patient_id, study_uid), sent in self._studies.items():
            if sent.completed:
                self._tell(Part(patient_id, study_uid, sent.completed), SUCCESS)
            if sent.failed or not sent.completed:
                failure = result if result.outcome else Result(Outcome.MINOR_FAILURE, "not all was sent")
                self._tell(Part(patient_id, study_uid, sent.failed), failure)
        if not self._studies:
            self._tell(wanted, result)

    def _tell(self, part: Part, result: Result) -> None:
        message = self._narrator.sent(self._clock(), self._requester, self.destination, part, result)
        self._sink.post(message)


class _Allowance:
    """How many alerts may be told now. Safe to use from several threads."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._left = float(_ALERTS_AT_ONCE)
        self._at = monotonic()
        self._left_out = 0

    def take(self) -> bool:
        """May one be told?"""
        with self._lock:
            now = self._monotonic()
            self._left = min(self._left + (now - self._at) * _ALERTS_PER_SECOND, float(_ALERTS_AT_ONCE))
            self._at = now
            if self._left < 1:
                self._left_out += 1
                return False
            self._left -= 1
            return True

    def left_out(self) -> int:
        """How many could not be told since this was asked last."""
        with self._lock:
            count, self._left_out = self._left_out, 0
            return count
