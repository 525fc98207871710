"""What we tell systemd."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pacsnode.service import systemd


def test_notify_sends_the_assignments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sd_notify(3): one datagram, assignments on lines."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        systemd.notify("READY=1", "STATUS=listening")

        assert b"READY=1\nSTATUS=listening" == manager.recv(1024)


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "@pacsnode-nobody-listens"])
def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """No manager, or one that has gone, is no trouble."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)

    assert systemd.notify("READY=1") is None  # type: ignore[func-returns-value]
