"""C-STORE as SCP (PS3.4 Annex B): fragments go to the archive as they arrive, undecoded."""

from __future__ import annotations

import logging
import math
import struct
import time
from collections.abc import Callable

from pacsnode import log
from pacsnode.archive import Archive, Ingest
from pacsnode.audit import recorder
from pacsnode.audit.recorder import Intake, Recorder
from pacsnode.dimse import contexts, results, status
from pacsnode.dimse.access import Access
from pacsnode.dimse.association import Association, Message
from pacsnode.dimse.complaints import Complaints
from pacsnode.errors import (
    BadDataset,
    DatasetTooLarge,
    FaultyElement,
    PacsNodeError,
    PeerFailure,
    ProtocolViolation,
    SopClassNotSupported,
)
from pacsnode.model import Arrival, Outcome, Uid
from pacsnode.wire.command import Element

_AT = struct.Struct("<HH")


class StoreService:
    """Takes instances in; Success is said only after the archive has made one durable."""

    def __init__(
        self,
        archive: Archive,
        access: Access,
        noted: Callable[[float], None] = lambda seconds: None,
        *,
        audit: Recorder | None = None,
        slow_seconds: float = math.inf,
    ) -> None:
        """``noted`` is told how long each commit took; an instance that takes ``slow_seconds`` or more is logged so."""
        self._slow_seconds = slow_seconds
        self._archive = archive
        self._noted = noted
        self._access = access
        self._audit = audit or recorder.silent()
        self._complaints = Complaints()

    def serve(self, association: Association, request: Message) -> None:
        """Answer one C-STORE-RQ (PS3.4 B.2.3); an instance that is not stored leaves nothing behind."""
        began = time.perf_counter()
        class_uid = request.command.text(Element.AFFECTED_SOP_CLASS_UID)
        instance_uid = request.command.text(Element.AFFECTED_SOP_INSTANCE_UID)
        try:
            size, outcome = self._receive(association, request, Uid(class_uid), Uid(instance_uid))
        except (PeerFailure, ProtocolViolation) as error:
            self._intake(association).refuse(request.context.abstract_syntax, results.BROKEN_OFF)
            self._log_refused(association, instance_uid, error)
            raise
        except PacsNodeError as error:
            self._refuse(association, request, error)
            return
        association.respond(request, status.SUCCESS, _instance(request))
        seconds = time.perf_counter() - began
        peer, ms = association.titles.calling_ae, round(seconds * 1000, 1)
        log.event("stored", uid=instance_uid, peer=peer, bytes=size, ms=ms, outcome=outcome.value)
        if seconds >= self._slow_seconds:
            log.event("slow_store", level=logging.WARNING, uid=instance_uid, peer=peer, bytes=size, ms=ms)

    def _receive(
        self, association: Association, request: Message, class_uid: Uid, instance_uid: Uid
    ) -> tuple[int, Outcome]:
        if class_uid != request.context.abstract_syntax or not contexts.is_storage(class_uid):
            raise SopClassNotSupported("SOP class is not that of the presentation context")
        self._access.check(association.titles.calling_ae, "store")
        if not request.command.has_data_set:
            raise BadDataset("C-STORE without a data set")
        arrival = Arrival(
            sop_class_uid=class_uid,
            sop_instance_uid=instance_uid,
            transfer_syntax_uid=request.context.transfer_syntax,
            calling_ae=association.titles.calling_ae,
            called_ae=association.titles.called_ae,
            received_at=self._archive.clock(),
            move_originator=request.command.text(Element.MOVE_ORIGINATOR_AE_TITLE),
        )
        with self._archive.receive(arrival) as ingest:
            _copy(request, ingest, association.limits.dataset)
            began = time.perf_counter()
            outcome = ingest.commit()
            commit_seconds = time.perf_counter() - began
            self._noted(commit_seconds)
            association.kept = (ingest.size, commit_seconds)
            if ingest.header is not None:
                self._intake(association).add(ingest.header, outcome)
            return ingest.size, outcome

    def _intake(self, association: Association) -> Intake:
        if association.intake is None:
            association.intake = self._audit.intake(association.actor)
        return association.intake

    def _refuse(self, association: Association, request: Message, error: PacsNodeError) -> None:
        request.drain()
        code = status.of(status.STORE, error)
        extra = _instance(request)
        extra[Element.ERROR_COMMENT] = status.comment(error)
        if isinstance(error, FaultyElement):
            # Offending Element belongs to A9xx and Cxxx, not to A7xx (PS3.7 Annex C).
            extra[Element.OFFENDING_ELEMENT] = _AT.pack(error.tag >> 16, error.tag & 0xFFFF)
        self._intake(association).refuse(request.context.abstract_syntax, results.of(code))
        association.respond(request, code, extra)
        instance_uid = request.command.text(Element.AFFECTED_SOP_INSTANCE_UID)
        self._log_refused(association, instance_uid, error, status=f"{code:04X}")

    def _log_refused(
        self, association: Association, instance_uid: str, reason: object, *, status: str | None = None
    ) -> None:
        if self._complaints.allows("refused", association.peer_address):
            peer = association.titles.calling_ae
            log.event("refused", level=logging.WARNING, uid=instance_uid, peer=peer, status=status, reason=reason)


def _copy(request: Message, ingest: Ingest, limit_bytes: int) -> None:
    write = ingest.write
    for piece in request.fragments():
        write(piece)
        if ingest.size > limit_bytes:
            raise DatasetTooLarge("data set larger than this archive takes")


def _instance(request: Message) -> dict[Element, int | str | bytes]:
    """Affected SOP Instance UID as the peer sent it (PS3.7 9.3.1.2)."""
    uid = request.command.elements.get(Element.AFFECTED_SOP_INSTANCE_UID, b"")
    return {Element.AFFECTED_SOP_INSTANCE_UID: uid}
