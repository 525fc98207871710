"""C-FIND as SCP (PS3.4 C.4.1): the index answers, nothing else is read."""

from __future__ import annotations

import logging
import time
from contextlib import closing

from pacsnode import log
from pacsnode.dicom import identifier
from pacsnode.dimse import contexts, status
from pacsnode.dimse.access import Access
from pacsnode.dimse.association import Association, Message
from pacsnode.dimse.complaints import Complaints
from pacsnode.errors import InvalidQuery, PacsNodeError, PeerFailure, ProtocolViolation
from pacsnode.index.index import Index
from pacsnode.wire.command import CommandField, Element
from pacsnode.wire.message import Parts

_RESPONSES_PER_SEND = 16  # a C-CANCEL is looked for between two sends


class FindService:
    """Answers queries in all three information models."""

    def __init__(self, index: Index, access: Access, retrieve_ae_title: str) -> None:
        self._index = index
        self._access = access
        self._retrieve_ae_title = retrieve_ae_title
        self._complaints = Complaints()

    def serve(self, association: Association, request: Message) -> None:
        """Answer one C-FIND-RQ: a pending response for each match, then the final one (PS3.4 C.4.1.3)."""
        began = time.perf_counter()
        counted = _Count()
        extra: dict[Element, int | str | bytes] = {}
        try:
            code = self._answer(association, request, counted)
        except (PeerFailure, ProtocolViolation):
            raise
        except PacsNodeError as error:
            code = status.of(status.FIND, error)
            extra[Element.ERROR_COMMENT] = status.comment(error)
            if self._complaints.allows("query_failed", association.peer_address):
                log.event("query_failed", level=logging.WARNING, peer=association.titles.calling_ae, reason=error)
        association.respond(request, code, extra)
        log.event(
            "find",
            peer=association.titles.calling_ae,
            matches=counted.matches,
            ms=round((time.perf_counter() - began) * 1000, 1),
            status=f"{code:04X}",
        )

    def _answer(self, association: Association, request: Message, counted: _Count) -> int:
        data = request.data_set(association.limits.identifier)
        self._access.check(association.titles.calling_ae, "find")
        service, root = contexts.QUERY_RETRIEVE.get(request.context.abstract_syntax, (None, None))
        if service != CommandField.C_FIND_RQ or root is None:
            raise InvalidQuery("C-FIND on a presentation context of another service")
        asked = identifier.parse_find(data, request.context.transfer_syntax, root)
        pending = status.PENDING_WITHOUT_OPTIONAL_KEYS if asked.unsupported else status.PENDING
        command = association.response_command(request, pending, has_data_set=True)
        limit = association.limits.results
        ready: Parts = []
        with closing(self._index.find(asked.query)) as matches:
            for match in matches:
                if limit and counted.matches == limit:
                    association.send_parts(ready)
                    return status.OUT_OF_RESOURCES
                found = identifier.encode_match(
                    asked, match, request.context.transfer_syntax, retrieve_ae_title=self._retrieve_ae_title
                )
                ready += command
                ready += association.data_set_parts(request, found)
                counted.matches += 1
                if counted.matches % _RESPONSES_PER_SEND == 0:
                    association.send_parts(ready)
                    ready = []
                    if association.is_cancelled(request.message_id):
                        return status.CANCEL
        if ready:
            association.send_parts(ready)
        return status.SUCCESS


class _Count:
    """Matches sent so far; known even when the query fails half-way."""

    matches = 0
