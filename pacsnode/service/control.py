"""The control socket of a running node, in its data folder.

Who connects sends one line of JSON, an order, and hears a line for each thing there is to tell; without an order, what
the node says of itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pacsnode import log

_NAME = "node.sock"
_ASK_SECONDS = 5.0
_PAUSE_SECONDS = 0.1
_MAX_ANSWER_BYTES = 1024 * 1024
_MAX_ORDER_BYTES = 64 * 1024

Order = Callable[[Mapping[str, object], Callable[[dict[str, object]], None]], None]
"""Does what it was told, and tells of it; telling raises OSError where nobody listens any more."""


@contextmanager
def answering(
    data: Path, report: Callable[[], dict[str, object]], orders: Mapping[str, Order] | None = None
) -> Iterator[None]:
    """Answer whoever may open the data folder with ``report()`` while the block runs, and carry out the orders.

    An order has a thread of its own, which the end of the block does not wait for. Raises OSError.
    """
    with _folder(data) as folder, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        with contextlib.suppress(FileNotFoundError):
            (data / _NAME).unlink()
        sock.bind(f"{folder}/{_NAME}")
        sock.listen()
        stopping = threading.Event()
        thread = threading.Thread(
            target=answer, args=(sock, report, stopping, orders or {}), name="control", daemon=True
        )
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
        with _connected(data) as sock:
            sock.shutdown(socket.SHUT_WR)
            with sock.makefile("rb") as stream:
                answer: dict[str, object] = json.loads(stream.read(_MAX_ANSWER_BYTES))
                return answer
    except (OSError, ValueError):
        return None


def order(data: Path, what: str, **details: str) -> Generator[dict[str, object], None, None] | None:
    """Give an order to the node that runs on this data folder: what it tells; None when none runs.

    What it tells ends early where the node does. To stop listening, close the iterator.
    """
    try:
        sock = _connected(data)
    except OSError:
        return None
    return _told(sock, json.dumps({"order": what, **details}).encode() + b"\n")


def _told(sock: socket.socket, line: bytes) -> Generator[dict[str, object], None, None]:
    with sock, contextlib.suppress(OSError, ValueError):
        sock.sendall(line)
        sock.settimeout(None)  # what was ordered may take hours
        with sock.makefile("rb") as stream:
            while told := stream.readline(_MAX_ANSWER_BYTES):
                yield json.loads(told)


def _connected(data: Path) -> socket.socket:
    with _folder(data) as folder:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(_ASK_SECONDS)
            sock.connect(f"{folder}/{_NAME}")
        except OSError:
            sock.close()
            raise
        return sock


@contextmanager
def _folder(data: Path) -> Iterator[str]:
    """A short path to the folder: the address of a Unix socket holds 107 bytes only."""
    descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def answer(
    sock: socket.socket,
    report: Callable[[], dict[str, object]],
    stopping: threading.Event,
    orders: Mapping[str, Order],
) -> None:
    """Answer one connection after the other until the node stops, which shuts the socket down."""
    while not stopping.is_set():
        try:
            client, _ = sock.accept()
        except OSError:
            stopping.wait(_PAUSE_SECONDS)  # out of descriptors: the connection stays in the queue, so do not spin
            continue
        client.settimeout(_ASK_SECONDS)
        try:
            with client.makefile("rb") as stream:
                line = stream.readline(_MAX_ORDER_BYTES)
            if line:
                _carry_out(client, _ordered(line), orders)
            else:
                _report(client, report)
        except (OSError, ValueError):
            client.close()


def _report(client: socket.socket, report: Callable[[], dict[str, object]]) -> None:
    with client:
        try:
            reported = report()
        except Exception:  # noqa: BLE001 - a question must not end the thread that answers
            log.crash("control_crashed")
            return
        client.sendall(json.dumps(reported).encode())


def _ordered(line: bytes) -> dict[str, object]:
    ordered = json.loads(line)
    if not isinstance(ordered, dict):
        raise ValueError("not an order")
    return ordered


def _carry_out(client: socket.socket, ordered: Mapping[str, object], orders: Mapping[str, Order]) -> None:
    """In a thread of its own, which closes the connection."""
    order = orders.get(str(ordered.get("order")))
    if order is None:
        raise ValueError("no such order")

    def tell(what: dict[str, object]) -> None:
        client.sendall(json.dumps(what).encode() + b"\n")

    def work() -> None:
        with client, contextlib.suppress(OSError):
            try:
                order(ordered, tell)
            except OSError:
                raise
            except Exception:  # noqa: BLE001 - it costs who ordered the end of the answer, and no more
                log.crash("control_crashed")

    threading.Thread(target=work, name="order", daemon=True).start()
