"""N-EVENT-REPORT of Storage Commitment (PS3.4 J.3.3), and the associations on which we call a peer for it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable, Iterator

from pacsnode.config import Limits
from pacsnode.dicom import commitment as data_sets
from pacsnode.dicom import syntax
from pacsnode.dimse import contexts, peers, status
from pacsnode.dimse.association import Association
from pacsnode.dimse.connection import Connection
from pacsnode.dimse.contexts import PresentationContext
from pacsnode.errors import PeerFailure, ProtocolViolation
from pacsnode.model import Commitment, Peer
from pacsnode.wire import pdu
from pacsnode.wire.command import CommandField, Element
from pacsnode.wire.items import Roles

ALL_COMMITTED, FAILURES_EXIST = 1, 2
"""Event Type ID (PS3.4 Table J.3-2)."""
# Some peers take reports in implicit VR only, so that comes first.
PAIRS = [
    (contexts.STORAGE_COMMITMENT, syntax.IMPLICIT_VR_LITTLE_ENDIAN),
    (contexts.STORAGE_COMMITMENT, syntax.EXPLICIT_VR_LITTLE_ENDIAN),
]
"""What we propose for Storage Commitment."""
_WE_ARE_SCP: dict[str, Roles] = {contexts.STORAGE_COMMITMENT: Roles(scu=False, scp=True)}
_MAX_MESSAGE_ID = 0xFFFF


def report_command(commitment: Commitment) -> dict[Element, int | str | bytes]:
    """The command of a report, without its Message ID."""
    return {
        Element.AFFECTED_SOP_CLASS_UID: contexts.STORAGE_COMMITMENT,
        Element.COMMAND_FIELD: CommandField.N_EVENT_REPORT_RQ,
        Element.AFFECTED_SOP_INSTANCE_UID: contexts.STORAGE_COMMITMENT_INSTANCE,
        Element.EVENT_TYPE_ID: FAILURES_EXIST if commitment.failed else ALL_COMMITTED,
    }


def is_taken(code: int) -> bool:
    """Does this status of an N-EVENT-REPORT-RSP say that the peer has the report?"""
    return code == status.SUCCESS or status.is_warning(code)


class ReportCaller:
    """Calls peers, each from a thread of its own; role selection makes us the SCP (PS3.7 D.3.3.4)."""

    def __init__(self, retrieve_ae_title: str, limits: Limits, secure: ssl.SSLContext | None = None) -> None:
        """``secure``: for peers with TLS, see ``tls.for_requestor``."""
        self._retrieve_ae_title = retrieve_ae_title
        self._means = limits, secure
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._is_cut = False

    def adopt(self, limits: Limits, secure: ssl.SSLContext | None) -> None:
        """Call by these from now on."""
        self._means = limits, secure

    def report(
        self, peer: Peer, called_ae: str, commitments: Iterable[Commitment]
    ) -> Iterator[tuple[Commitment, bool]]:
        """See Caller.report."""
        opened: list[Connection] = []
        limits, secure = self._means

        def connected(connection: Connection) -> None:
            opened.append(connection)
            self._enter(connection)

        try:
            with peers.associate(
                peer,
                PAIRS,
                calling_ae=called_ae or self._retrieve_ae_title,
                limits=limits,
                secure=secure,
                roles=_WE_ARE_SCP,
                connected=connected,
            ) as association:
                context = next((one for one in association.contexts.values() if one.as_scp), None)
                if context is None:
                    raise PeerFailure("the peer does not accept Storage Commitment with us as SCP")
                for number, commitment in enumerate(commitments):
                    yield commitment, self._report(association, context, number % _MAX_MESSAGE_ID + 1, commitment)
        except ProtocolViolation as error:
            raise PeerFailure(f"{peer.name}: {error}") from error
        finally:
            with self._lock:
                self._connections.difference_update(opened)

    def cut(self) -> None:
        """See Caller.cut."""
        with self._lock:
            self._is_cut = True
            for connection in self._connections:
                connection.cut(pdu.abort(0))

    def _enter(self, connection: Connection) -> None:
        with self._lock:
            if self._is_cut:
                raise PeerFailure("the node is stopping")
            self._connections.add(connection)

    def _report(
        self, association: Association, context: PresentationContext, message_id: int, commitment: Commitment
    ) -> bool:
        data_set = data_sets.encode_report(
            commitment, context.transfer_syntax, retrieve_ae_title=self._retrieve_ae_title
        )
        command = {**report_command(commitment), Element.MESSAGE_ID: message_id}
        association.send(context.context_id, command, data_set)
        return is_taken(association.next_response(message_id).number(Element.STATUS))
