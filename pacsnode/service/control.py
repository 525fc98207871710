"""The control socket of a running node, in its data folder: one JSON object for each connection."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pacsnode import log

_NAME = "node.sock"
_ASK_SECONDS = 5.0
_PAUSE_SECONDS = 0.1
_MAX_ANSWER_BYTES = 1024 * 1024


@contextmanager
def answering(data: Path, report: Callable[[], dict[str, object]]) -> Iterator[None]:
    """Answer whoever may open the data folder with ``report()`` while the block runs. Raises OSError."""
    with _folder(data) as folder, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        with contextlib.suppress(FileNotFoundError):
            (data / _NAME).unlink()
        sock.bind(f"{folder}/{_NAME}")
        sock.listen()
        stopping = threading.Event()
        thread = threading.Thread(target=answer, args=(sock, report, stopping), name="control", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            sock.shutdown(socket.SHUT_RDWR)
            thread.join()
            (data / _NAME).unlink(missing_ok=True)


def ask(data: Path) -> dict[str, object] | None:
    """What the node that runs on this data folder says of itself; None when none runs."""
    try:
        with _folder(data) as folder, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_ASK_SECONDS)
            sock.connect(f"{folder}/{_NAME}")
            with sock.makefile("rb") as stream:
                answer: dict[str, object] = json.loads(stream.read(_MAX_ANSWER_BYTES))
                return answer
    except (OSError, ValueError):
        return None


@contextmanager
def _folder(data: Path) -> Iterator[str]:
    """A short path to the folder: the address of a Unix socket holds 107 bytes only."""
    descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def answer(sock: socket.socket, report: Callable[[], dict[str, object]], stopping: threading.Event) -> None:
    """Answer one connection after the other until the node stops, which shuts the socket down."""
    while not stopping.is_set():
        try:
            client, _ = sock.accept()
        except OSError:
            stopping.wait(_PAUSE_SECONDS)  # out of descriptors: the connection stays in the queue, so do not spin
            continue
        with client, contextlib.suppress(OSError):
            client.settimeout(_ASK_SECONDS)
            try:
                reported = report()
            except Exception:  # noqa: BLE001 - a question must not end the thread that answers
                log.crash("control_crashed")
                continue
            client.sendall(json.dumps(reported).encode())
