"""Repair: a copy from elsewhere takes the place of an object. It is taken on its digest's word alone."""

from __future__ import annotations

import io
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import BinaryIO, Protocol

from pacsnode import log
from pacsnode.archive import Archive, arrival_of
from pacsnode.dicom import part10
from pacsnode.errors import ObjectDamaged, PacsNodeError
from pacsnode.model import Instance, Uid
from pacsnode.storage import layout

_PIECE_BYTES = 1024 * 1024
_HEAD_BYTES = 4096  # more than a head of ours


class Copies(Protocol):
    """Somewhere else where instances are kept, too."""

    def fetch(self, uid: Uid, digest: str) -> AbstractContextManager[BinaryIO | None]:
        """A copy of the instance with a data set of this SHA-256: an object of ours, or the data set alone.

        None where there is none. What is given need not be right: whoever asks looks. Raises PacsNodeError.
        """


class Repairer:
    """Fetches copies, and puts them where the index looks."""

    def __init__(self, archive: Archive, places: Mapping[str, Copies]) -> None:
        """``places``: where copies are, by what people call it, in the order in which they are asked."""
        self._archive = archive
        self._places = places

    def repair(self, instance: Instance, told: Callable[[int], None] = lambda size: None) -> str | None:
        """Let a sound copy take the place of the instance's object: durable when it returns.

        Answers the name of the place that had one, None where none had; ``told`` hears of bytes that were written.
        Killed anywhere, it leaves either the old state, or that and a second copy without a row, or the new state.
        """
        for name, place in self._places.items():
            try:
                with place.fetch(instance.header.sop_instance_uid, instance.stored.digest) as copy:
                    if copy is not None and self._take(copy, instance, told):
                        return name
            except (PacsNodeError, OSError) as error:
                _complain(name, instance, error)
        return None

    def _take(self, copy: BinaryIO, instance: Instance, told: Callable[[int], None]) -> bool:
        new = self._written(copy, instance, told)
        finding = self._archive.problem_of(new)
        if finding is None and self._archive.index.relocate(instance.stored, new):
            return True
        self._archive.store.delete(new.stored.key)
        raise ObjectDamaged("the row went meanwhile" if finding is None else finding.problem)

    def _written(self, copy: BinaryIO, instance: Instance, told: Callable[[int], None]) -> Instance:
        """The copy as a new object. Raises ObjectDamaged where it is not what it should be."""
        beginning = _read_full(copy, _HEAD_BYTES)
        arrival, offset = arrival_of(instance), 0
        try:
            head = part10.read_head(io.BytesIO(beginning))
        except ObjectDamaged:
            pass  # the data set alone
        else:
            arrival, offset = part10.told_besides(arrival, head.arrival), head.offset
        upload = self._archive.store.begin(arrival)
        try:
            for piece in _pieces(beginning[offset:], copy):
                upload.write(piece)
                told(len(piece))
            if upload.digest() != instance.stored.digest:
                raise ObjectDamaged("the copy is not what was stored: its SHA-256 is another one")
            # The same time of arrival: versions keep their order.
            return replace(
                instance, stored=upload.commit(layout.new_key(instance.received_at, secrets.token_bytes(10)))
            )
        finally:
            upload.abort()


def _pieces(beginning: bytes, rest: BinaryIO) -> Iterator[bytes]:
    yield beginning
    while piece := rest.read(_PIECE_BYTES):
        yield piece


def _read_full(source: BinaryIO, size: int) -> bytes:
    content = b""
    while len(content) < size and (piece := source.read(size - len(content))):
        content += piece
    return content


def _complain(place: str, instance: Instance, error: Exception) -> None:
    uid = instance.header.sop_instance_uid
    log.event("repair_failed", level=logging.WARNING, uid=uid, place=place, reason=error)
