"""C-MOVE as SCP (PS3.4 C.4.2): the instances go to a configured peer over associations of ours."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial

from pacsnode.archive import Archive
from pacsnode.audit import recorder
from pacsnode.audit.events import Actor
from pacsnode.audit.recorder import Recorder
from pacsnode.config import Limits
from pacsnode.dimse import peers
from pacsnode.dimse.access import Access
from pacsnode.dimse.association import Association, Message
from pacsnode.dimse.breaker import CircuitBreaker
from pacsnode.dimse.connection import Connection
from pacsnode.dimse.delivery import Delivery
from pacsnode.dimse.retrieve import RetrieveOperation
from pacsnode.dimse.send import (
    MoveOriginator,
    NothingTranscoded,
    Pair,
    Sender,
    Transcoding,
    grouped,
    pair_of,
    with_native_syntaxes,
)
from pacsnode.model import Peer
from pacsnode.wire.command import Element


class MoveService:
    """Sends what is asked for to the move destination, proposing exactly what is sent."""

    def __init__(
        self,
        archive: Archive,
        access: Access,
        *,
        ae_title: str,
        limits: Limits,
        secure: ssl.SSLContext | None = None,
        transcoding: Transcoding | None = None,
        audit: Recorder | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``secure``: for destinations with TLS, see ``tls.for_requestor``; ``transcoding``: for those that do not take
        what is compressed."""
        self._archive = archive
        self._access = access
        self._ae_title = ae_title
        self._limits = limits
        self._secure = secure
        self._transcoding = transcoding or NothingTranscoded()
        self._audit = audit or recorder.silent()
        self._monotonic = monotonic
        self._breaker = CircuitBreaker(monotonic)

    def serve(self, association: Association, request: Message) -> None:
        """Answer one C-MOVE-RQ."""
        operation = RetrieveOperation(self._archive, association, request, audit=self._audit, monotonic=self._monotonic)
        operation.serve(self._access, "move", self._send_all)

    def _send_all(self, operation: RetrieveOperation) -> None:
        destination = self._access.destination(
            operation.request.command.text(Element.MOVE_DESTINATION),
            calling_ae=operation.association.titles.calling_ae,
        )
        operation.transfer.destination = Actor(destination.ae_title, destination.host)
        kinds = self._archive.index.kinds(operation.query)
        for group in grouped(kinds, self._transcoding, peers.MAX_CONTEXTS):
            # Other groups have an association of their own; a kind that appeared since then is in none, and fails.
            self._deliver(operation, destination, group, frozenset(kinds) - frozenset(group))

    def _deliver(
        self, operation: RetrieveOperation, destination: Peer, kinds: Sequence[Pair], others: frozenset[Pair]
    ) -> None:
        titles, message_id = operation.association.titles, operation.request.message_id
        originator = MoveOriginator(titles.calling_ae, message_id)

        def make_sender(outgoing: Association) -> Sender:
            contexts, store = outgoing.contexts.values(), self._archive.store
            return Sender(
                outgoing,
                contexts,
                store,
                priority=operation.priority,
                originator=originator,
                transcoding=self._transcoding,
                moved=self._archive.moved,
            )

        delivery = Delivery(operation, destination=destination.ae_title, make_sender=make_sender)
        associate = partial(
            peers.associate,
            destination,
            with_native_syntaxes(kinds, self._transcoding),
            calling_ae=self._ae_title,
            limits=self._limits,
            secure=self._secure,
        )
        further = [lambda connected: associate(connected=connected)] * (destination.associations - 1)
        with closing(operation.instances()) as instances:
            wanted = (instance for instance in instances if pair_of(instance) not in others)
            delivery.run(wanted, [partial(self._begin, destination, associate), *further])

    @contextmanager
    def _begin(
        self,
        destination: Peer,
        associate: Callable[..., AbstractContextManager[Association]],
        connected: Callable[[Connection], None],
    ) -> Iterator[Association]:
        """The first association, which decides whether the destination is there; how many more it takes does not."""
        with ExitStack() as stack:
            with self._breaker.attempt(destination.ae_title):
                outgoing = stack.enter_context(associate(connected=connected))
            yield outgoing
