"""The running node: the composition of archive, services and listeners, from ready to stopped, and its reload."""

from __future__ import annotations

import gc
import logging
import math
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from signal import Signals as Signal
from types import MappingProxyType

from pacsnode import __version__, log
from pacsnode.archive import Archive
from pacsnode.audit.opening import Auditing
from pacsnode.audit.recorder import Recorder
from pacsnode.codec import sandbox
from pacsnode.codec.images import Scratch
from pacsnode.codec.sandbox import Sandbox
from pacsnode.codec.transcode import Transcoder
from pacsnode.commitment.commitments import Commitments
from pacsnode.commitment.ledger import Ledger
from pacsnode.commitment.verdict import Judge
from pacsnode.config import Address, Config, Limits
from pacsnode.dicom.charset import Assumptions
from pacsnode.dimse import contexts, server, tls
from pacsnode.dimse.access import Access
from pacsnode.dimse.admission import Admission
from pacsnode.dimse.association import Service
from pacsnode.dimse.commitment import CommitmentService
from pacsnode.dimse.complaints import Complaints
from pacsnode.dimse.crumbs import Allowances
from pacsnode.dimse.echo import EchoService
from pacsnode.dimse.find import FindService
from pacsnode.dimse.get import GetService
from pacsnode.dimse.inquiry import ReportService
from pacsnode.dimse.move import MoveService
from pacsnode.dimse.reception import Reception
from pacsnode.dimse.refusals import refusals
from pacsnode.dimse.report import ReportCaller
from pacsnode.dimse.server import Entity, Listener, Terms
from pacsnode.dimse.store import StoreService
from pacsnode.errors import CannotListen, IndexFailure, IndexFull, PacsNodeError
from pacsnode.jobs.runner import Runner
from pacsnode.jobs.schedule import scheduled
from pacsnode.metrics.counts import Counts
from pacsnode.model import Peer
from pacsnode.security import bindings, certificates
from pacsnode.security.callers import Sighting, Sightings
from pacsnode.security.certificates import Expiry
from pacsnode.security.identity import Identities
from pacsnode.service import activation, control, descriptors, systemd, watchdog
from pacsnode.service.job_order import JobOrder
from pacsnode.service.reload import Part, Reload
from pacsnode.service.signals import Signals
from pacsnode.vitals import Running, Vitals, monitored
from pacsnode.wire.command import CommandField

_SETTLE_SECONDS = 600.0
_WARN_SECONDS = 86_400.0
_ALLOCATIONS_BEFORE_COLLECTION = 20_000
_CODEC_PROCESSES = min(4, os.cpu_count() or 1)  # most that decode for retrieves at a time
_CODEC_NICENESS = 5  # who stores comes before who decodes
_ANSWER_SECONDS = 5.0  # for the watchdog: of a loop that accepts
_REPORT_END_SECONDS = 2.0  # for the thread of the reports to see that it was cut off
# What listeners and index were made with stays until they are made again.
_FIXED = {"limits.query_deadline", "limits.association_deadline"}
_TAKEN = {
    *("access", "peers", "tls", "find", "node.aliases", "node.assume_charset"),
    *("commitment.same_association_wait", "commitment.retry_for"),
    *({f"limits.{key}" for key in Limits.model_fields} - _FIXED),
}


@dataclass(frozen=True, slots=True)
class _Made:
    """What a configuration makes of a node that goes on: whoever associates from now on meets this."""

    entity: Entity
    acceptor: ssl.SSLContext | None
    requestor: ssl.SSLContext | None
    expiries: Sequence[Expiry]


