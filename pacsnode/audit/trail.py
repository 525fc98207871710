"""The trail on the disk, for those who add to it: the node and, beside it, commands. Nothing in it is ever changed."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pacsnode import log
from pacsnode.audit import chain, files, keys
from pacsnode.audit.chain import Link
from pacsnode.errors import AuditFailure

SEAL_RECORDS = 256
SEAL_SECONDS = 600.0
_FILE_MODE, _FOLDER_MODE = 0o640, 0o750
_DAMAGED = "the last record is not what it should be; pacsnode audit verify tells more"


class Trail:
    """Adds records and seals. Used by one thread at a time; other processes may add in between."""

    def __init__(self, path: Path, *, rotate_bytes: int) -> None:
        """``rotate_bytes``: size from which the file is put away and a new one begun. Raises AuditFailure."""
        self.path = path
        self._rotate_bytes = rotate_bytes
        self._descriptor = -1
        self._size = 0
        self._link = chain.START
        self._unsealed = 0
        self._sealed_at = time.monotonic()
        with _translated(path):
            path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            self._folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with self._locked():
                self._key = keys.signing_key(path.parent)
                self._catch_up()
        except BaseException:
            self.close()
            raise

    @property
    def last(self) -> int:
        """The sequence number of the last record that is known of."""
        return self._link.sequence

    def append(self, messages: Sequence[bytes]) -> None:
        """Add messages, and a seal where one is due. All is durable when this returns.

        Raises AuditFailure, and nothing is added: the same may be tried again.
        """
        with self._locked():
            self._catch_up()
            if self._size >= self._rotate_bytes:
                self._rotate()
            is_due = self._unsealed + len(messages) >= SEAL_RECORDS or self._is_seal_due()
            self._write(messages, seals=is_due)

    def seal(self) -> None:
        """Seal what is not sealed yet. Raises AuditFailure."""
        with self._locked():
            self._catch_up()
            if self._unsealed:
                self._write([], seals=True)

    def seconds_to_seal(self) -> float | None:
        """Until a seal is due for what is there; None where all is sealed."""
        return max(self._sealed_at + SEAL_SECONDS - time.monotonic(), 0.0) if self._unsealed else None

    def close(self) -> None:
        """Let go of the files; may be called twice."""
        for descriptor in (self._descriptor, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._folder = -1

    def _is_seal_due(self) -> bool:
        return self._unsealed > 0 and time.monotonic() - self._sealed_at >= SEAL_SECONDS

    def _write(self, messages: Sequence[bytes], *, seals: bool) -> None:
        link, lines = self._link, []
        for message in messages:
            line, link = chain.encode(link, chain.MESSAGE, message)
            lines.append(line)
        sealed, signature = link, b""
        if seals:
            signature = chain.seal(link, self._key)
            line, link = chain.encode(link, chain.SEAL, signature)
            lines.append(line)
        self._write_durably(b"".join(lines))
        self._link = link
        self._unsealed = 0 if seals else self._unsealed + len(messages)
        if seals:
            self._note_seal(sealed, signature)

    def _write_durably(self, text: bytes) -> None:
        try:
            rest = memoryview(text)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fdatasync(self._descriptor)
        except OSError:
            # After a failed sync nobody knows what is on the disk: the same bytes are written anew, not synced again.
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(text)

    def _note_seal(self, sealed: Link, signature: bytes) -> None:
        self._sealed_at = time.monotonic()
        note = b"%d %s %s\n" % (sealed.sequence, sealed.digest, signature)
        with contextlib.suppress(OSError):  # the records are there; the next seal is noted again
            keys.write_file(files.sealed_path(self.path), note, _FILE_MODE)

    def _rotate(self) -> None:
        if self._unsealed:
            self._write([], seals=True)
        self.path.rename(files.ended_name(self.path, self._link.sequence))
        self._open_file()

    def _catch_up(self) -> None:
        """Learn what others have added, or put away, since we were last here."""
        if self._descriptor >= 0 and self._is_current():
            if os.fstat(self._descriptor).st_size == self._size:
                return
        else:
            self._open_file()
        with open(self._descriptor, "rb", closefd=False) as stream:
            record, end, is_sound = files.last_record(stream)
            size = stream.seek(0, os.SEEK_END)
        if not is_sound:
            self._leave_damaged(record.link if record is not None else None)
            return
        if end < size:  # torn by a power cut or a kill: it was never promised to anybody
            log.event("audit_torn", level=logging.WARNING, path=self.path, bytes=size - end)
            os.ftruncate(self._descriptor, end)
        self._size = end
        if record is None:
            self._link, self._unsealed = self._end_of_others(), 0
        elif record.link != self._link:
            self._link, self._unsealed = record.link, int(record.kind != chain.SEAL)

    def _leave_damaged(self, link: Link | None) -> None:
        """Go on in a new file, behind a file whose end cannot be trusted; verify tells of it from then on."""
        log.event("audit_damaged", level=logging.ERROR, path=self.path, reason=_DAMAGED)
        last = max(link.sequence if link is not None else 0, self._end_of_others().sequence + 1, self._link.sequence)
        self.path.rename(files.ended_name(self.path, last))
        self._open_file()
        self._link, self._unsealed = Link(last, chain.START.digest), 0

    def _end_of_others(self) -> Link:
        """The last record of the newest file that grows no more."""
        others = files.ended(self.path)
        if not others:
            return chain.START
        number, path = others[-1]
        with path.open("rb") as stream:
            record, _, is_sound = files.last_record(stream)
        return record.link if record is not None and is_sound else Link(number, chain.START.digest)

    def _is_current(self) -> bool:
        try:
            return os.fstat(self._descriptor).st_ino == self.path.stat().st_ino
        except FileNotFoundError:
            return False

    def _open_file(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, _FILE_MODE)
        os.fsync(self._folder)
        self._size = os.fstat(self._descriptor).st_size

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among all processes that add."""
        with _translated(self.path):
            fcntl.flock(self._folder, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._folder, fcntl.LOCK_UN)


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AuditFailure(f"{path}: cannot be written: {error.strerror or error}") from error
