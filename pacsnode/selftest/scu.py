"""The peer that asks: associations of pynetdicom, with every message written by hand, so that it may be wrong too."""

from __future__ import annotations

import queue
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role
from pynetdicom.association import Association
from pynetdicom.dimse import _RQ_TO_MESSAGE, _RSP_TO_MESSAGE
from pynetdicom.dimse_messages import C_CANCEL_RQ
from pynetdicom.dimse_primitives import C_CANCEL, C_STORE, N_EVENT_REPORT
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from pacsnode.dicom import syntax
from pacsnode.errors import PeerFailure
from pacsnode.model import Uid
from pacsnode.selftest.scratch import LOOPBACK

CALLING = "SELFTEST"
_ANSWER_SECONDS = 15.0
_ALL_OPTIONS = b"\1" * 5  # PS3.4 Table C.5.1-1
_PENDING = (0xFF00, 0xFF01)

Context = tuple[str, str]
"""SOP class and transfer syntax of a presentation context."""


Instance = tuple[str, bytes]
"""SOP Instance UID and data set."""


@dataclass(slots=True)
class Answers:
    """What came back for a request: statuses, data sets of pending responses, instances of C-GET's sub-operations."""

    codes: list[int] = field(default_factory=list)
    matches: list[Dataset] = field(default_factory=list)
    received: list[Instance] = field(default_factory=list)
    last: Any = None  # the primitive of the final response

    @property
    def code(self) -> int:
        """The final status; -1 where the association ended instead."""
        return self.codes[-1] if self.codes else -1


class Scu:
    """An association. Messages are written straight to the socket; pynetdicom reads the answers."""

    def __init__(self, association: Association) -> None:
        self.association = association
        self.accepted: dict[Context, int] = {}
        self.may_be_scp: dict[Context, bool] = {}
        for one in association.accepted_contexts:
            context = (str(one.abstract_syntax), str(one.transfer_syntax[0]))
            self.accepted[context] = int(one.context_id or 0)
            self.may_be_scp[context] = bool(one.as_scp)
        self.extended = {str(uid): found for uid, found in association.acceptor.sop_class_extended.items()}
        self._message_id = 0
        self._reports: list[tuple[int, Any]] = []  # that came while we waited for something else

    def ask(self, request: Any, context: Context, *, then_cancel: bool = False, answer: int = 0x0000) -> Answers:
        """Send a request, and perhaps its C-CANCEL in the same write, and read until the final response.

        ``answer``: the status for C-STORE sub-operations that come meanwhile.
        """
        self._message_id += 1
        request.MessageID = self._message_id
        messages = [(request, self.accepted[context])]
        if then_cancel:
            cancel = C_CANCEL()
            cancel.MessageIDBeingRespondedTo = self._message_id
            messages.append((cancel, self.accepted[context]))
        self.send(messages)
        return self._read(context, answer)

    def send(self, messages: Iterable[tuple[Any, int]]) -> None:
        """Messages with the ids of their contexts, in one write."""
        self.association.dul.socket.send(b"".join(self._encoded(*one) for one in messages))  # type: ignore[union-attr]

    def next_message(self) -> tuple[int, Any] | None:
        """The next message of the node with the id of its context; None where there is none any more."""
        return self._reports.pop(0) if self._reports else self._receive()

    def _receive(self) -> tuple[int, Any] | None:
        try:
            number, message = self.association.dimse.msg_queue.get(timeout=_ANSWER_SECONDS)
        except queue.Empty:
            return None
        return None if number is None or message is None else (number, message)

    def _read(self, context: Context, answer: int) -> Answers:
        answers = Answers()
        while (found := self._receive()) is not None:
            number, message = found
            if isinstance(message, N_EVENT_REPORT) and message.MessageIDBeingRespondedTo is None:
                self._reports.append(found)
                continue
            if isinstance(message, C_STORE) and message.Status is None:
                answers.received.append(instance_of(message))
                self.send([(_stored(message, answer), number)])
                continue
            answers.codes.append(int(message.Status))
            if message.Status not in _PENDING:
                answers.last = message
                break
            identifier = getattr(message, "Identifier", None)
            if identifier is not None:
                answers.matches.append(decoded(identifier, context[1]))
        return answers

    def _encoded(self, primitive: Any, context_id: int) -> bytes:
        kinds: Any = _RSP_TO_MESSAGE if primitive.MessageIDBeingRespondedTo is not None else _RQ_TO_MESSAGE
        message = C_CANCEL_RQ() if isinstance(primitive, C_CANCEL) else kinds[type(primitive)]()
        message.primitive_to_message(primitive)
        message.context_id = context_id
        encoded = b""
        for data in message.encode_msg(context_id, self.association.dimse.maximum_pdu_size):
            pdu = P_DATA_TF()
            pdu.from_primitive(data)
            encoded += pdu.encode()
        return encoded


