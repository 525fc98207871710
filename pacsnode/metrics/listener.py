"""A small HTTP server for monitoring, on loopback or a Unix socket: few threads, each under a deadline."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pacsnode import log

Answer = tuple[int, str, bytes]
"""Status, media type and body."""
Pages = Mapping[str, Callable[[], Answer]]
PLAIN = "text/plain; charset=utf-8"
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
_THREADS = 4
_SECONDS = 5.0  # for a request to come whole, and for its answer to be taken
_MAX_REQUEST_BYTES = 8192
_PAUSE_SECONDS = 0.1
_MODE = 0o660


@contextmanager
def answering(address: tuple[str, int] | Path, pages: Pages) -> Iterator[str]:
    """Answer GET and HEAD while the block runs; gives the address. Raises OSError where it cannot listen."""
    with _bound(address) as sock:
        stopping = threading.Event()
        thread = threading.Thread(target=_accept, args=(sock, pages, stopping), name="metrics", daemon=True)
        thread.start()
        try:
            yield _text(sock)
        finally:
            stopping.set()
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            thread.join()
            if isinstance(address, Path):
                address.unlink(missing_ok=True)


def _bound(address: tuple[str, int] | Path) -> socket.socket:
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if isinstance(address, Path):
            if address.is_socket():  # left by a node that was killed
                address.unlink()
            sock.bind(str(address))
            address.chmod(_MODE)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        sock.listen(16)
    except OSError:
        sock.close()
        raise
    return sock


def _text(sock: socket.socket) -> str:
    name = sock.getsockname()
    if isinstance(name, str):
        return name
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


def _accept(sock: socket.socket, pages: Pages, stopping: threading.Event) -> None:
    free = threading.BoundedSemaphore(_THREADS)
    while not stopping.is_set():
        try:
            client, _ = sock.accept()
        except OSError:
            stopping.wait(_PAUSE_SECONDS)
            continue
        if not free.acquire(timeout=_SECONDS):
            client.close()
            continue
        threading.Thread(target=_serve, args=(client, pages, free), name="metrics answer", daemon=True).start()


def _serve(client: socket.socket, pages: Pages, free: threading.BoundedSemaphore) -> None:
    try:
        with contextlib.suppress(OSError):
            _answer(client, pages)
    except Exception:  # noqa: BLE001 - a question must not end more than its own thread
        log.crash("metrics_crashed")
    finally:
        client.close()
        free.release()


def _answer(client: socket.socket, pages: Pages) -> None:
    method, path = _request(client, time.monotonic() + _SECONDS)
    if method not in ("GET", "HEAD"):
        code, kind, body = (405, PLAIN, b"GET and HEAD only\n") if method else (400, PLAIN, b"not a request\n")
    elif path in pages:
        code, kind, body = pages[path]()
    else:
        code, kind, body = 404, PLAIN, "".join(f"{name}\n" for name in pages).encode()
    head = (
        f"HTTP/1.1 {code} {_REASONS[code]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    client.settimeout(_SECONDS)
    client.sendall(head.encode("ascii") + (b"" if method == "HEAD" else body))


def _request(client: socket.socket, deadline: float) -> tuple[str, str]:
    """Method and path; both empty for what is no request."""
    collected = b""
    while b"\r\n\r\n" not in collected and len(collected) < _MAX_REQUEST_BYTES:
        client.settimeout(max(deadline - time.monotonic(), 0.001))
        piece = client.recv(_MAX_REQUEST_BYTES)
        if not piece:
            break
        collected += piece
    words = collected.partition(b"\r\n")[0].decode("ascii", "replace").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return "", ""
    return words[0], words[1].partition("?")[0]
