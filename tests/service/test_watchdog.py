"""The watchdog hears of us only as long as the check says that all is well."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pacsnode.service import watchdog


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """systemd's socket; it wants to be told every 0.3 s."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


class Check:
    """Answers as set; ``asked`` again and again."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer
        self.asked = threading.Semaphore(0)

    def __call__(self) -> str:
        self.asked.release()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("failing", ["the index does not write", OSError("a defect")])
def test_trouble_is_not_fed(manager: socket.socket, caplog: pytest.LogCaptureFixture, failing: str | Exception) -> None:
    """While the check finds trouble, or fails, nothing is said but in the log; afterwards it goes on."""
    check = Check(failing)
    with watchdog.feeding(check):
        for _ in range(3):
            assert check.asked.acquire(timeout=5)
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(100)
        manager.settimeout(5)
        check.answer = ""

        assert b"WATCHDOG=1" == manager.recv(100)
    assert "watchdog_unfed" in caplog.text


def test_check_that_hangs_is_not_fed(manager: socket.socket) -> None:
    """A check that does not come back is a node that hangs."""
    hanging, asked = threading.Event(), threading.Event()

    def check() -> str:
        asked.set()
        hanging.wait(5)
        return "over"

    with watchdog.feeding(check):
        assert asked.wait(5)
        manager.settimeout(0.5)
        with pytest.raises(TimeoutError):
            manager.recv(100)
    hanging.set()


@pytest.mark.parametrize(("name", "value"), [("WATCHDOG_USEC", ""), ("WATCHDOG_PID", str(os.getpid() + 1))])
def test_no_watchdog(manager: socket.socket, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Without one, or with one for another process, nothing is checked."""
    monkeypatch.setenv(name, value)
    check = Check("")
    with watchdog.feeding(check):
        assert not check.asked.acquire(timeout=0.2)
