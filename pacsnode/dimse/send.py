"""C-STORE as SCU: stored bytes go from the file to the socket, undecoded (PS3.7 9.1.1).

Only to a peer that does not take the stored syntax, native data sets go in the default one (PS3.5 10.1).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pacsnode import log
from pacsnode.dicom import recode, syntax
from pacsnode.dimse import status
from pacsnode.dimse.association import Association
from pacsnode.dimse.contexts import PresentationContext
from pacsnode.errors import BadDataset, ObjectDamaged, PeerFailure, StoreError
from pacsnode.model import Instance, Uid
from pacsnode.storage.store import Store
from pacsnode.wire import message
from pacsnode.wire.command import CommandField, Element, RequestTemplate

_PIECE_BYTES = 1024 * 1024
_MAX_INFLATED_BYTES = 4096 * 1024 * 1024
_MAX_MESSAGE_ID = 0xFFFF

Pair = tuple[Uid, Uid]
"""SOP class and transfer syntax: what a presentation context is proposed for."""


def pair_of(instance: Instance) -> Pair:
    """What the instance is sent as."""
    return instance.header.sop_class_uid, instance.stored.transfer_syntax_uid


def with_default_syntax(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs, then the default syntax of every class of which there is something that can be converted to it."""
    kinds = list(pairs)
    defaults = [(uid, syntax.IMPLICIT_VR_LITTLE_ENDIAN) for uid, stored in kinds if recode.is_convertible(stored)]
    return list(dict.fromkeys([*kinds, *defaults]))


@dataclass(frozen=True, slots=True)
class MoveOriginator:
    """The C-MOVE SCU on whose behalf we send (PS3.7 9.1.1.1.6, 9.1.1.1.7)."""

    ae_title: str
    message_id: int


@dataclass(frozen=True, slots=True)
class _Channel:
    """A presentation context and the command that goes before each instance in it."""

    context_id: int
    command: RequestTemplate


@dataclass(slots=True)
class Load:
    """An instance ready to be sent: its object is open and the first piece of it read, or it is known why not."""

    instance: Instance
    channel: _Channel | None = None
    source: BinaryIO | None = None
    piece: memoryview | None = None
    following: Iterator[bytes] | None = None  # the pieces behind the first one, where it is converted
    error: StoreError | None = None

    def drop(self) -> None:
        """Close the object; may be called twice."""
        if self.source is not None:
            self.source.close()
            self.source = None


