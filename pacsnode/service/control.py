"""The control socket of a running node, in its data folder: a question and its answer for each connection."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pacsnode import log

_NAME = "node.sock"
_ASK_SECONDS = 5.0
_QUESTION_SECONDS = 2.0  # whoever asks does so at once; nobody else is answered meanwhile
_PAUSE_SECONDS = 0.1
_MAX_QUESTION_BYTES = 64 * 1024
_MAX_ANSWER_BYTES = 1024 * 1024
STATUS = "status"

Answers = Mapping[str, Callable[[Mapping[str, str]], dict[str, object]]]
"""What can be asked of a node: from the name of a question and its arguments to the answer."""


@contextmanager
def answering(data: Path, answers: Answers) -> Iterator[None]:
    """Answer whoever may open the data folder while the block runs. Raises OSError."""
    with _folder(data) as folder, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        with contextlib.suppress(FileNotFoundError):
            (data / _NAME).unlink()
        sock.bind(f"{folder}/{_NAME}")
        sock.listen()
        stopping = threading.Event()
        thread = threading.Thread(target=answer, args=(sock, answers, stopping), name="control", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            sock.shutdown(socket.SHUT_RDWR)
            thread.join()
            (data / _NAME).unlink(missing_ok=True)


def ask(
    data: Path, question: str = STATUS, /, *, seconds: float = _ASK_SECONDS, **arguments: str
) -> dict[str, object] | None:
    """What the node that runs on this data folder answers, by default of itself; None when none runs or answers."""
    try:
        with _folder(data) as folder, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(seconds)
            sock.connect(f"{folder}/{_NAME}")
            sock.sendall(json.dumps({**arguments, "question": question}).encode() + b"\n")
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


def answer(sock: socket.socket, answers: Answers, stopping: threading.Event) -> None:
    """Answer one connection after the other until the node stops, which shuts the socket down."""
    while not stopping.is_set():
        try:
            client, _ = sock.accept()
        except OSError:
            stopping.wait(_PAUSE_SECONDS)  # out of descriptors: the connection stays in the queue, so do not spin
            continue
        with client, contextlib.suppress(OSError):
            client.settimeout(_QUESTION_SECONDS)
            try:
                said = _answer(client, answers)
            except OSError:
                continue
            except Exception:  # noqa: BLE001 - a question must not end the thread that answers
                log.crash("control_crashed")
                continue
            client.settimeout(_ASK_SECONDS)
            client.sendall(json.dumps(said).encode())


def _answer(client: socket.socket, answers: Answers) -> dict[str, object]:
    with client.makefile("rb") as stream:
        asked = json.loads(stream.readline(_MAX_QUESTION_BYTES))
    known = answers.get(asked.pop("question"))
    return known(asked) if known is not None else {"error": "the running node does not know this question; restart it"}
