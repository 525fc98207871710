"""The running node: the composition of archive, services and listeners, from ready to stopped."""

from __future__ import annotations

import gc
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager

from pacsnode import __version__, log
from pacsnode.archive import Archive
from pacsnode.audit.opening import Auditing
from pacsnode.audit.recorder import Recorder
from pacsnode.commitment.commitments import Commitments
from pacsnode.commitment.ledger import Ledger
from pacsnode.commitment.verdict import Judge
from pacsnode.config import Address, Config
from pacsnode.dimse import contexts, server, tls
from pacsnode.dimse.access import Access
from pacsnode.dimse.admission import Admission
from pacsnode.dimse.association import Service
from pacsnode.dimse.commitment import CommitmentService
from pacsnode.dimse.echo import EchoService
from pacsnode.dimse.find import FindService
from pacsnode.dimse.get import GetService
from pacsnode.dimse.inquiry import ReportService
from pacsnode.dimse.move import MoveService
from pacsnode.dimse.report import ReportCaller
from pacsnode.dimse.server import Entity, Listener
from pacsnode.dimse.store import StoreService
from pacsnode.errors import CannotListen
from pacsnode.service import control, descriptors, systemd
from pacsnode.service.signals import StopSignals
from pacsnode.wire.command import CommandField

_SETTLE_SECONDS = 600.0
_ALLOCATIONS_BEFORE_COLLECTION = 20_000
_REPORT_END_SECONDS = 2.0  # for the thread of the reports to see that it was cut off


class Node:
    """One node over an open archive, and the ledger of what it has to report."""

    def __init__(
        self, config: Config, archive: Archive, ledger: Ledger, settle: Callable[[], None], auditing: Auditing
    ) -> None:
        """``settle`` is called every now and then: it notes down how far the archive is settled.

        Raises ConfigError for the files of TLS.
        """
        self._config = config
        self._archive = archive
        self._settle = settle
        self._auditing = auditing
        self._admission = Admission(config.limits)
        access = Access(
            titles=(config.node.ae_title, *config.node.aliases),
            peers=config.peers.values(),
            any_called_ae=not config.access.match_called_ae,
        )
        self._acceptor = tls.for_acceptor(config.tls) if config.node.tls_listen else None
        has_tls_peers = any(peer.tls for peer in config.peers.values())
        requestor = tls.for_requestor(config.tls) if has_tls_peers else None
        self._commitments = _commitments(config, archive, ledger, requestor)
        services = {
            **_services(config, archive, access, requestor, auditing.recorder),
            CommandField.N_ACTION_RQ: CommitmentService(
                self._commitments, access, ae_title=config.node.ae_title, clock=archive.clock
            ),
            CommandField.N_EVENT_REPORT_RQ: ReportService(ledger.inquiries, archive.clock),
        }
        self._entity = Entity(access, self._admission, services, config.limits, audit=auditing.recorder)

    def run(self) -> None:
        """Listen, serve until a stop signal, drain. Raises CannotListen."""
        descriptors.raise_limit()
        with ExitStack() as stack:
            signals = StopSignals()
            stack.callback(signals.close)
            plain = [stack.enter_context(self._listener(at, None)) for at in self._config.node.listen]
            secured = [stack.enter_context(self._listener(at, self._acceptor)) for at in self._config.node.tls_listen]
            stack.enter_context(control.answering(self._config.node.data, self._report))
            self._commitments.start()
            stack.callback(self._commitments.stop, self._config.limits.connect + _REPORT_END_SECONDS)
            _collect_less()
            log.event(
                "ready",
                listen=",".join(map(_text, plain)),
                tls_listen=",".join(map(_text, secured)) or "none",
                ae_title=self._config.node.ae_title,
                version=__version__,
            )
            systemd.notify("READY=1", f"STATUS=listening on {','.join(map(_text, plain + secured))}")
            while (received := signals.wait(_SETTLE_SECONDS)) is None:
                self._settle()
            log.event("stopping", signal=received.name, associations=self._admission.associations)
            systemd.notify("STOPPING=1")
            # Listeners go on while we drain, so that new requests hear of temporary congestion and come again later.
            self._admission.drain(self._config.limits.drain)
        log.event("stopped")

    def _listener(self, address: Address, acceptor: ssl.SSLContext | None) -> AbstractContextManager[Listener]:
        try:
            listener = server.listen(
                (address.host, address.port),
                self._entity,
                ae_title=self._config.node.ae_title,
                storage=contexts.storage_classes(self._config.storage.private_sop_classes),
                accepts_unknown=self._config.accepts_unknown_peers(address),
                tls=acceptor,
            )
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {address}: {error.strerror or error}; "
                f"change {'listen' if acceptor is None else 'tls_listen'} in table [node], "
                "or stop what uses the address"
            ) from error
        return _serving(listener)

    def _report(self) -> dict[str, object]:
        return {
            "associations": self._admission.associations,
            "open_commitments": self._commitments.count,
            "degraded": self._degraded(),
        }

    def _degraded(self) -> list[str]:
        reasons = (getattr(part, "degraded", "") for part in (self._archive.store, self._archive.index))
        return [*(reason for reason in reasons if reason), *self._auditing.degraded]


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
    config: Config, archive: Archive, access: Access, requestor: ssl.SSLContext | None, audit: Recorder
) -> Mapping[int, Service]:
    ae_title = config.node.ae_title
    return {
        CommandField.C_ECHO_RQ: EchoService(access),
        CommandField.C_STORE_RQ: StoreService(archive, access, audit),
        CommandField.C_FIND_RQ: FindService(
            archive.index,
            access,
            ae_title,
            archive if config.find.read_headers else None,
            assumed=archive.assumed,
            audit=audit,
        ),
        CommandField.C_GET_RQ: GetService(archive, access, audit),
        CommandField.C_MOVE_RQ: MoveService(
            archive, access, ae_title=ae_title, limits=config.limits, secure=requestor, audit=audit
        ),
    }


def _commitments(config: Config, archive: Archive, ledger: Ledger, requestor: ssl.SSLContext | None) -> Commitments:
    storage = contexts.storage_classes(config.storage.private_sop_classes)
    return Commitments(
        ledger,
        Judge(archive, storage),
        ReportCaller(config.node.ae_title, config.limits, requestor),
        {peer.ae_title: peer for peer in config.peers.values()},
        settings=config.commitment,
        clock=archive.clock,
    )


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