class Node:
    """One node over an open archive, the ledger of what it has to report, and its jobs."""

    def __init__(
        self,
        config: Config,
        archive: Archive,
        ledger: Ledger,
        jobs: Runner,
        settle: Callable[[], None],
        read_config: Callable[[], Config],
        auditing: Auditing,
        parts: Sequence[Part] = (),
        orders: Mapping[str, control.Order] = MappingProxyType({}),
    ) -> None:
        """``settle`` is called every now and then: it notes down how far the archive is settled.

        ``read_config`` reads the configuration anew; ``parts`` are those besides the node's own that it concerns.
        ``orders``: what the node can be told to do besides running a job, by name.
        Raises ConfigError for the files of TLS.
        """
        self._config = config
        self._archive = archive
        self._ledger = ledger
        self._jobs = jobs
        self._sandbox = Sandbox(_CODEC_PROCESSES, sandbox.Limits(niceness=_CODEC_NICENESS))
        self._transcoder = Transcoder(self._sandbox, Scratch(config.node.data / "spool"))
        self._settle = settle
        self._orders: Mapping[str, control.Order] = {"job": JobOrder(jobs), **orders}
        self._auditing = auditing
        self._admission = Admission(config.limits)
        self._counts = Counts()
        self._allowances, self._complaints = Allowances(), Complaints()
        self._unknown = Sightings(archive.clock)
        self._plain = Sightings(archive.clock) if config.node.tls_listen else None
        requestor = _requestor(config)
        self._caller = ReportCaller(config.node.ae_title, config.limits, requestor)
        self._commitments = _commitments(config, archive, ledger, self._caller)
        self._made = self._make(config, requestor)
        self._counts.adopt(_callable(config))
        archive.index.observe(self._counts.committed)
        self._listeners: dict[Listener, Address] = {}
        self._activation = activation.handed_over()
        own = Part(_TAKEN, self._prepare)
        all_parts = (own, Part(["log"], _prepare_log), *parts)
        self._reload = Reload(config, read_config, all_parts, told=auditing.recorder.reconfigured)

    def run(self) -> None:
        """Listen, serve until a stop signal, drain. Raises CannotListen."""
        descriptors.raise_limit()
        with ExitStack() as stack:
            signals = Signals()
            stack.callback(signals.close)
            stack.enter_context(self._sandbox)
            plain = [stack.enter_context(self._listener(at, secured=False)) for at in self._config.node.listen]
            secured = [stack.enter_context(self._listener(at, secured=True)) for at in self._config.node.tls_listen]
            self._leave_unused()
            stack.enter_context(control.answering(self._config.node.data, self._answers(), self._orders))
            self._commitments.start()
            stack.callback(self._commitments.stop, self._config.limits.connect + _REPORT_END_SECONDS)
            stack.enter_context(scheduled(self._jobs, self._archive.clock, end_seconds=self._config.limits.drain))
            vitals = Vitals(self._config, self._archive, self._ledger, self._jobs, self._running())
            metrics = stack.enter_context(monitored(self._config, self._counts, vitals))
            _collect_less()
            log.event(
                "ready",
                listen=",".join(map(_text, plain)),
                tls_listen=",".join(map(_text, secured)) or "none",
                ae_title=self._config.node.ae_title,
                version=__version__,
                metrics=metrics,
            )
            stack.enter_context(watchdog.feeding(self._trouble))
            systemd.notify("READY=1", f"STATUS=listening on {','.join(map(_text, plain + secured))}")
            received = self._await_stop(signals)
            log.event("stopping", signal=received.name, associations=self._admission.associations)
            systemd.notify("STOPPING=1")
            self._jobs.stop()
            # Listeners go on while we drain, so that new requests hear of temporary congestion and come again later.
            self._admission.drain(self._reload.config.limits.drain)
        log.event("stopped")

    def _leave_unused(self) -> None:
        for address in self._activation.close():
            log.event("socket_unused", level=logging.WARNING, address=address)

    def _trouble(self) -> str:
        """Why this node is of no use as it is; "" where all is well: every listener accepts, and the index writes.

        A full disk is no trouble that starting again would end.
        """
        if stuck := [_text(one) for one in self._listeners if not one.is_serving(_ANSWER_SECONDS)]:
            return f"nobody accepts on {', '.join(stuck)}"
        try:
            self._archive.index.pulse()
        except IndexFull:
            return ""
        except IndexFailure as error:
            return str(error)
        return ""

    def _running(self) -> Running:
        return Running(
            associations=lambda: self._admission.associations,
            is_stopping=lambda: self._jobs.is_stopping,
            degraded=self._degraded,
            expiries=lambda: self._made.expiries,
            auditing=self._auditing,
            config=lambda: self._reload.config,
        )

    def _await_stop(self, signals: Signals) -> Signal:
        """Settle every now and then, and reload when told to, until a signal to stop."""
        warn_at = 0.0
        while True:
            if time.monotonic() >= warn_at:
                self._warn_of_expiry()
                warn_at = time.monotonic() + _WARN_SECONDS
            received = signals.wait(_SETTLE_SECONDS)
            if received is None:
                self._settle()
            elif received == Signal.SIGHUP:
                with suppress(PacsNodeError):  # which is logged
                    self._reload()
                warn_at = 0.0
            else:
                return received

    def _warn_of_expiry(self) -> None:
        for reason in self._expiring():
            log.event("certificate_expires", level=logging.WARNING, reason=reason)

    def _make(self, config: Config, requestor: ssl.SSLContext | None) -> _Made:
        archive = self._archive
        access = Access(
            titles=(config.node.ae_title, *config.node.aliases),
            peers=config.peers.values(),
            any_called_ae=not config.access.match_called_ae,
            bindings=bindings.of_peers(config),
        )
        recorder = self._auditing.recorder
        reception = Reception(access, Identities(config), self._unknown, self._plain, refusals(recorder))
        services = {
            **_services(config, archive, access, requestor, self._transcoder, recorder),
            CommandField.C_STORE_RQ: StoreService(
                archive,
                access,
                self._jobs.latency.note,
                audit=recorder,
                slow_seconds=config.log.slow_store or math.inf,
            ),
            CommandField.N_ACTION_RQ: CommitmentService(
                self._commitments, access, ae_title=config.node.ae_title, clock=archive.clock
            ),
            CommandField.N_EVENT_REPORT_RQ: ReportService(self._ledger.inquiries, archive.clock),
        }
        entity = Entity(
            reception,
            self._admission,
            services,
            config.limits,
            self._allowances,
            self._complaints,
            recorder,
            self._counts,
        )
        acceptor = tls.for_acceptor(config.tls) if config.node.tls_listen else None
        return _Made(entity, acceptor, requestor, certificates.expiries(config.tls.files))

    def _prepare(self, config: Config) -> Callable[[], None]:
        """See Part."""
        made = self._make(config, _requestor(config))

        def take_effect() -> None:
            self._made = made
            self._counts.adopt(_callable(config))
            self._archive.assumed = _assumptions(config)
            self._admission.adopt(config.limits)
            self._unknown.forget({peer.ae_title for peer in config.peers.values()})
            self._caller.adopt(config.limits, made.requestor)
            self._commitments.adopt(_callable(config), config.commitment)
            for listener, address in self._listeners.items():
                listener.adopt(self._terms(config, address, secured=listener.terms.tls is not None))

        return take_effect

    def _terms(self, config: Config, address: Address, *, secured: bool) -> Terms:
        acceptor = self._made.acceptor if secured else None
        return Terms(self._made.entity, config.accepts_unknown_peers(address), acceptor)

    def _listener(self, address: Address, *, secured: bool) -> AbstractContextManager[Listener]:
        terms = self._terms(self._config, address, secured=secured)
        try:
            listener = server.listen(
                (address.host, address.port),
                terms.entity,
                ae_title=self._config.node.ae_title,
                storage=contexts.storage_classes(self._config.storage.private_sop_classes),
                accepts_unknown=terms.accepts_unknown,
                tls=terms.tls,
                adopted=self._activation.take(address),
            )
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {address}: {error.strerror or error}; "
                f"change {'tls_listen' if secured else 'listen'} in table [node], "
                "or stop what uses the address"
            ) from error
        self._listeners[listener] = address
        return _serving(listener)

    def _answers(self) -> control.Answers:
        return {
            control.STATUS: lambda _: self._report(),
            "reload": lambda _: self._reloaded(),
            "pending": lambda _: {"pending": list(map(_row, self._unknown.all()))},
        }

    def _reloaded(self) -> dict[str, object]:
        try:
            return {"changed": self._reload()}
        except PacsNodeError as error:
            return {"error": str(error)}

    def _report(self) -> dict[str, object]:
        return {
            "associations": self._admission.associations,
            "open_commitments": self._commitments.count,
            "plain_text": [f"{one.ae_title} at {one.address}" for one in self._plain.all()] if self._plain else [],
            **self._told_of_jobs(),
        }

    def _told_of_jobs(self) -> dict[str, object]:
        try:
            jobs, reasons = self._jobs.ledger.summary(self._jobs.duties), self._degraded()
        except IndexFailure as error:
            jobs, reasons = {}, [*self._degraded(), str(error)]
        return {"jobs": jobs, "degraded": reasons}

    def _degraded(self) -> list[str]:
        reasons = (getattr(part, "degraded", "") for part in (self._archive.store, self._archive.index))
        return [*filter(None, reasons), *self._auditing.degraded, *self._expiring()]

    def _expiring(self) -> list[str]:
        now, ahead = self._archive.clock(), timedelta(seconds=self._reload.config.tls.expiry_warning)
        return [*filter(None, (expiry.warning(now, ahead) for expiry in self._made.expiries))]


