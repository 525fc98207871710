"""C-GET as SCP (PS3.4 C.4.3): the instances come back on the association that asked."""

from __future__ import annotations

from pacsnode.archive import Archive
from pacsnode.dimse import status
from pacsnode.dimse.access import Access
from pacsnode.dimse.association import Association, Message
from pacsnode.dimse.retrieve import RetrieveOperation
from pacsnode.dimse.send import Sender
from pacsnode.model import Instance
from pacsnode.wire.command import MEDIUM_PRIORITY, Element


class GetService:
    """Sends what is asked for in the contexts where the requester is SCP of storage."""

    def __init__(self, archive: Archive, access: Access) -> None:
        self._archive = archive
        self._access = access

    def serve(self, association: Association, request: Message) -> None:
        """Answer one C-GET-RQ."""
        operation = RetrieveOperation(self._archive, association, request)
        operation.serve(self._access, "get", self._send_all)

    def _send_all(self, operation: RetrieveOperation) -> None:
        association = operation.association
        # PS3.7 D.3.3.4: only where role selection made the requester SCP are we SCU.
        contexts = {(c.abstract_syntax, c.transfer_syntax): c for c in association.contexts.values() if c.as_scu}
        # PS3.4 C.4.3.2.1: sub-operations have the priority of the C-GET.
        priority = operation.request.command.number(Element.PRIORITY, MEDIUM_PRIORITY)
        sender = Sender(association, self._archive.store, priority)

        def send(instance: Instance) -> int:
            context = contexts.get((instance.header.sop_class_uid, instance.stored.transfer_syntax_uid))
            return status.SOP_CLASS_NOT_SUPPORTED if context is None else sender.send(context, instance)

        for instance in operation.instances():
            operation.attempt(instance, send)
