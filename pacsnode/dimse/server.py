"""The acceptor: a pynetdicom application entity whose server runs our association loop, one thread each."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from pynetdicom import AE, _config
from pynetdicom.presentation import PresentationContext as Proposed
from pynetdicom.transport import AssociationServer, RequestHandler

from pacsnode import log
from pacsnode.audit import recorder
from pacsnode.audit.recorder import Recorder
from pacsnode.config import Limits
from pacsnode.dicom import part10
from pacsnode.dimse import contexts, negotiation, waiting
from pacsnode.dimse.admission import Admission
from pacsnode.dimse.association import Association, Service, Titles, serve_operations
from pacsnode.dimse.complaints import Complaints
from pacsnode.dimse.connection import Connection, SecureConnection
from pacsnode.dimse.crumbs import Allowances
from pacsnode.dimse.negotiation import Rejection, Request
from pacsnode.dimse.observer import NOBODY, Observer
from pacsnode.dimse.reception import Reception, caller_of
from pacsnode.dimse.tls import explained
from pacsnode.dimse.transport import Transport
from pacsnode.dimse.waiting import WaitingRoom
from pacsnode.errors import PacsNodeError, PeerFailure, PeerSilent, ProtocolViolation
from pacsnode.model import Uid
from pacsnode.security.bindings import Caller
from pacsnode.wire import pdu
from pacsnode.wire.pdu import AbortReason, ControlPdu, PduType

_Socket = socket.socket  # in a class that has an attribute of this name
_PAUSE_SECONDS = 0.1
_NO_ROOM = (errno.EMFILE, errno.ENFILE)
_A_FEW_BYTES = 64
_RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Entity:
    """What all listeners of the node share."""

    reception: Reception
    admission: Admission
    services: Mapping[int, Service]
    limits: Limits
    allowances: Allowances = field(default_factory=Allowances)
    complaints: Complaints = field(default_factory=Complaints)
    audit: Recorder = field(default_factory=recorder.silent)
    observer: Observer = NOBODY


@dataclass(frozen=True, slots=True)
class Terms:
    """On which a listener takes connections. A connection keeps those that it began on to its end."""

    entity: Entity
    accepts_unknown: bool
    tls: ssl.SSLContext | None


def listen(
    address: tuple[str, int],
    entity: Entity,
    *,
    ae_title: str,
    storage: frozenset[Uid],
    accepts_unknown: bool,
    tls: ssl.SSLContext | None = None,
    adopted: socket.socket | None = None,
) -> Listener:
    """Bind and listen on an address; associations are served once ``serve_forever`` runs. Raises OSError.

    ``adopted`` is a socket that listens there already, and belongs to the listener from now on.
    """
    # pynetdicom would log identifiers, which hold patient data.
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    application_entity = AE(ae_title)
    application_entity.implementation_class_uid = part10.IMPLEMENTATION_CLASS_UID
    application_entity.implementation_version_name = part10.IMPLEMENTATION_VERSION_NAME
    application_entity.maximum_pdu_size = entity.limits.pdu
    made = application_entity.make_server(
        address,
        contexts=contexts.supported(storage),  # as its own attribute the entity would drop the roles
        server_class=Listener,
        request_handler=_Handler,
        terms=Terms(entity, accepts_unknown, tls),
        adopted=adopted,
    )
    return cast(Listener, made)


class Listener(AssociationServer):
    """One listening socket: accepts, counts, and starts a thread for each connection. Nothing else happens here."""

    request_queue_size = 1024  # a burst of connections that overflows it costs the next good one a second or three
    socket: _Socket

    def __init__(self, *args: Any, terms: Terms, adopted: _Socket | None = None, **kwargs: Any) -> None:
        self.terms = terms
        self._adopted = adopted
        self._goes_round = threading.Event()
        self._stopped = threading.Event()
        self._wake_reader, self._wake_writer = socket.socketpair()
        super().__init__(*args, **kwargs)
        # The kernel tells us of a connection when its first bytes have come: silent ones cost no thread.
        patience = math.ceil(self.terms.entity.limits.association_deadline)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, patience)
        self.supported: dict[str, Proposed] = {str(context.abstract_syntax): context for context in self.contexts}

    def server_bind(self) -> None:
        """Bind, but for a socket that was handed over."""
        if self._adopted is None:
            super().server_bind()
            return
        self.socket.close()
        self.socket = self._adopted
        self.server_address = self.socket.getsockname()

    def is_serving(self, seconds: float) -> bool:
        """Does the loop that accepts go round within this time? Asked by one thread, while ``serve_forever`` runs.

        No connection is made for it: it would need rights, and who floods the port could have the node taken for dead.
        """
        self._goes_round.clear()
        self._wake_writer.send(b"\0")
        return self._goes_round.wait(seconds)

    def adopt(self, terms: Terms) -> None:
        """Take connections on these terms from now on; those that are there keep theirs."""
        self.terms = terms

    def serve_forever(self, poll_interval: float | None = None) -> None:
        """Accept until ``shutdown``; blocks, never polls."""
        with selectors.DefaultSelector() as selector:
            room = WaitingRoom(selector, self.terms.entity.limits.association_deadline)
            selector.register(self._wake_reader, selectors.EVENT_READ)
            selector.register(self.socket, selectors.EVENT_READ)
            while not self._stopped.is_set():
                ready = [key for key, _ in selector.select(room.timeout())]
                for key in ready:
                    if key.data is not None:
                        self._heard(room, *key.data)
                    elif key.fileobj is self._wake_reader:
                        self._wake_reader.recv(_A_FEW_BYTES)
                # Last, since those who went have left their descriptors behind.
                if any(key.fileobj is self.socket for key in ready):
                    self._accept(room)
                for sock in room.overdue():
                    self._drop(room, sock)
                self._goes_round.set()
            for sock in room.everybody():
                self._drop(room, sock)

    def shutdown(self) -> None:
        """Stop accepting; associations go on. May be called twice, from any thread."""
        self._stopped.set()
        self._wake_writer.send(b"\0")

    def server_close(self) -> None:
        """Close the listening socket. Unlike pynetdicom's, leaves associations to the admission's drain."""
        self.socket.close()
        self._wake_reader.close()
        self._wake_writer.close()

    def _accept(self, room: WaitingRoom) -> None:
        try:
            sock, address = self.socket.accept()
        except OSError as error:
            self._accept_failed(error)
            return
        self.terms.entity.admission.enter(sock, address[0])
        if waiting.has_header(sock):
            self._start(sock, address)
        elif waiting.is_gone(sock):
            self._end(sock)
        else:
            room.take(sock, address)

    def _accept_failed(self, error: OSError) -> None:
        """Out of descriptors: the connection stays in the queue, and the one that has been silent longest goes.

        Where all are associations there is nothing to do but wait, without spinning.
        """
        if self.terms.entity.complaints.allows("accept_failed", ""):
            log.event("accept_failed", level=logging.ERROR, reason=error)
        if error.errno not in _NO_ROOM or not self.terms.entity.admission.make_room():
            self._stopped.wait(_PAUSE_SECONDS)

    def _heard(self, room: WaitingRoom, sock: _Socket, address: tuple[Any, ...]) -> None:
        """A connection that waited has sent a header, or has gone."""
        room.leave(sock)
        if waiting.has_header(sock):
            self._start(sock, address)
        else:
            self._end(sock)

    def _drop(self, room: WaitingRoom, sock: _Socket) -> None:
        room.leave(sock)
        self._end(sock)

    def _end(self, sock: _Socket) -> None:
        self.terms.entity.admission.leave(sock)
        with contextlib.suppress(OSError):
            sock.recv(_A_FEW_BYTES, socket.MSG_DONTWAIT)  # closing with unread bytes would be a reset
        sock.close()

    def _start(self, sock: _Socket, address: tuple[Any, ...]) -> None:
        """Serve the connection in a thread of its own."""
        self.terms.entity.admission.spoke(sock)
        thread = threading.Thread(
            target=self.RequestHandlerClass, args=(sock, address, self), name=f"association {address[0]}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            if self.terms.entity.complaints.allows("connection_refused", address[0]):
                log.event("connection_refused", level=logging.ERROR, address=address[0], reason=error)
            self._end(sock)


class _Handler(RequestHandler):
    """One connection from its first byte to its last."""

    server: Listener

    def setup(self) -> None:
        """Only this: pynetdicom's would make an Association of its own."""
        self.terms = self.server.terms

    def handle(self) -> None:
        """The outermost loop of an association: whatever happens, the connection ends and the node goes on."""
        address, admission = str(self.client_address[0]), self.terms.entity.admission
        whole_by = time.monotonic() + self.terms.entity.limits.association_deadline
        connection = Connection(self.request, address, self.terms.entity.limits.response)
        is_waiting = True
        try:
            if self.terms.tls is not None:
                connection = self._secure(address, self.terms.tls)
            association = self._associate(self._transport(connection), whole_by)
            admission.leave(self.request)
            is_waiting = False
            if association is not None:
                _run(association, self.terms.entity)
        except PacsNodeError as error:
            if isinstance(error, ProtocolViolation):
                connection.finish(pdu.abort(2, error.reason))
                self.terms.entity.observer.violated(_name(error.reason))
            if not is_waiting or not admission.was_evicted(self.request):
                self._log_end(address, error)
        except Exception:  # noqa: BLE001 - one of the three outermost loops; logged with its place
            if self.terms.entity.complaints.allows("connection_crashed", address):
                log.crash("connection_crashed", address=address)
            connection.finish(pdu.abort(2))
        finally:
            admission.leave(self.request)
            connection.close()

    def finish(self) -> None:
        """Nothing left to finish."""

    def _log_end(self, address: str, error: PacsNodeError) -> None:
        if self.terms.entity.complaints.allows("connection_ended", address):
            level = logging.INFO if isinstance(error, PeerFailure) else logging.WARNING
            log.event("connection_ended", level=level, address=address, reason=error)

    def _secure(self, address: str, tls: ssl.SSLContext) -> Connection:
        """Handshake in this thread, under a deadline: never where others are accepted."""
        admission, limits = self.terms.entity.admission, self.terms.entity.limits
        try:
            secured = tls.wrap_socket(self.request, server_side=True, do_handshake_on_connect=False)
        except OSError as error:
            raise PeerFailure(f"TLS handshake failed: {explained(error)}") from error
        admission.exchange(self.request, secured)
        self.request = secured
        if admission.was_evicted(secured):
            secured.close()
            raise PeerFailure("had to make room")
        try:
            secured.settimeout(limits.association_deadline)
            secured.do_handshake()
        except OSError as error:
            secured.close()
            if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
                self.terms.entity.audit.handshake_failed(address, explained(error))
            raise PeerFailure(f"TLS handshake failed: {explained(error)}") from error
        return SecureConnection(secured, address, limits.response)

    def _transport(self, connection: Connection) -> Transport:
        return Transport(connection, self.terms.entity.limits, self.terms.entity.allowances)

    def _associate(self, transport: Transport, whole_by: float) -> Association | None:
        """Read the A-ASSOCIATE-RQ and answer it; None when it was rejected. Raises PeerFailure, ProtocolViolation."""
        entity = self.terms.entity
        event = transport.next_event(entity.limits.association_deadline, whole_by=whole_by)
        if isinstance(event, ControlPdu) and event.type == PduType.ABORT:
            raise PeerFailure("aborted by the peer")
        if not isinstance(event, ControlPdu) or event.type != PduType.ASSOCIATE_RQ:
            raise ProtocolViolation("expected an A-ASSOCIATE-RQ", reason=AbortReason.UNEXPECTED_PDU)
        request = negotiation.read_request(event.data)
        caller = caller_of(
            transport.connection.peer_address, self.request if isinstance(self.request, ssl.SSLSocket) else None
        )
        found = entity.reception.receive(request, caller, accepts_unknown=self.terms.accepts_unknown, deadline=whole_by)
        if isinstance(found, Rejection):
            self._reject(transport.connection, request, caller, found)
            return None
        answer, encoded = negotiation.answer(request, self.server.supported, entity.limits.pdu, found.response)
        titles = Titles(request.calling_ae, request.called_ae, found.name)
        association = Association(transport, titles, answer, entity.observer)
        rejection = entity.admission.admit(association, entity.reception.access.associations(request.calling_ae))
        if rejection is not None:
            self._reject(transport.connection, request, caller, rejection)
            return None
        try:
            transport.connection.send([encoded])
        except PeerFailure:
            entity.admission.remove(association)
            raise
        entity.reception.welcome(request, caller)
        if found.is_proven:
            entity.audit.authenticated(association.actor)
        entity.observer.opened()
        return association

    def _reject(self, connection: Connection, request: Request, caller: Caller, rejection: Rejection) -> None:
        said = {
            "address": caller.address,
            "calling": request.calling_ae,
            "called": request.called_ae,
            "reason": rejection.words,
        }
        if rejection.is_alert:
            if self.terms.entity.complaints.allows("security_alert", caller.address):
                shown = caller.certificate.fingerprint if caller.certificate else None
                log.event("security_alert", level=logging.WARNING, **said, certificate=shown)
        elif self.terms.entity.complaints.allows("association_rejected", caller.address):
            log.event("association_rejected", level=logging.WARNING, **said)
        self.terms.entity.reception.refused(request, caller, rejection)
        self.terms.entity.observer.rejected(rejection.result, rejection.source, rejection.reason)
        connection.finish(pdu.associate_rj(rejection.result, rejection.source, rejection.reason))


def _run(association: Association, entity: Entity) -> None:
    """Serve an association to its end and log how it was."""
    began = time.monotonic()
    ended = "crashed"
    try:
        serve_operations(association, entity.services)
        ended = _RELEASED
    except PeerFailure as error:
        ended = str(error)
        if isinstance(error, PeerSilent):
            association.cut()
    except ProtocolViolation as error:
        ended = f"aborted: {error}"
        entity.observer.violated(_name(error.reason))
        association.abort(error.reason)
    finally:
        entity.admission.remove(association)
        # Only what was of use to the peer is certain to be logged.
        if (association.served and ended == _RELEASED) or entity.complaints.allows(
            "association", association.peer_address
        ):
            log.event(
                "association",
                peer=association.titles.calling_ae,
                called=association.titles.called_ae,
                user=association.titles.user or None,
                address=association.peer_address,
                contexts=len(association.contexts),
                operations=association.served,
                seconds=round(time.monotonic() - began, 3),
                ended=ended,
            )
    association.close()


def _name(reason: int) -> str:
    """Of an abort reason, as a label."""
    return AbortReason(reason).name.lower()
