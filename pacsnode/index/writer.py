"""The one connection that writes, shared by all threads: whoever finds it free commits for all that wait.

docs/decisions/0002-index-commit.md has the figures for this against a thread of its own.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import apsw

from pacsnode.errors import IndexFailure, IndexFull, PacsNodeError
from pacsnode.index import migrations
from pacsnode.index.connection import connection_of, grow_log, open_writer, translated

T = TypeVar("T")

_COMMITS_BEFORE_GROWTH = 16
_MAX_BATCH = 256  # requests in one transaction: bounds how long the first of them waits
_SYNC_FAILED = frozenset({apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC})


class Request(Generic[T]):
    """A piece of work for a transaction, and the thread that waits for it."""

    __slots__ = ("_result", "error", "finished", "wake", "work")

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work
        self.error: Exception | None = None
        self.finished = False  # committed, or failed for good
        self.wake = threading.Lock()  # released when finished, or when it is this thread's turn to commit
        self.wake.acquire()
        self._result: list[T] = []

    def run(self) -> bool:
        """Do the work; False when it failed. The error is kept for the thread that asked."""
        self.error = None
        try:
            self._result[:] = [self.work()]
        except Exception as error:  # noqa: BLE001 - raised again by outcome(), in the thread it belongs to
            self.error = error
        return self.error is None

    def outcome(self) -> T:
        """What the work returned. Raises what it raised; errors of SQLite as IndexFailure."""
        if self.error is None:
            return self._result[0]
        if isinstance(self.error, apsw.Error):
            raise _failure(self.error, "write") from self.error
        raise self.error


class Writer:
    """Runs work in durable transactions, that of several threads together.

    ``on_rollback`` is called whenever something that was done was not written after all.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the index. Raises IndexFailure where it cannot be used as it is."""
        self._database = open_writer(path)
        try:
            migrations.create_where_empty(self._database)
            self.connection = connection_of(self._database)
            migrations.require_current(path, self.connection)
        except PacsNodeError:
            self._database.close()
            raise
        self.on_rollback: Callable[[], None] = lambda: None
        self.on_commit: Callable[[int, float], None] = lambda requests, seconds: None
        """Told of each transaction that wrote something: of how many requests, and how long it took."""
        self._mutex = threading.Condition(threading.Lock())
        self._waiting: deque[Request[object]] = deque()
        self._busy = False
        self._until_growth = _COMMITS_BEFORE_GROWTH
        self._closed = False
        self.refusal = ""  # why nothing is written any more

    def run(self, work: Callable[[], T]) -> T:
        """Run the work inside a transaction; what it wrote is durable when this returns.

        Raises what the work raises, and IndexFailure where the commit failed: then nothing of it is certain.
        """
        request = Request(work)
        with self._mutex:
            if self._closed:
                raise IndexFailure("index: closed")
            self._waiting.append(request)  # type: ignore[arg-type]  # only its own thread reads the result
            leads, self._busy = not self._busy, True
        if not leads:
            request.wake.acquire()
        if not request.finished:
            self._lead()
        return request.outcome()

    def commit(self, batch: Sequence[Request[object]]) -> None:
        """Run all requests in one transaction. One that fails does not harm the others; all are finished after it."""
        try:
            if self.refusal:
                raise IndexFailure(self.refusal)
            self._prepare_for_load()
            began, changes = time.perf_counter(), self.connection.total_changes()
            if self._together(batch):
                if self.connection.total_changes() != changes:  # else nothing was written, as for a pulse
                    self.on_commit(len(batch), time.perf_counter() - began)
            elif len(batch) > 1:
                self._apart(batch)
        except (apsw.Error, IndexFailure) as error:
            self._fail(batch, error)
        except BaseException as error:
            self._fail(batch, error)
            raise
        finally:
            for request in batch:
                request.finished = True

    def close(self) -> None:
        """Wait for what is under way, bring the log into the database and close. May be called twice."""
        with self._mutex:
            already, self._closed = self._closed, True
            self._mutex.wait_for(lambda: not self._busy)
        if already:
            return
        try:
            with translated("cannot checkpoint"):
                self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            self._database.close()

    def _lead(self) -> None:
        """Commit what waits now, then hand over to the first of those that came meanwhile."""
        with self._mutex:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_BATCH))]
        try:
            self.commit(batch)
        finally:
            with self._mutex:
                successor = self._waiting[0] if self._waiting else None
                self._busy = successor is not None
                self._mutex.notify_all()
            for request in batch:
                request.wake.release()
            if successor is not None:
                successor.wake.release()

    def _prepare_for_load(self) -> None:
        """Lengthen the log once, when it turns out that more than a command's few commits will come."""
        self._until_growth -= 1
        if self._until_growth == 0:
            with contextlib.suppress(IndexFailure):  # no room for it may be room enough for what is to be written
                grow_log(self.connection)

    def _together(self, batch: Sequence[Request[object]]) -> bool:
        """The ordinary way: no savepoints. False when one failed; nothing is written then."""
        self.connection.execute("BEGIN IMMEDIATE")
        for request in batch:
            if not request.run():
                self._roll_back()
                return False
        self.connection.execute("COMMIT")
        return True

    def _apart(self, batch: Sequence[Request[object]]) -> None:
        """The same with a savepoint for each, after one failed: the others are kept."""
        self.connection.execute("BEGIN IMMEDIATE")
        for request in batch:
            self.connection.execute("SAVEPOINT request")
            if not request.run():
                if request.error and not self.connection.in_transaction:
                    raise request.error  # such as a full disk: SQLite has rolled back everything
                self.connection.execute("ROLLBACK TO request")
                self.on_rollback()
            self.connection.execute("RELEASE request")
        self.connection.execute("COMMIT")

    def _fail(self, batch: Sequence[Request[object]], error: BaseException) -> None:
        self._roll_back()
        if getattr(error, "extendedresult", 0) in _SYNC_FAILED:
            # Linux may have dropped the pages: a second sync would succeed and mean nothing.
            self.refusal = "index: a sync failed; nothing is written until the node is started again"
        for request in batch:
            request.error = _failure(error, "commit")

    def _roll_back(self) -> None:
        self.on_rollback()
        if self.connection.in_transaction:
            # Where this fails the transaction stays open, and the next BEGIN says so.
            with contextlib.suppress(apsw.Error):
                self.connection.execute("ROLLBACK")


def _failure(error: BaseException, doing: str) -> IndexFailure:
    kind = IndexFull if isinstance(error, (apsw.FullError, IndexFull)) else IndexFailure
    return kind(f"index: cannot {doing}: {error}")