@contextmanager
def _serving(listener: Listener) -> Iterator[Listener]:
    thread = threading.Thread(target=listener.serve_forever, name=f"listener {_text(listener)}", daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


def _services(
    config: Config,
    archive: Archive,
    access: Access,
    requestor: ssl.SSLContext | None,
    transcoder: Transcoder,
    audit: Recorder,
) -> Mapping[int, Service]:
    ae_title = config.node.ae_title
    return {
        CommandField.C_ECHO_RQ: EchoService(access),
        CommandField.C_FIND_RQ: FindService(
            archive.index,
            access,
            ae_title,
            archive if config.find.read_headers else None,
            assumed=_assumptions(config),
            audit=audit,
            slow_seconds=config.log.slow_query or math.inf,
        ),
        CommandField.C_GET_RQ: GetService(archive, access, transcoder, audit=audit),
        CommandField.C_MOVE_RQ: MoveService(
            archive,
            access,
            ae_title=ae_title,
            limits=config.limits,
            secure=requestor,
            transcoding=transcoder,
            audit=audit,
        ),
    }


def _commitments(config: Config, archive: Archive, ledger: Ledger, caller: ReportCaller) -> Commitments:
    storage = contexts.storage_classes(config.storage.private_sop_classes)
    return Commitments(
        ledger,
        Judge(archive, storage),
        caller,
        _callable(config),
        settings=config.commitment,
        clock=archive.clock,
    )


def _row(sighting: Sighting) -> dict[str, object]:
    return {
        "id": sighting.id,
        "ae_title": sighting.ae_title,
        "address": sighting.address,
        "tls": sighting.is_secured,
        "certificate": sighting.fingerprint and f"sha256:{sighting.fingerprint}",
        "certificate_names": list(sighting.names),
        "first_seen": sighting.first_seen.isoformat(timespec="seconds"),
        "last_seen": sighting.last_seen.isoformat(timespec="seconds"),
        "count": sighting.count,
    }


def _callable(config: Config) -> dict[str, Peer]:
    """Whom we can call, by AE title."""
    return {peer.ae_title: peer for peer in config.peers.values()}


def _requestor(config: Config) -> ssl.SSLContext | None:
    has_tls_peers = any(peer.tls for peer in config.peers.values())
    return tls.for_requestor(config.tls) if has_tls_peers else None


def _assumptions(config: Config) -> Assumptions:
    return Assumptions(config.assumed_charsets, config.node.assume_charset)


def _prepare_log(config: Config) -> Callable[[], None]:
    return partial(log.set_level, config.log.level)


def _text(listener: Listener) -> str:
    host, port = listener.server_address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _collect_less() -> None:
    """Look for garbage in cycles, of which an instance on its way in makes none, some thirty times less often.

    What is here from the start stays, and is not looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_BEFORE_COLLECTION)
