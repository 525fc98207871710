"""Associations that we ask for: C-MOVE sub-operations and tests of a peer, on the same engine as those we accept."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from pacsnode.config import Limits
from pacsnode.dimse import contexts, negotiation, tls
from pacsnode.dimse.association import Association, Titles
from pacsnode.dimse.connection import Connection, SecureConnection
from pacsnode.dimse.crumbs import Allowances
from pacsnode.dimse.transport import Transport
from pacsnode.errors import PeerFailure, ProtocolViolation
from pacsnode.model import Peer, Probe, Uid
from pacsnode.wire.command import CommandField, Element
from pacsnode.wire.items import Roles
from pacsnode.wire.pdu import AbortReason, ControlPdu, PduType

MAX_CONTEXTS = 128  # odd ids 1-255 (PS3.8 9.3.2.2)
_SCU_OF_ALL: Mapping[str, Roles] = MappingProxyType({})


@contextmanager
def associate(
    peer: Peer,
    pairs: Iterable[tuple[Uid, Uid]],
    *,
    calling_ae: str,
    limits: Limits,
    secure: ssl.SSLContext | None = None,
    roles: Mapping[str, Roles] = _SCU_OF_ALL,
    connected: Callable[[Connection], None] = lambda connection: None,
) -> Iterator[Association]:
    """An association with a peer that proposes the (SOP class, transfer syntax) pairs, at most 128.

    ``secure``: for peers with TLS, see ``tls.for_requestor``. ``roles``: what we want to be, by SOP class; elsewhere
    we are SCU.

    Released at the end of the block, aborted when the block raises. ``connected`` hears of the connection before the
    association is asked for, so that another thread may cut it. Raises PeerFailure when the peer cannot be reached,
    rejects, or speaks something else.
    """
    connection = _connect(peer, limits, secure)
    association = _request(
        connection, peer, pairs, calling_ae=calling_ae, limits=limits, roles=roles, connected=connected
    )
    try:
        yield association
    except BaseException:
        association.abort()
        raise
    try:
        association.release()
    except (PeerFailure, ProtocolViolation):
        association.close()  # what was to be done is done; how the peer says goodbye changes nothing


def probe(
    peer: Peer, *, calling_ae: str, limits: Limits, secure: ssl.SSLContext | None = None, echoes: int = 3
) -> Probe:
    """Associate, see which contexts the peer grants, and echo some times. Raises PeerFailure."""
    wanted = [contexts.VERIFICATION, *map(Uid, contexts.QUERY_RETRIEVE), *_COMMON_STORAGE]
    pairs = [(uid, syntax) for uid in wanted for syntax in map(Uid, contexts.transfer_syntaxes()[:2])]
    began = time.perf_counter()
    with associate(peer, pairs, calling_ae=calling_ae, limits=limits, secure=secure) as association:
        connected = time.perf_counter()
        accepted: dict[Uid, list[Uid]] = {}
        for context in association.contexts.values():
            accepted.setdefault(context.abstract_syntax, []).append(context.transfer_syntax)
        times = tuple(_echo(association, number + 1) for number in range(echoes))
        refused = [uid for uid in wanted if uid not in accepted]
        return Probe(round((connected - began) * 1000, 2), times, accepted, refused)


# CT, MR, CR, US, secondary capture: enough to see whether a peer takes images.
_COMMON_STORAGE = tuple(
    Uid(f"1.2.840.10008.5.1.4.1.1.{number}") for number in ("2", "4", "1", "6.1", "7", "88.11", "104.1")
)


def _echo(association: Association, message_id: int) -> float:
    context = next((c for c in association.contexts.values() if c.abstract_syntax == contexts.VERIFICATION), None)
    if context is None:
        raise PeerFailure("the peer does not accept Verification (C-ECHO)")
    began = time.perf_counter()
    association.send(
        context.context_id,
        {
            Element.AFFECTED_SOP_CLASS_UID: contexts.VERIFICATION,
            Element.COMMAND_FIELD: CommandField.C_ECHO_RQ,
            Element.MESSAGE_ID: message_id,
        },
    )
    status = association.next_response(message_id).number(Element.STATUS)
    if status:
        raise PeerFailure(f"the peer answers C-ECHO with status {status:04X}H")
    return round((time.perf_counter() - began) * 1000, 2)


def _connect(peer: Peer, limits: Limits, secure: ssl.SSLContext | None) -> Connection:
    """A connection, its TLS handshake done where the peer has TLS, all within ``limits.connect``."""
    deadline = time.monotonic() + limits.connect
    try:
        sock = socket.create_connection((peer.host, peer.port), timeout=limits.connect)
    except OSError as error:
        raise PeerFailure(f"{peer.name}: cannot connect to {peer.host}:{peer.port}: {error}") from error
    if not peer.tls:
        return Connection(sock, peer.host, limits.response)
    if secure is None:
        sock.close()
        raise PeerFailure(f"{peer.name}: it has TLS, for which there is nothing in table [tls]")
    try:
        secured = tls.connect(sock, secure, peer.tls_name or peer.host, deadline)
    except OSError as error:
        raise PeerFailure(f"{peer.name}: no TLS with {peer.host}:{peer.port}: {tls.explained(error)}") from error
    return SecureConnection(secured, peer.host, limits.response)


def _request(
    connection: Connection,
    peer: Peer,
    pairs: Iterable[tuple[Uid, Uid]],
    *,
    calling_ae: str,
    limits: Limits,
    roles: Mapping[str, Roles],
    connected: Callable[[Connection], None],
) -> Association:
    proposed = contexts.propose(pairs)
    try:
        connected(connection)
        transport = Transport(connection, limits, Allowances())
        connection.send(
            [
                negotiation.request(
                    calling_ae=calling_ae,
                    called_ae=peer.ae_title,
                    proposed=proposed,
                    maximum_length=limits.pdu,
                    roles=roles,
                )
            ]
        )
        event = transport.next_event(limits.response)
        if not isinstance(event, ControlPdu):
            raise ProtocolViolation("data before the association", reason=AbortReason.UNEXPECTED_PDU)
        if event.type == PduType.ASSOCIATE_RJ:
            raise negotiation.refusal(event.data)
        if event.type != PduType.ASSOCIATE_AC:
            raise PeerFailure("association aborted by the peer")
        answer = negotiation.read_answer(event.data, proposed, roles)
        return Association(transport, Titles(calling_ae, peer.ae_title), answer)
    except ProtocolViolation as error:
        connection.close()
        raise PeerFailure(f"{peer.name}: {error}") from error
    except BaseException:
        connection.close()
        raise
