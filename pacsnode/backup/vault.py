"""Target and encryption together: pieces go in and come out, and every byte is compared with its digest."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyrage

from pacsnode import log
from pacsnode.backup.encryption import Encryption, Plain
from pacsnode.backup.manifest import Piece, object_name
from pacsnode.backup.target import Target
from pacsnode.errors import BackupDamaged, BackupFailure, NotInBackup, ObjectDamaged
from pacsnode.model import Instance

_READ_BYTES = 1024 * 1024
_IN_MEMORY_BYTES = 16 * 1024 * 1024  # what is larger is read twice, or sealed into a file


@dataclass(frozen=True, slots=True)
class Vault:
    """Safe to use from several threads. ``scratch``: a folder for what is sealed before it is sent."""

    target: Target
    encryption: Encryption
    scratch: Path

    def keep(self, name: str, source: BinaryIO) -> Piece:
        """Put what the source holds under the name, in which ``*`` stands for its SHA-256. Durable when it returns."""
        return self._keep(lambda digest: name.replace("*", digest), source, lambda chunk: None)

    def keep_object(self, source: BinaryIO, instance: Instance) -> Piece:
        """Put an object there, by its digest. Raises ObjectDamaged where its data set is not what the index knows."""
        content, offset = hashlib.sha256(), instance.stored.offset
        passed = 0

        def feed(chunk: memoryview) -> None:
            nonlocal passed
            content.update(chunk[max(0, offset - passed) :])
            passed += len(chunk)

        def name(digest: str) -> str:
            if content.hexdigest() != instance.stored.digest:
                raise ObjectDamaged(f"{instance.stored.key}: the data set's SHA-256 is not the one recorded")
            return object_name(digest, "")

        return self._keep(name, source, feed)

    def fetch(self, piece: Piece, sink: BinaryIO) -> None:
        """Write to the sink what was put there, from its first byte.

        Raises NotInBackup; BackupDamaged where it is not what it was: what the sink got then is of no use.
        """
        digest = hashlib.sha256()
        with self.target.open(piece.name) as source:
            reader, writer = _Reader(source, lambda chunk: None), _Writer(sink, digest.update)
            try:
                self._encryption_of(piece.name).unseal(cast(BinaryIO, reader), cast(BinaryIO, writer))
            except BackupDamaged as error:
                if reader.error is not None:
                    raise reader.error from error
                raise BackupDamaged(f"backup: {piece.name} {error}") from error
        if digest.hexdigest() != piece.digest:
            raise BackupDamaged(f"backup: {piece.name} is not what was put there: its SHA-256 is another")

    def problem_of(self, piece: Piece, spend: Callable[[int], None]) -> str:
        """Read it as it lies there: what is wrong with it; "" where nothing is. Needs no key."""
        digest = hashlib.sha256()
        try:
            with self.target.open(piece.name) as source:
                while chunk := source.read(_READ_BYTES):
                    digest.update(chunk)
                    spend(len(chunk))
        except (NotInBackup, BackupDamaged) as error:
            return str(error)
        if digest.hexdigest() != piece.stored:
            return f"backup: {piece.name} is not what was put there: its SHA-256 is another"
        return ""

    def _keep(self, name: Callable[[str], str], source: BinaryIO, feed: Callable[[memoryview], None]) -> Piece:
        with self._sealed(source, feed) as (sealed, digest, size, stored):
            piece = Piece(name(digest) + self.encryption.suffix, digest, size, stored)
            if self.target.put(piece.name, sealed):
                return piece
            return self._met(piece, sealed)

    def _met(self, mine: Piece, sealed: BinaryIO) -> Piece:
        """Something lies there under the name: the same, of a run that was killed, or damaged."""
        digest = hashlib.sha256()
        with self.target.open(mine.name) as source:
            while chunk := source.read(_READ_BYTES):
                digest.update(chunk)
        if digest.hexdigest() == mine.stored:
            return mine
        theirs = Piece(mine.name, mine.digest, mine.size, digest.hexdigest())
        if self.encryption.suffix and self.encryption.can_open and self._holds_the_same(theirs):
            return theirs
        log.event("backup_replaced", level=logging.WARNING, name=mine.name)
        sealed.seek(0)
        self.target.replace(mine.name, sealed)
        return mine

    def _holds_the_same(self, piece: Piece) -> bool:
        try:
            self.fetch(piece, cast(BinaryIO, _Nowhere()))
        except BackupFailure:
            return False
        return True

    @contextmanager
    def _sealed(self, source: BinaryIO, feed: Callable[[memoryview], None]) -> Iterator[tuple[BinaryIO, str, int, str]]:
        """The bytes as they are to lie there, from their start; digest and size of what went in, digest of these."""
        digest, begin = hashlib.sha256(), source.tell()

        def fed(chunk: memoryview) -> None:
            digest.update(chunk)
            feed(chunk)

        if not self.encryption.suffix:
            source, size = _kept_in_memory(source)
            begin = source.tell()
            while chunk := source.read(_READ_BYTES):
                fed(memoryview(chunk))
            source.seek(begin)
            yield source, digest.hexdigest(), size, digest.hexdigest()
            return
        stored, reader = hashlib.sha256(), _Reader(source, fed)
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES, dir=str(self.scratch)) as sealed:
            try:
                writer = _Writer(cast(BinaryIO, sealed), stored.update)
                self.encryption.seal(cast(BinaryIO, reader), cast(BinaryIO, writer))
            except pyrage.EncryptError as error:
                raise reader.error or BackupFailure(f"backup: cannot be sealed: {error}") from error
            size = source.tell() - begin
            sealed.seek(0)
            yield cast(BinaryIO, sealed), digest.hexdigest(), size, stored.hexdigest()

    def _encryption_of(self, name: str) -> Encryption:
        """What lies there may be from a time with another configuration."""
        if not name.endswith(".age"):
            return Plain()
        if not self.encryption.suffix:
            raise BackupFailure("backup: it is sealed, and no key_file is configured; name the identity's file")
        return self.encryption


class _Reader(io.RawIOBase):
    """Shows whoever passes what is read; keeps the error that a library between would hide."""

    def __init__(self, source: BinaryIO, feed: Callable[[memoryview], None]) -> None:
        self.error: Exception | None = None
        self._source = source
        self._feed = feed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        try:
            chunk = self._source.read(len(buffer))
        except Exception as error:
            self.error = error
            raise
        buffer[: len(chunk)] = chunk
        self._feed(memoryview(chunk))
        return len(chunk)


class _Writer(io.RawIOBase):
    """Shows whoever passes what is written."""

    def __init__(self, sink: BinaryIO, feed: Callable[[Any], object]) -> None:
        self._sink = sink
        self._feed = feed

    def writable(self) -> bool:
        return True

    def write(self, chunk: Any, /) -> int:
        self._feed(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[self._sink.write(rest) :]
        return len(chunk)


class _Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, chunk: Any, /) -> int:
        return len(chunk)


def _kept_in_memory(source: BinaryIO) -> tuple[BinaryIO, int]:
    """The rest of the source and its size; read at once where it is small, since it is needed twice."""
    begin = source.tell()
    size = source.seek(0, os.SEEK_END) - begin
    source.seek(begin)
    if size > _IN_MEMORY_BYTES:
        return source, size
    whole = io.BytesIO()
    while chunk := source.read(_READ_BYTES):
        whole.write(chunk)
    whole.seek(0)
    return whole, size
