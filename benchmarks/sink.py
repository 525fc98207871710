"""The destination of C-MOVEs: accepts every context, counts, answers Success, and drops what it received.

It runs in a process of its own and serves one association at a time per thread.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import socket
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection as Pipe

from benchmarks.associate import associate_ac
from benchmarks.connection import Connection, Ended
from benchmarks.loadgen import MAXIMUM_PDU_BYTES, store_response
from pacsnode.wire.pdu import PduType, release_rp

AE_TITLE = "SINK"
_START_SECONDS = 30.0


class Sink:
    """A running sink."""

    def __init__(self, port: int, counts: Pipe) -> None:
        self.port = port
        self._counts = counts

    def take_counts(self) -> tuple[int, int]:
        """Instances and bytes of data sets that came since the last call."""
        self._counts.send(None)
        instances, data_bytes = self._counts.recv()
        return int(instances), int(data_bytes)


@contextlib.contextmanager
def running() -> Iterator[Sink]:
    """A sink on a free port of loopback for the ``with`` block."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        if not ours.poll(_START_SECONDS):
            raise RuntimeError("the sink did not start")
        yield Sink(ours.recv(), ours)
    finally:
        process.terminate()
        process.join()
        ours.close()
        theirs.close()


class _Counter:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._instances = 0
        self._bytes = 0

    def add(self, data_bytes: int) -> None:
        with self._lock:
            self._instances += 1
            self._bytes += data_bytes

    def take(self) -> tuple[int, int]:
        with self._lock:
            taken = (self._instances, self._bytes)
            self._instances = self._bytes = 0
        return taken


def _serve(pipe: Pipe) -> None:
    counter = _Counter()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        threading.Thread(target=_accept, args=(listener, counter), daemon=True).start()
        pipe.send(listener.getsockname()[1])
        while True:
            pipe.recv()
            pipe.send(counter.take())


def _accept(listener: socket.socket, counter: _Counter) -> None:
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=_take_association, args=(sock, counter), daemon=True).start()


def _take_association(sock: socket.socket, counter: _Counter) -> None:
    connection = Connection(sock)
    try:
        request = connection.next_control()
        connection.send([associate_ac(request.data, MAXIMUM_PDU_BYTES)])
        while True:
            message = connection.next_message()
            counter.add(message.data_bytes)
            connection.send_command(message.context_id, store_response(message), MAXIMUM_PDU_BYTES)
    except Ended as end:
        if end.kind is PduType.RELEASE_RQ:
            connection.send([release_rp()])
    finally:
        connection.close()