@contextmanager
def associated(
    port: int,
    called: str,
    contexts: Sequence[Context],
    *,
    calling: str = CALLING,
    scp_of: Iterable[str] = (),
    extended: Iterable[str] = (),
) -> Iterator[Scu]:
    """An association that proposes these contexts, each with an id of its own; released at the end.

    ``scp_of``: SOP classes for which role selection asks for both roles; ``extended``: those for which extended
    negotiation asks for everything. Raises PeerFailure where it is refused.
    """
    offers: list[Any] = [build_role(uid, scu_role=True, scp_role=True) for uid in scp_of]
    offers += [_everything(uid) for uid in extended]
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = _ANSWER_SECONDS
    entity.network_timeout = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is private or retired
        association = entity.associate(
            LOOPBACK,
            port,
            contexts=[build_context(uid, transfer_syntax) for uid, transfer_syntax in contexts],
            ae_title=called,
            ext_neg=offers,
        )
    if not association.is_established:
        raise PeerFailure("the node rejects an association that it should accept")
    try:
        # Its reactor would take what is for us.
        association._reactor_checkpoint = halt = _Halt()
        if not halt.reached.wait(_ANSWER_SECONDS):
            raise PeerFailure("the association ends as soon as it is accepted")
        # Reports of storage commitments go past the reactor, to handlers: they are for us, too.
        association._serve_request = partial(_keep, association)  # type: ignore[method-assign]
        yield Scu(association)
    finally:
        if association.is_established and association.dul.is_alive():
            association.acse.negotiate_release()
        association.kill()


def _keep(association: Association, message: Any, number: int) -> None:
    association.dimse.msg_queue.put((number, message))


def _everything(uid: str) -> SOPClassExtendedNegotiation:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = uid
    item.service_class_application_information = _ALL_OPTIONS
    return item


class _Halt(threading.Event):
    """Halts the reactor of an association, and tells when it has come to that."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        """Called by the reactor between two messages."""
        self.reached.set()
        return super().wait(timeout)


def encoded(data_set: Dataset, transfer_syntax: str) -> BytesIO:
    """A data set without Pixel Data in a transfer syntax."""
    uid = Uid(transfer_syntax)
    raw = encode(data_set, syntax.is_implicit(uid), syntax.is_little_endian(uid), syntax.is_deflated(uid))
    if raw is None:
        raise ValueError(f"cannot be written in {transfer_syntax}")
    return BytesIO(raw)


def decoded(raw: BytesIO, transfer_syntax: str) -> Dataset:
    """The data set of a response."""
    uid = Uid(transfer_syntax)
    return decode(raw, syntax.is_implicit(uid), syntax.is_little_endian(uid), syntax.is_deflated(uid))


def instance_of(request: Any) -> Instance:
    """What a C-STORE-RQ brings."""
    return str(request.AffectedSOPInstanceUID), request.DataSet.getvalue()


def _stored(request: C_STORE, code: int) -> C_STORE:
    response = C_STORE()
    response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = request.AffectedSOPClassUID
    response.AffectedSOPInstanceUID = request.AffectedSOPInstanceUID
    response.Status = code
    return response


def reported(request: N_EVENT_REPORT) -> N_EVENT_REPORT:
    """The answer to a report: taken."""
    response = N_EVENT_REPORT()
    response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = request.AffectedSOPClassUID
    response.AffectedSOPInstanceUID = request.AffectedSOPInstanceUID
    response.EventTypeID = request.EventTypeID
    response.Status = 0x0000
    return response
