"""C-GET as SCP (PS3.4 C.4.3): the instances come back on the association that asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from pacsnode.archive import Archive
from pacsnode.audit import recorder
from pacsnode.audit.recorder import Recorder
from pacsnode.dimse.access import Access
from pacsnode.dimse.association import Association, Message
from pacsnode.dimse.retrieve import RetrieveOperation
from pacsnode.dimse.send import Load, Sender, Transcoding
from pacsnode.errors import IndexFailure
from pacsnode.model import Instance


class GetService:
    """Sends what is asked for in the contexts where the requester is SCP of storage."""

    def __init__(
        self,
        archive: Archive,
        access: Access,
        transcoding: Transcoding | None = None,
        *,
        audit: Recorder | None = None,
    ) -> None:
        """``transcoding``: for requesters that do not take what is compressed."""
        self._archive = archive
        self._access = access
        self._transcoding = transcoding
        self._audit = audit or recorder.silent()

    def serve(self, association: Association, request: Message) -> None:
        """Answer one C-GET-RQ."""
        operation = RetrieveOperation(self._archive, association, request, audit=self._audit)
        operation.serve(self._access, "get", self._send_all)

    def _send_all(self, operation: RetrieveOperation) -> None:
        association = operation.association
        # PS3.7 D.3.3.4: only where role selection made the requester SCP are we SCU.
        contexts = [context for context in association.contexts.values() if context.as_scu]
        sender = Sender(
            association,
            contexts,
            self._archive.store,
            priority=operation.priority,
            transcoding=self._transcoding,
            moved=self._archive.moved,
        )
        with closing(operation.instances()) as instances, closing(_Loads(sender, instances)) as loads:
            while (load := loads.current) is not None:
                code = sender.send(load, loads.read_ahead)
                operation.report(load.instance, code)
                loads.advance()


class _Loads:
    """What is to be sent next, loaded while the one before it is under way."""

    def __init__(self, sender: Sender, instances: Iterator[Instance]) -> None:
        self._sender = sender
        self._instances = instances
        self._ahead: Load | None = None
        self._failure: IndexFailure | None = None
        self.current = self._next()

    def read_ahead(self) -> None:
        """Load the one after the current one. An index that fails now is told of when the current one is over."""
        try:
            self._ahead = self._next()
        except IndexFailure as error:
            self._failure = error

    def advance(self) -> None:
        """The current one is over. Raises IndexFailure."""
        if self._failure is not None:
            raise self._failure
        self.current, self._ahead = self._ahead or self._next(), None

    def close(self) -> None:
        """Drop what is not going to be sent."""
        for load in (self.current, self._ahead):
            if load is not None:
                load.drop()

    def _next(self) -> Load | None:
        instance = next(self._instances, None)
        return None if instance is None else self._sender.load(instance)
