"""The HTTP listener of monitoring."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pacsnode.metrics import listener
from pacsnode.metrics.listener import PLAIN


def broken() -> listener.Answer:
    """A page with a defect."""
    raise RuntimeError("a defect")


PAGES: listener.Pages = {
    "/fine": lambda: (200, PLAIN, b"fine\n"),
    "/not": lambda: (503, PLAIN, b"not now\n"),
    "/broken": broken,
}


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    """Of a listener with a few pages."""
    with listener.answering(("127.0.0.1", 0), PAGES) as text:
        host, _, port = text.rpartition(":")
        yield host, int(port)


def said(address: tuple[str, int] | str, request: bytes) -> bytes:
    """All that is answered to these bytes."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(address)
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_pages(address: tuple[str, int]) -> None:
    """An ordinary HTTP client gets what a page says, with its status."""
    base = f"http://{address[0]}:{address[1]}"
    with urllib.request.urlopen(f"{base}/fine?really", timeout=10) as answer:
        assert (200, b"fine\n") == (answer.status, answer.read())
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{base}/not", timeout=10)

    assert (503, b"not now\n") == (error.value.code, error.value.read())
    error.value.close()


@pytest.mark.parametrize(
    ("request_line", "code"),
    [
        (b"GET /elsewhere HTTP/1.1", 404),
        (b"POST /fine HTTP/1.1", 405),
        (b"\x16\x03\x01 TLS", 400),
        (b"", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1", None),
    ],
)
def test_other_requests(address: tuple[str, int], request_line: bytes, code: int | None) -> None:
    """What is no request for a page is refused or dropped, and the next one is answered."""
    try:
        answer = said(address, request_line + b"\r\n\r\n")
    except ConnectionError:
        answer = b""

    assert code is None or answer.startswith(b"HTTP/1.1 %d " % code)
    assert said(address, b"GET /fine HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\nfine\n")


def test_head(address: tuple[str, int]) -> None:
    """HEAD has the head alone."""
    assert said(address, b"HEAD /fine HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\n")


def test_a_defect_ends_one_answer(address: tuple[str, int], caplog: pytest.LogCaptureFixture) -> None:
    """A page that fails costs its own connection and a line in the log, without what the error said."""
    assert b"" == said(address, b"GET /broken HTTP/1.1\r\n\r\n")
    deadline = time.monotonic() + 10
    while "event=metrics_crashed error=RuntimeError" not in caplog.text:  # its thread writes after it has hung up
        assert time.monotonic() < deadline
        assert b"fine" in said(address, b"GET /fine HTTP/1.1\r\n\r\n")
    assert "a defect" not in caplog.text


def test_silent_connections_keep_nobody_out(address: tuple[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects and says nothing is cut off, and others are answered."""
    monkeypatch.setattr(listener, "_SECONDS", 0.2)
    silent = [socket.create_connection(address, timeout=10) for _ in range(6)]
    try:
        assert b"fine" in said(address, b"GET /fine HTTP/1.1\r\n\r\n")
    finally:
        for sock in silent:
            sock.close()


def test_unix_socket(tmp_path: Path) -> None:
    """On a Unix socket, even where a killed node left one; for owner and group, and gone at the end."""
    path = tmp_path / "metrics.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    with listener.answering(path, PAGES) as text:
        assert str(path) == text
        assert b"fine" in said(text, b"GET /fine HTTP/1.0\r\n\r\n")
        assert 0o660 == path.stat().st_mode & 0o777

    assert not path.exists()
