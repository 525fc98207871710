"""Messages on their way to a collector. The queue is the trail itself, with a note of how far it was delivered."""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from pacsnode import log
from pacsnode.audit import keys, syslog
from pacsnode.audit.follower import Follower
from pacsnode.audit.syslog import Entry
from pacsnode.errors import AuditFailure
from pacsnode.model import Clock

_BATCH = 500
_POLL_SECONDS = 5.0  # for what commands add beside the node
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0
_STOP_SECONDS = 15.0
_CURSOR_MODE = 0o640


class Cursor:
    """The note of the last record that was delivered, or is not to be."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> int | None:
        """The number of the record; None where nothing was ever noted. Raises AuditFailure."""
        try:
            return int(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise AuditFailure(
                f"{self._path}: cannot be read: {error}; remove it to begin at the next record"
            ) from error

    def note(self, sequence: int) -> None:
        """Raises AuditFailure."""
        try:
            keys.write_file(self._path, b"%d\n" % sequence, _CURSOR_MODE)
        except OSError as error:
            raise AuditFailure(f"{self._path}: cannot be written: {error.strerror}") from error


def cursor_path(path: Path) -> Path:
    """Where the note is, for a trail."""
    return path.with_name(path.name + ".delivered")


class Delivery:
    """A thread that delivers what is added to a trail, in order, and again where a collector broke off."""

    def __init__(
        self, path: Path, deliver: syslog.Deliver, *, last: int, written: threading.Event, clock: Clock
    ) -> None:
        """``last`` is the record behind which to begin where nothing was ever delivered; ``written`` is set by who
        adds to the trail. Raises AuditFailure where the note cannot be read or written."""
        self._deliver = deliver
        self._written = written
        self._clock = clock
        self._host = syslog.host_name()
        self._cursor = Cursor(cursor_path(path))
        known = self._cursor.read()
        if known is None:
            known = last
            self._cursor.note(known)
        self._source = Follower(path, known)
        self._batch: list[tuple[int, bytes]] = []
        self._failure = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit delivery", daemon=True)

    @property
    def degraded(self) -> str:
        """Why nothing is delivered at present; "" where all is well."""
        return self._failure

    @property
    def position(self) -> int:
        """The number of the last record behind which there is something to deliver, or may be."""
        batch = self._batch
        return batch[0][0] - 1 if batch else self._source.position

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Deliver what is there if that can be done at once, and end; the rest waits for the next start."""
        self._stopping.set()
        self._written.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        with closing(self._source):
            self._deliver_all()

    def _deliver_all(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            is_last = self._stopping.is_set()
            try:
                while self._deliver_batch():
                    pause = _FIRST_PAUSE_SECONDS
            except (OSError, AuditFailure) as error:
                self._failed(error)
                if is_last or self._stopping.wait(pause):
                    return
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
                continue
            except Exception:  # noqa: BLE001 - the outermost loop of this thread; logged with its place
                log.crash("audit_delivery_crashed")
                if is_last or self._stopping.wait(_LONGEST_PAUSE_SECONDS):
                    return
                continue
            if is_last:
                return
            self._written.wait(_POLL_SECONDS)
            self._written.clear()

    def _deliver_batch(self) -> bool:
        self._batch = self._batch or self._source.next(_BATCH)
        if not self._batch:
            return False
        entries = [Entry(number, _moment(xml, self._clock), xml) for number, xml in self._batch]
        self._deliver([syslog.encode(entry, self._host) for entry in entries])
        self._batch = []
        self._cursor.note(entries[-1].sequence)
        if self._failure:
            log.event("audit_collector_back", delivered=len(entries))
        self._failure = ""
        return True

    def _failed(self, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or str(error)
        if not self._failure:
            log.event("audit_collector_failed", level=logging.WARNING, reason=reason)
        self._failure = f"audit: nothing is delivered to the collector: {reason}"


def _moment(xml: bytes, clock: Clock) -> datetime:
    """The time the message is about."""
    _, _, rest = xml.partition(b'EventDateTime="')
    try:
        return datetime.fromisoformat(rest.partition(b'"')[0].decode("ascii")).astimezone(UTC)
    except ValueError:
        return clock()
