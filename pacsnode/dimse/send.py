"""C-STORE as SCU: stored bytes go from the file to the socket, undecoded (PS3.7 9.1.1).

Only to a peer that does not take the stored syntax, data sets go in a native one (PS3.5 10.1): native ones converted on
the way, compressed ones decoded by a codec's process before.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from pacsnode import log
from pacsnode.codec.transcode import NativeFile
from pacsnode.dicom import recode, syntax
from pacsnode.dimse import status
from pacsnode.dimse.association import Association
from pacsnode.dimse.contexts import PresentationContext
from pacsnode.errors import (
    BadDataset,
    CodecFailure,
    CodecRefused,
    ObjectDamaged,
    ObjectNotFound,
    PeerFailure,
    StoreError,
)
from pacsnode.model import Instance, StoredObject, Uid
from pacsnode.storage.store import Store
from pacsnode.wire import message
from pacsnode.wire.command import CommandField, Element, RequestTemplate

_CONVERSIONS = {
    syntax.EXPLICIT_VR_LITTLE_ENDIAN: recode.to_explicit_syntax,
    syntax.IMPLICIT_VR_LITTLE_ENDIAN: recode.to_default_syntax,
}
_PIECE_BYTES = 1024 * 1024
_MAX_INFLATED_BYTES = 4096 * 1024 * 1024
_MAX_MESSAGE_ID = 0xFFFF

Pair = tuple[Uid, Uid]
"""SOP class and transfer syntax: what a presentation context is proposed for."""


def pair_of(instance: Instance) -> Pair:
    """What the instance is sent as."""
    return instance.header.sop_class_uid, instance.stored.transfer_syntax_uid


_FALLBACKS = (syntax.EXPLICIT_VR_LITTLE_ENDIAN, syntax.IMPLICIT_VR_LITTLE_ENDIAN)
"""What is sent where the stored syntax is not taken. Explicit first, because it keeps the VRs of private elements."""


class Transcoding(Protocol):
    """Compressed objects made native; see ``codec.transcode``."""

    def takes(self, transfer_syntax_uid: Uid) -> bool:
        """Is this a syntax that can be made native?"""

    def open(self, stored: StoredObject, open_source: Callable[[], BinaryIO], target: Uid) -> NativeFile:
        """The native data set. Raises CodecFailure, StoreError."""


class NothingTranscoded:
    """Compressed objects go as they are, or not at all."""

    def takes(self, transfer_syntax_uid: Uid) -> bool:
        """Nothing is."""
        return False

    def open(self, stored: StoredObject, open_source: Callable[[], BinaryIO], target: Uid) -> NativeFile:
        """Never called."""
        raise CodecRefused("no codec")


def with_native_syntaxes(pairs: Iterable[Pair], transcoding: Transcoding) -> list[Pair]:
    """The pairs, then the native syntaxes of every class of which there is something that can be sent in them."""
    kinds = list(pairs)
    fallbacks = [
        (uid, native)
        for uid, stored in kinds
        if recode.is_convertible(stored) or transcoding.takes(stored)
        for native in _FALLBACKS
    ]
    return list(dict.fromkeys([*kinds, *fallbacks]))


def grouped(kinds: Iterable[Pair], transcoding: Transcoding, most: int) -> Iterator[list[Pair]]:
    """Kinds in groups of which each, with its native syntaxes, needs no more than so many contexts."""
    group: list[Pair] = []
    for kind in kinds:
        if len(with_native_syntaxes([*group, kind], transcoding)) > most:
            yield group
            group = []
        group.append(kind)
    if group:
        yield group


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
    source: BinaryIO | NativeFile | None = None
    size: int = 0  # bytes of the data set that the source has
    piece: memoryview | None = None
    following: Iterator[bytes] | None = None  # the pieces behind the first one, where it is converted
    error: StoreError | CodecFailure | None = None

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
        transcoding: Transcoding | None = None,
        moved: Callable[[Instance], Instance | None] = lambda _: None,
    ) -> None:
        """``contexts``: those in which we are SCU. ``moved``: the instance with the object that it has by now, where
        that is another one.
        """
        self._association = association
        self._store = store
        self._moved = moved
        self._transcoding = transcoding or NothingTranscoded()
        self._channels = {
            (context.abstract_syntax, context.transfer_syntax): _channel(context, priority, originator)
            for context in contexts
        }
        self._message_id = 0
        self._buffers = [memoryview(bytearray(_PIECE_BYTES)) for _ in range(2)]

    def load(self, instance: Instance) -> Load:
        """Open the object and read its beginning. Nothing is raised: what is wrong shows when it is sent."""
        load = self._loaded(instance)
        if isinstance(load.error, ObjectNotFound) and (moved := self._moved(instance)) is not None:
            return self._loaded(moved)  # it was encoded anew since it was found
        return load

    def _loaded(self, instance: Instance) -> Load:
        stored = instance.stored
        load = Load(instance, self._channels.get(pair_of(instance)), size=stored.size)
        target = stored.transfer_syntax_uid
        if load.channel is None:
            load.channel, target = self._native_channel(instance)
        if load.channel is None:
            return load
        self._buffers.reverse()
        try:
            self._fill(load, target)
            if not load.piece:
                raise ObjectDamaged(f"{stored.key}: the object cannot be read")
        except (StoreError, CodecFailure) as error:
            load.drop()
            load.error = error
        return load

    def _native_channel(self, instance: Instance) -> tuple[_Channel | None, Uid]:
        """A channel for the instance in another syntax than the stored one, and that syntax."""
        sop_class_uid, stored_syntax = pair_of(instance)
        if recode.is_convertible(stored_syntax) or self._transcoding.takes(stored_syntax):
            for native in _FALLBACKS:
                if (channel := self._channels.get((sop_class_uid, native))) is not None:
                    return channel, native
        return None, stored_syntax

    def _fill(self, load: Load, target: Uid) -> None:
        """Open the source of a load and read the first piece of it. Raises StoreError, CodecFailure."""
        instance, stored = load.instance, load.instance.stored
        if target == stored.transfer_syntax_uid:
            load.source = self._open(instance)
            load.piece = self._read(load.source, load.size)
        elif recode.is_convertible(stored.transfer_syntax_uid):
            load.source = source = self._open(instance)
            load.following = _converted(source, instance, target)
            load.piece = memoryview(next(load.following))
        else:
            load.source = native = self._transcoding.open(stored, lambda: self._open(instance), target)
            load.size = native.size
            load.piece = self._read(native, load.size)

    def send(self, load: Load, meanwhile: Callable[[], None]) -> int:
        """Send one instance, do something else while the peer works on it: the status of its response, or ours
        for an instance that has no context or cannot be read.

        Raises PeerFailure and ProtocolViolation, after which the association is of no more use.
        """
        if load.channel is None:
            return status.SOP_CLASS_NOT_SUPPORTED
        if load.error is not None:
            uid = load.instance.header.sop_instance_uid
            if isinstance(load.error, CodecFailure):
                log.event("not_transcoded", level=logging.WARNING, uid=uid, reason=load.error)
            else:
                log.event("damaged", level=logging.ERROR, uid=uid, reason=load.error)
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
        association, piece, left = self._association, load.piece, load.size
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

    def _read(self, source: BinaryIO | NativeFile, left: int) -> memoryview:
        """Bytes read into the buffer in use; none where there are none or the disk fails.

        Nothing is raised, because what may be raised depends on whether a part has been sent.
        """
        space = self._buffers[0][: min(left, _PIECE_BYTES)]
        try:
            return space[: int(source.readinto(space))]  # type: ignore[union-attr]
        except (OSError, StoreError):
            return space[:0]


def _broken_off(load: Load) -> PeerFailure:
    """The peer has half an instance; only the end of the association keeps it from taking it for one."""
    return PeerFailure(f"{load.instance.stored.key}: the object could not be read on while it was sent")


def _converted(source: BinaryIO, instance: Instance, target: Uid) -> Iterator[bytes]:
    """A native data set in another native syntax, from where the source stands. Raises StoreError."""
    stored = instance.stored
    chunks = iter(lambda: source.read(recode.PIECE_BYTES), b"")
    try:
        yield from _CONVERSIONS[target](chunks, stored.transfer_syntax_uid, max_bytes=_MAX_INFLATED_BYTES)
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
