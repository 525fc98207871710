"""C-STORE as SCU: stored bytes go from the file to the socket, undecoded (PS3.7 9.1.1)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from pacsnode.dimse.association import Association
from pacsnode.dimse.contexts import PresentationContext
from pacsnode.errors import ObjectDamaged, PeerFailure, StoreError
from pacsnode.model import Instance
from pacsnode.storage.store import Store
from pacsnode.wire import command as commands
from pacsnode.wire import message
from pacsnode.wire.command import CommandField, Element

_PIECE_BYTES = 1024 * 1024
_MAX_MESSAGE_ID = 0xFFFF


@dataclass(frozen=True, slots=True)
class MoveOriginator:
    """The C-MOVE SCU on whose behalf we send (PS3.7 9.1.1.1.6, 9.1.1.1.7)."""

    ae_title: str
    message_id: int


class Sender:
    """Sends instances over one association, one after the other, through one buffer."""

    def __init__(self, association: Association, store: Store, priority: int) -> None:
        self._association = association
        self._store = store
        self._priority = priority
        self._message_id = 0
        self._buffer = memoryview(bytearray(_PIECE_BYTES))

    def send(self, context: PresentationContext, instance: Instance, originator: MoveOriginator | None = None) -> int:
        """Send one instance: the status of the peer's response.

        Raises ObjectNotFound or ObjectDamaged before anything is sent, PeerFailure and ProtocolViolation after which
        the association is of no more use.
        """
        stored = instance.stored
        with self._store.open(stored.key) as source:
            if source.seek(0, os.SEEK_END) != stored.offset + stored.size:
                raise ObjectDamaged(f"{stored.key}: the object is not as long as it was")
            source.seek(stored.offset)
            self._message_id = self._message_id % _MAX_MESSAGE_ID + 1
            parts = self._command(context, instance, originator)
            left = stored.size
            while left:
                count = self._read(source, min(left, _PIECE_BYTES))
                if not count and left == stored.size:
                    raise ObjectDamaged(f"{stored.key}: the object cannot be read")
                if not count:
                    # The peer has half an instance; only the end of the association keeps it from taking it for one.
                    raise PeerFailure(f"{stored.key}: the object could not be read on while it was sent")
                left -= count
                parts += message.data_set_parts(
                    context.context_id, self._buffer[:count], self._association.largest_value, ends=not left
                )
                self._association.send_parts(parts)
                parts = []
        response = self._association.next_response(self._message_id)
        return response.number(Element.STATUS)

    def _read(self, source: BinaryIO, size: int) -> int:
        """Bytes read into the buffer; 0 where there are none or the disk fails.

        Nothing is raised, because what may be raised depends on whether a part has been sent.
        """
        try:
            return int(source.readinto(self._buffer[:size]))  # type: ignore[attr-defined]
        except (OSError, StoreError):
            return 0

    def _command(
        self, context: PresentationContext, instance: Instance, originator: MoveOriginator | None
    ) -> message.Parts:
        fields: dict[Element, int | str | bytes] = {
            Element.AFFECTED_SOP_CLASS_UID: instance.header.sop_class_uid,
            Element.COMMAND_FIELD: CommandField.C_STORE_RQ,
            Element.MESSAGE_ID: self._message_id,
            Element.PRIORITY: self._priority,
            Element.AFFECTED_SOP_INSTANCE_UID: instance.header.sop_instance_uid,
        }
        if originator is not None:
            fields[Element.MOVE_ORIGINATOR_AE_TITLE] = originator.ae_title
            fields[Element.MOVE_ORIGINATOR_MESSAGE_ID] = originator.message_id
        encoded = commands.encode(fields, has_data_set=True)
        return message.command_parts(context.context_id, encoded, self._association.largest_value)
