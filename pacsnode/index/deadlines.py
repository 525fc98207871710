"""An end for reads that take too long: a read transaction that goes on keeps the write-ahead log from being reused.

One thread looks after all connections. It sleeps while nothing is read, and is woken at most once in a deadline: a
query costs two locks, and a scan never waits for the interpreter as it would with a progress handler.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from pacsnode.errors import QueryTooLong

_AGAIN_SECONDS = 0.01  # an interrupt is lost on a statement that has not begun


class Deadlines:
    """Interrupts what reads for longer than so many seconds. Safe to use from several threads."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._changed = threading.Condition()
        self._due: dict[apsw.Connection, float] = {}  # time.monotonic
        self._thread: threading.Thread | None = None
        self._is_asleep = False
        self._is_closed = False

    @contextmanager
    def kept(self, connection: apsw.Connection) -> Iterator[None]:
        """The block has so many seconds for what it does with the connection. Raises QueryTooLong beyond."""
        with self._changed:
            self._due[connection] = time.monotonic() + self._seconds
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="query deadlines", daemon=True)
                self._thread.start()
            elif self._is_asleep:
                self._changed.notify()
        try:
            yield
        except apsw.InterruptError as error:
            raise QueryTooLong(
                f"index: not read within {self._seconds:g} s; see query_deadline in table [limits]"
            ) from error
        finally:
            with self._changed:
                del self._due[connection]

    def close(self) -> None:
        """End the thread. May be called twice."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        with self._changed:
            while not self._is_closed:
                now = time.monotonic()
                for connection in [one for one, due in self._due.items() if due <= now]:
                    connection.interrupt()
                    self._due[connection] = now + _AGAIN_SECONDS
                earliest = min(self._due.values(), default=None)
                self._is_asleep = earliest is None
                self._changed.wait(None if earliest is None else earliest - now)
