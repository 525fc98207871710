"""C-MOVE as SCP (PS3.4 C.4.2): the instances go to a configured peer over associations of ours."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice

from pacsnode import log
from pacsnode.archive import Archive
from pacsnode.config import Limits
from pacsnode.dimse import peers, status
from pacsnode.dimse.access import Access
from pacsnode.dimse.association import Association, Message
from pacsnode.dimse.breaker import CircuitBreaker
from pacsnode.dimse.contexts import PresentationContext
from pacsnode.dimse.retrieve import Cancelled, RetrieveOperation
from pacsnode.dimse.send import MoveOriginator, Sender
from pacsnode.errors import PacsNodeError, PeerFailure, ProtocolViolation
from pacsnode.model import Instance, Peer, Uid
from pacsnode.storage.store import Store
from pacsnode.wire.command import MEDIUM_PRIORITY, Element

_Pair = tuple[Uid, Uid]
_Associate = Callable[[Iterable[_Pair]], AbstractContextManager[Association]]


class MoveService:
    """Sends what is asked for to the move destination, proposing exactly what is sent."""

    def __init__(
        self,
        archive: Archive,
        access: Access,
        *,
        ae_title: str,
        limits: Limits,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._archive = archive
        self._access = access
        self._ae_title = ae_title
        self._limits = limits
        self._monotonic = monotonic
        self._breaker = CircuitBreaker(monotonic)

    def serve(self, association: Association, request: Message) -> None:
        """Answer one C-MOVE-RQ."""
        operation = RetrieveOperation(self._archive, association, request, monotonic=self._monotonic)
        operation.serve(self._access, "move", self._send_all)

    def _send_all(self, operation: RetrieveOperation) -> None:
        destination = self._access.destination(operation.request.command.text(Element.MOVE_DESTINATION))
        pairs = iter(dict.fromkeys(map(_pair, operation.instances())))
        while group := frozenset(islice(pairs, peers.MAX_CONTEXTS)):
            delivery = _Delivery(operation, self._archive.store, group)
            delivery.run(lambda pairs: self._associate(destination, pairs), destination.ae_title)

    @contextmanager
    def _associate(self, destination: Peer, pairs: Iterable[_Pair]) -> Iterator[Association]:
        with ExitStack() as stack:
            with self._breaker.attempt(destination.ae_title):
                outgoing = stack.enter_context(
                    peers.associate(destination, pairs, calling_ae=self._ae_title, limits=self._limits)
                )
            yield outgoing


class _Delivery:
    """The instances of up to 128 (SOP class, transfer syntax) pairs, over one association."""

    def __init__(self, operation: RetrieveOperation, store: Store, pairs: frozenset[_Pair]) -> None:
        self._operation = operation
        self._store = store
        self._pairs = pairs
        self._originator = MoveOriginator(operation.association.titles.calling_ae, operation.request.message_id)
        self._outgoing: Association | None = None
        self._sender: Sender | None = None
        self._contexts: dict[_Pair, PresentationContext] = {}

    def run(self, associate: _Associate, destination: str) -> None:
        """Attempt each instance; when the destination fails, what is left counts as failed. Raises Cancelled."""
        cancelled: Cancelled | None = None
        with ExitStack() as stack:
            try:
                self._begin(stack.enter_context(associate(sorted(self._pairs))))
            except PeerFailure as error:
                self._give_up(destination, error)
            try:
                for instance in self._operation.instances():
                    if _pair(instance) in self._pairs:
                        self._operation.attempt(instance, self._send)
            except Cancelled as stopped:
                cancelled = stopped  # the destination is released in good order first
        if cancelled is not None:
            raise cancelled

    def _begin(self, outgoing: Association) -> None:
        # PS3.4 C.4.2.2.1: sub-operations have the priority of the C-MOVE.
        priority = self._operation.request.command.number(Element.PRIORITY, MEDIUM_PRIORITY)
        self._contexts = {(c.abstract_syntax, c.transfer_syntax): c for c in outgoing.contexts.values()}
        self._outgoing = outgoing
        self._sender = Sender(outgoing, self._store, priority)

    def _send(self, instance: Instance) -> int:
        if self._outgoing is None or self._sender is None:
            return status.UNABLE_TO_PERFORM_SUBOPERATIONS
        context = self._contexts.get(_pair(instance))
        if context is None:
            return status.SOP_CLASS_NOT_SUPPORTED
        try:
            return self._sender.send(context, instance, self._originator)
        except (PeerFailure, ProtocolViolation) as error:
            self._outgoing.abort()
            self._give_up(self._outgoing.titles.called_ae, error)
            return status.UNABLE_TO_PERFORM_SUBOPERATIONS

    def _give_up(self, destination: str, error: PacsNodeError) -> None:
        log.event("destination_failed", level=logging.WARNING, peer=destination, reason=error)
        self._outgoing = self._sender = None


def _pair(instance: Instance) -> _Pair:
    return instance.header.sop_class_uid, instance.stored.transfer_syntax_uid