class Sender:
    """Sends instances over one association, one after the other, and loads the next while the peer works on one.

    Two buffers serve in turn, so that at most one load may wait besides the one being sent.
    """

    def __init__(
        self,
        association: Association,
        contexts: Iterable[PresentationContext],
        store: Store,
        *,
        priority: int,
        originator: MoveOriginator | None = None,
    ) -> None:
        """``contexts``: those in which we are SCU."""
        self._association = association
        self._store = store
        self._channels = {
            (context.abstract_syntax, context.transfer_syntax): _channel(context, priority, originator)
            for context in contexts
        }
        self._message_id = 0
        self._buffers = [memoryview(bytearray(_PIECE_BYTES)) for _ in range(2)]

    def load(self, instance: Instance) -> Load:
        """Open the object and read its beginning. Nothing is raised: what is wrong shows when it is sent."""
        sop_class_uid, stored_syntax = pair_of(instance)
        load = Load(instance, self._channels.get((sop_class_uid, stored_syntax)))
        is_converted = load.channel is None and recode.is_convertible(stored_syntax)
        if is_converted:
            load.channel = self._channels.get((sop_class_uid, syntax.IMPLICIT_VR_LITTLE_ENDIAN))
        if load.channel is None:
            return load
        self._buffers.reverse()
        try:
            load.source = self._open(instance)
            if is_converted:
                load.following = _converted(load.source, instance)
                load.piece = memoryview(next(load.following))
            else:
                load.piece = self._read(load.source, instance.stored.size)
            if not load.piece:
                raise ObjectDamaged(f"{instance.stored.key}: the object cannot be read")
        except StoreError as error:
            load.drop()
            load.error = error
        return load

    def send(self, load: Load, meanwhile: Callable[[], None]) -> int:
        """Send one instance, do something else while the peer works on it: the status of its response, or ours
        for an instance that has no context or cannot be read.

        Raises PeerFailure and ProtocolViolation, after which the association is of no more use.
        """
        if load.channel is None:
            return status.SOP_CLASS_NOT_SUPPORTED
        if load.error is not None:
            log.event("damaged", level=logging.ERROR, uid=load.instance.header.sop_instance_uid, reason=load.error)
            return status.of(status.RETRIEVE, load.error)
        self._message_id = self._message_id % _MAX_MESSAGE_ID + 1
        try:
            if load.following is None:
                self._send_parts(load, load.channel)
            else:
                self._send_converted(load, load.channel, load.following)
        finally:
            load.drop()
        meanwhile()
        return self._association.next_response(self._message_id).number(Element.STATUS)

    def _send_parts(self, load: Load, channel: _Channel) -> None:
        """The command and the data set; command and first piece go in one system call."""
        association, piece, left = self._association, load.piece, load.instance.stored.size
        command = channel.command.encode(self._message_id, load.instance.header.sop_instance_uid)
        parts = message.command_parts(channel.context_id, command, association.largest_value)
        while left and piece is not None and load.source is not None:
            left -= len(piece)
            parts += message.data_set_parts(channel.context_id, piece, association.largest_value, ends=not left)
            association.send_parts(parts)
            if left:
                parts, piece = [], self._read(load.source, left)
                if not piece:
                    raise _broken_off(load)

    def _send_converted(self, load: Load, channel: _Channel, following: Iterator[bytes]) -> None:
        association, piece = self._association, load.piece
        command = channel.command.encode(self._message_id, load.instance.header.sop_instance_uid)
        parts = message.command_parts(channel.context_id, command, association.largest_value)
        while piece is not None:
            try:
                behind = next(following, None)
            except StoreError as error:
                raise _broken_off(load) from error
            ends = behind is None
            parts += message.data_set_parts(channel.context_id, piece, association.largest_value, ends=ends)
            association.send_parts(parts)
            parts, piece = [], None if behind is None else memoryview(behind)

    def _open(self, instance: Instance) -> BinaryIO:
        """The object at the beginning of its data set. Raises ObjectNotFound, ObjectDamaged."""
        stored = instance.stored
        source = self._store.open(stored.key)
        try:
            if source.seek(0, os.SEEK_END) != stored.offset + stored.size:
                raise ObjectDamaged(f"{stored.key}: the object is not as long as it was")
            source.seek(stored.offset)
        except BaseException:
            source.close()
            raise
        return source

    def _read(self, source: BinaryIO, left: int) -> memoryview:
        """Bytes read into the buffer in use; none where there are none or the disk fails.

        Nothing is raised, because what may be raised depends on whether a part has been sent.
        """
        space = self._buffers[0][: min(left, _PIECE_BYTES)]
        try:
            return space[: int(source.readinto(space))]  # type: ignore[attr-defined]
        except (OSError, StoreError):
            return space[:0]


def _broken_off(load: Load) -> PeerFailure:
    """The peer has half an instance; only the end of the association keeps it from taking it for one."""
    return PeerFailure(f"{load.instance.stored.key}: the object could not be read on while it was sent")


def _converted(source: BinaryIO, instance: Instance) -> Iterator[bytes]:
    """The data set in the default syntax, from where the source stands. Raises StoreError."""
    stored = instance.stored
    chunks = iter(lambda: source.read(recode.PIECE_BYTES), b"")
    try:
        yield from recode.to_default_syntax(chunks, stored.transfer_syntax_uid, max_bytes=_MAX_INFLATED_BYTES)
    except (OSError, BadDataset) as error:
        raise ObjectDamaged(f"{stored.key}: the object cannot be converted: {type(error).__name__}") from error


def _channel(context: PresentationContext, priority: int, originator: MoveOriginator | None) -> _Channel:
    fields: dict[Element, int | str | bytes] = {
        Element.AFFECTED_SOP_CLASS_UID: context.abstract_syntax,
        Element.COMMAND_FIELD: CommandField.C_STORE_RQ,
        Element.PRIORITY: priority,
    }
    if originator is not None:
        fields[Element.MOVE_ORIGINATOR_AE_TITLE] = originator.ae_title
        fields[Element.MOVE_ORIGINATOR_MESSAGE_ID] = originator.message_id
    return _Channel(context.context_id, RequestTemplate(fields))
