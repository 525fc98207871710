"""C-ECHO (PS3.4 Annex A, PS3.7 9.1.5)."""

from __future__ import annotations

from pacsnode.dimse import status
from pacsnode.dimse.access import Access
from pacsnode.dimse.association import Association, Message
from pacsnode.errors import NotAllowed


class EchoService:
    """Answers Success to whoever may echo."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def serve(self, association: Association, request: Message) -> None:
        """Answer one C-ECHO-RQ."""
        try:
            self._access.check(association.titles.calling_ae, "echo")
        except NotAllowed:
            association.respond(request, status.ECHO[NotAllowed])
            return
        association.respond(request, status.SUCCESS)
