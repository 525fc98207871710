"""C-FIND as SCP (PS3.4 C.4.1): the index answers, nothing else is read."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import closing

from pacsnode import log
from pacsnode.dicom import identifier
from pacsnode.dicom.response import MatchEncoder
from pacsnode.dimse import contexts, status
from pacsnode.dimse.access import Access
from pacsnode.dimse.association import Association, Message
from pacsnode.dimse.complaints import Complaints
from pacsnode.errors import InvalidQuery, PacsNodeError, PeerFailure, ProtocolViolation
from pacsnode.index.index import Index
from pacsnode.wire import message
from pacsnode.wire.command import CommandField, Element

RESPONSES_PER_SEND = 32  # a C-CANCEL is looked for between two sends


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
        answers = _Answers(association, request)
        extra: dict[Element, int | str | bytes] = {}
        try:
            code = self._answer(association, request, answers)
        except (PeerFailure, ProtocolViolation):
            raise
        except PacsNodeError as error:
            code = status.of(status.FIND, error)
            extra[Element.ERROR_COMMENT] = status.comment(error)
            if self._complaints.allows("query_failed", association.peer_address):
                log.event("query_failed", level=logging.WARNING, peer=association.titles.calling_ae, reason=error)
        answers.finish(code, extra)
        log.event(
            "find",
            peer=association.titles.calling_ae,
            matches=answers.matches,
            ms=round((time.perf_counter() - began) * 1000, 1),
            status=f"{code:04X}",
        )

    def _answer(self, association: Association, request: Message, answers: _Answers) -> int:
        data = request.data_set(association.limits.identifier)
        self._access.check(association.titles.calling_ae, "find")
        service, root = contexts.QUERY_RETRIEVE.get(request.context.abstract_syntax, (None, None))
        if service != CommandField.C_FIND_RQ or root is None:
            raise InvalidQuery("C-FIND on a presentation context of another service")
        syntax = request.context.transfer_syntax
        asked = identifier.parse_find(data, syntax, root)
        encoder = MatchEncoder(asked, syntax, retrieve_ae_title=self._retrieve_ae_title)
        answers.begin(status.PENDING_WITHOUT_OPTIONAL_KEYS if asked.unsupported else status.PENDING)
        limit = association.limits.results
        with closing(self._index.find(asked.query)) as matches:
            for match in matches:
                if limit and answers.matches == limit:
                    return status.OUT_OF_RESOURCES
                answers.add(encoder.encode(match))
                if answers.is_batch_full:
                    answers.send()
                    if association.is_cancelled(request.message_id):
                        return status.CANCEL
        return status.SUCCESS


class _Answers:
    """The responses to one request, sent many at a time, the last ones together with the final response.

    ``matches``: pending responses so far; known even when the query fails half-way.
    """

    def __init__(self, association: Association, request: Message) -> None:
        self.matches = 0
        self._association = association
        self._request = request
        self._context_id = request.context.context_id
        self._pending = b""
        self._ready: list[bytes] = []

    @property
    def is_batch_full(self) -> bool:
        """Is it time to send?"""
        return len(self._ready) >= RESPONSES_PER_SEND

    def begin(self, code: int) -> None:
        """Say the status of the pending responses to come."""
        self._pending = b"".join(self._association.response_command(self._request, code, has_data_set=True))

    def add(self, found: bytes) -> None:
        """One more match, by its identifier."""
        data = message.data_set_bytes(self._context_id, found, self._association.largest_value)
        self._ready.append(self._pending + data)
        self.matches += 1

    def send(self) -> None:
        """Send what is ready. Raises PeerFailure."""
        ready, self._ready = b"".join(self._ready), []
        self._association.send_parts([ready])

    def finish(self, code: int, extra: Mapping[Element, int | str | bytes]) -> None:
        """Send what is left, and the final response behind it. Raises PeerFailure."""
        final = self._association.response_command(self._request, code, extra, has_data_set=False)
        self._ready += map(bytes, final)
        self.send()
