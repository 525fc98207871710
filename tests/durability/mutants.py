"""Faults put into pacsnode on purpose: in the guest this is sitecustomize.py, and MUTANT names one.

Each takes one step out of the promise "bytes durable, then row, then Success"; the power cuts have to find it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any


def no_file_sync() -> None:
    """The bytes of an object are left to the kernel."""
    from pacsnode.storage.calls import FileSystem

    FileSystem.sync = lambda self, descriptor: None  # type: ignore[method-assign]


def no_directory_sync() -> None:
    """The name of an object is left to the kernel."""
    from pacsnode.storage.calls import FileSystem

    FileSystem.sync_directory = lambda self, path: None  # type: ignore[method-assign]


def index_first() -> None:
    """The row is committed before the object is published."""
    from pacsnode.index.sqlite import SqliteIndex
    from pacsnode.model import Instance, Key, Outcome, StoredObject
    from pacsnode.storage.upload import FileUpload

    publish, add, held = FileUpload.commit, SqliteIndex.add, threading.local()

    def commit(self: FileUpload, key: Key) -> StoredObject:
        held.publish = lambda: publish(self, key)
        return StoredObject(key, self._size, self.digest(), self._arrival.transfer_syntax_uid, self._offset)

    def add_and_publish(self: SqliteIndex, instance: Instance) -> Outcome:
        outcome = add(self, instance)
        held.publish()
        return outcome

    FileUpload.commit, SqliteIndex.add = commit, add_and_publish  # type: ignore[method-assign]


def relaxed_index() -> None:
    """The index is told that commits need not be durable."""
    from pacsnode.index import connection

    connection._WRITER_PRAGMAS["synchronous"] = "normal"


def answer_first() -> None:
    """Success is said before anything is durable."""
    from pacsnode.archive import Ingest
    from pacsnode.dimse import status
    from pacsnode.dimse import store as service
    from pacsnode.dimse.association import Association
    from pacsnode.model import Outcome

    commit, serve, respond, held = Ingest.commit, service.StoreService.serve, Association.respond, threading.local()

    def serve_and_remember(self: Any, association: Association, request: Any) -> None:
        held.answer = lambda: respond(association, request, status.SUCCESS, service._instance(request))
        serve(self, association, request)

    def answer_and_commit(self: Ingest) -> Outcome:
        held.answer()
        held.answer = None
        return commit(self)

    def respond_once(self: Association, *arguments: Any) -> None:
        if getattr(held, "answer", self) is not None:
            respond(self, *arguments)
        held.answer = self

    service.StoreService.serve = serve_and_remember  # type: ignore[method-assign]
    Ingest.commit = answer_and_commit  # type: ignore[method-assign]
    Association.respond = respond_once  # type: ignore[method-assign, assignment]


MUTANTS: dict[str, Callable[[], None]] = {
    "no-file-sync": no_file_sync,
    "no-directory-sync": no_directory_sync,
    "index-first": index_first,
    "relaxed-index": relaxed_index,
    "answer-first": answer_first,
}

if __name__ == "sitecustomize":
    MUTANTS[os.environ["MUTANT"]]()
