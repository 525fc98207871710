"""A second thread that hashes bytes while the one that has them writes them: hashlib lets both run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Protocol

_WORTH_BYTES = 128 * 1024  # less is hashed sooner than another thread begins


class Digest(Protocol):
    """What ``hashlib`` gives."""

    def update(self, data: memoryview, /) -> None:
        """Take the next bytes."""


class Assistant:
    """Hashes for one upload at a time, in a thread that the first one starts. Safe to use from several threads."""

    def __init__(self) -> None:
        self._free = threading.Lock()
        self._begun, self._done = threading.Lock(), threading.Lock()
        self._begun.acquire()
        self._done.acquire()
        self._task: tuple[Digest, memoryview] | None = None
        self._has_thread = False

    def hash_beside(self, digest: Digest, content: memoryview, work: Callable[[], None]) -> None:
        """Update the digest and do the work, at the same time where that is worth it and nobody else is being helped.

        Both are over when this returns, or raises what the work raises: the content may be changed then.
        """
        if len(content) < _WORTH_BYTES or not self._free.acquire(blocking=False):
            digest.update(content)
            work()
            return
        try:
            self._help(digest, content, work)
        finally:
            self._free.release()

    def _help(self, digest: Digest, content: memoryview, work: Callable[[], None]) -> None:
        if not self._is_there():
            digest.update(content)
            work()
            return
        self._task = (digest, content)
        self._begun.release()
        try:
            work()
        finally:
            self._done.acquire()

    def _is_there(self) -> bool:
        if not self._has_thread:
            with contextlib.suppress(RuntimeError):  # the system has no thread left: another time
                threading.Thread(target=self._serve, name="digests", daemon=True).start()
                self._has_thread = True
        return self._has_thread

    def _serve(self) -> None:
        while self._begun.acquire():
            if self._task is not None:
                digest, content = self._task
                digest.update(content)
                self._task = None
                del digest, content  # nothing is held of an upload that is over
            self._done.release()
