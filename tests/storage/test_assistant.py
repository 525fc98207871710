"""The second thread that hashes: the digest is right, and nothing of it is under way afterwards."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest

from pacsnode.storage.assistant import Assistant

CONTENT = memoryview(os.urandom(1024 * 1024))
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_both_are_done_when_it_returns() -> None:
    """Content that is changed right after it returns was hashed as it was, time and again with the same thread."""
    assistant, done = Assistant(), threading.Event()
    content = memoryview(bytearray(CONTENT))
    for _ in range(20):
        content[:] = CONTENT
        done.clear()
        digest = hashlib.sha256()
        assistant.hash_beside(digest, content, done.set)
        content[:] = bytes(len(content))
        assert (DIGEST, True) == (digest.hexdigest(), done.is_set())


def test_hashes_in_another_thread() -> None:
    """The work is done by the caller's thread, the hashing by one of its own."""
    threads = []

    class Noting:
        def update(self, data: memoryview, /) -> None:
            threads.append(threading.current_thread().name)

    Assistant().hash_beside(Noting(), CONTENT, lambda: threads.append(threading.current_thread().name))
    assert {"digests", threading.current_thread().name} == set(threads)


def test_who_finds_it_busy_hashes_for_himself() -> None:
    """A second upload does not wait for the thread that helps the first."""
    assistant, first, second = Assistant(), hashlib.sha256(), hashlib.sha256()

    def meanwhile() -> None:
        assistant.hash_beside(second, CONTENT, lambda: None)

    assistant.hash_beside(first, CONTENT, meanwhile)
    assert [DIGEST, DIGEST] == [first.hexdigest(), second.hexdigest()]


def test_work_that_fails() -> None:
    """What the work raises comes out after the hashing is over, and the next upload is helped again."""
    assistant, digest = Assistant(), hashlib.sha256()

    def fail() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        assistant.hash_beside(digest, CONTENT, fail)
    assert DIGEST == digest.hexdigest()
    again = hashlib.sha256()
    assistant.hash_beside(again, CONTENT, lambda: None)
    assert DIGEST == again.hexdigest()


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no thread, the caller hashes, and nothing fails."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    digest, done = hashlib.sha256(), []
    Assistant().hash_beside(digest, CONTENT, lambda: done.append(True))
    assert (DIGEST, [True]) == (digest.hexdigest(), done)
