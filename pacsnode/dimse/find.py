"""C-FIND as SCP (PS3.4 C.4.1): the index answers; where that is wished, objects tell of what it does not have."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from typing import Protocol

from pacsnode import log
from pacsnode.audit import recorder
from pacsnode.audit.events import Result
from pacsnode.audit.recorder import Recorder
from pacsnode.dicom import identifier
from pacsnode.dicom.attributes import Attribute
from pacsnode.dicom.charset import Assumptions
from pacsnode.dicom.identifier import FindRequest, Rules
from pacsnode.dicom.response import MatchEncoder
from pacsnode.dimse import contexts, results, status
from pacsnode.dimse.access import Access
from pacsnode.dimse.association import Association, Message
from pacsnode.dimse.complaints import Complaints
from pacsnode.errors import (
    ObjectDamaged,
    ObjectNotFound,
    PacsNodeError,
    PeerFailure,
    ProtocolViolation,
    SopClassNotSupported,
)
from pacsnode.index.index import Index
from pacsnode.model import OBJECT_KEY, Key, Match
from pacsnode.wire import message
from pacsnode.wire.command import CommandField, Element

RESPONSES_PER_SEND = 32  # a C-CANCEL is looked for between two sends


class HeaderSource(Protocol):
    """Where objects are read; an Archive is one."""

    def values(self, key: Key, attributes: Sequence[Attribute]) -> dict[str, str]:
        """What the object says of the attributes, by name. Raises ObjectNotFound, ObjectDamaged."""


class FindService:
    """Answers queries in all three information models.

    With ``headers`` optional keys that the index does not have are told from one object for each match.
    """

    def __init__(
        self,
        index: Index,
        access: Access,
        retrieve_ae_title: str,
        headers: HeaderSource | None = None,
        *,
        assumed: Assumptions = Assumptions(),  # noqa: B008 - frozen
        audit: Recorder | None = None,
        slow_seconds: float = math.inf,
    ) -> None:
        """``assumed``: in which character set a query that declares none is read, and answered where that can be.

        A query that takes ``slow_seconds`` or more is logged with what it asked for: names of keys, no values.
        """
        self._slow_seconds = slow_seconds
        self._index = index
        self._headers = headers
        self._access = access
        self._retrieve_ae_title = retrieve_ae_title
        self._assumed = assumed
        self._audit = audit or recorder.silent()
        self._complaints = Complaints()

    def serve(self, association: Association, request: Message) -> None:
        """Answer one C-FIND-RQ: a pending response for each match, then the final one (PS3.4 C.4.1.3)."""
        began = time.perf_counter()
        answers = _Answers(association, request)
        extra: dict[Element, int | str | bytes] = {}
        try:
            code = self._answer(association, request, answers)
            if answers.comment:
                extra[Element.ERROR_COMMENT] = answers.comment
        except (PeerFailure, ProtocolViolation):
            self._tell(association, request, answers.identifier, results.BROKEN_OFF)
            raise
        except PacsNodeError as error:
            code = status.of(status.FIND, error)
            extra[Element.ERROR_COMMENT] = status.comment(error)
            if self._complaints.allows("query_failed", association.peer_address):
                log.event("query_failed", level=logging.WARNING, peer=association.titles.calling_ae, reason=error)
        self._tell(association, request, answers.identifier, results.of(code))
        answers.finish(code, extra)
        seconds = time.perf_counter() - began
        peer, ms = association.titles.calling_ae, round(seconds * 1000, 1)
        log.event("find", peer=peer, matches=answers.matches, ms=ms, status=f"{code:04X}")
        if seconds >= self._slow_seconds:
            log.event(
                "slow_query",
                level=logging.WARNING,
                peer=peer,
                at=answers.level,
                keys=",".join(answers.keys) or "none",
                matches=answers.matches,
                ms=ms,
            )

    def _tell(self, association: Association, request: Message, data: bytes, result: Result) -> None:
        context = request.context
        self._audit.queried(
            association.actor,
            sop_class=context.abstract_syntax,
            syntax=context.transfer_syntax,
            identifier=data,
            result=result,
        )

    def _answer(self, association: Association, request: Message, answers: _Answers) -> int:
        data = answers.identifier = request.data_set(association.limits.identifier)
        self._access.check(association.titles.calling_ae, "find")
        service, root = contexts.QUERY_RETRIEVE.get(request.context.abstract_syntax, (None, None))
        if service != CommandField.C_FIND_RQ or root is None:
            raise SopClassNotSupported("C-FIND on a presentation context of another service")
        syntax = request.context.transfer_syntax
        calling_ae = association.titles.calling_ae
        rules = Rules(
            combines_date_and_time=request.context.combines_date_and_time,
            reads_headers=self._headers is not None,
            matches_unknown=self._access.matches_unknown(calling_ae),
        )
        asked = identifier.parse_find(data, syntax, root, rules, assumed=self._assumed.of(calling_ae))
        answers.level, answers.keys = asked.query.level.name, sorted(asked.query.conditions)
        encoder = MatchEncoder(asked, syntax, retrieve_ae_title=self._retrieve_ae_title)
        answers.begin(status.PENDING if asked.is_supported else status.PENDING_WITHOUT_OPTIONAL_KEYS)
        limit = association.limits.results
        with closing(self._index.find(asked.query)) as matches:
            for match in matches:
                if limit and answers.matches == limit:
                    answers.comment = f"more than {limit} matches; narrow the query"
                    return status.OUT_OF_RESOURCES
                answers.add(encoder.encode(self._with_header(match, asked) if asked.read else match))
                if answers.is_batch_full:
                    answers.send()
                    if association.is_cancelled(request.message_id):
                        return status.CANCEL
        return status.SUCCESS

    def _with_header(self, match: Match, asked: FindRequest) -> Match:
        """What the object of the match says, too; where it cannot be read that is unknown."""
        attributes = tuple(asked.read.values())
        told = dict.fromkeys((attribute.name for attribute in attributes), "")
        if self._headers is not None:
            with suppress(ObjectNotFound, ObjectDamaged):
                told = self._headers.values(Key(match.values[OBJECT_KEY]), attributes)
        return Match({**match.values, **told})


class _Answers:
    """The responses to one request, sent many at a time, the last ones together with the final response.

    ``matches``: pending responses so far; known even when the query fails half-way. ``comment``: for the final one.
    ``level`` and ``keys``: what was asked, by name. ``identifier``: what they answer, once it is read.
    """

    def __init__(self, association: Association, request: Message) -> None:
        self.matches = 0
        self.comment = ""
        self.identifier = b""
        self.level = ""
        self.keys: list[str] = []
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
