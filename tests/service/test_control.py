"""The control socket of a running node."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pacsnode.service import control


def test_asking_a_running_node(tmp_path: Path) -> None:
    """Every question gets a fresh answer."""
    answers = iter([dict[str, object](associations=1), dict[str, object](associations=2)])
    with control.answering(tmp_path, lambda: next(answers)):
        first, second = control.ask(tmp_path), control.ask(tmp_path)

    assert ({"associations": 1}, {"associations": 2}) == (first, second)


def test_no_node_is_no_answer(tmp_path: Path) -> None:
    """Without a node, without a folder, after the node has gone, and where one was killed: None."""
    before = control.ask(tmp_path)
    with control.answering(tmp_path, dict):
        pass
    after = control.ask(tmp_path)
    (tmp_path / "node.sock").touch()

    assert [None] * 4 == [before, after, control.ask(tmp_path), control.ask(tmp_path / "missing")]


def test_the_socket_of_a_killed_node_is_replaced(tmp_path: Path) -> None:
    """What a killed node left behind does not keep the next one from answering."""
    (tmp_path / "node.sock").touch()
    with control.answering(tmp_path, lambda: {"associations": 0}):
        assert {"associations": 0} == control.ask(tmp_path)


def test_deep_folders_work(tmp_path: Path) -> None:
    """A path longer than a Unix socket's address is no obstacle."""
    deep = tmp_path.joinpath(*["a-rather-long-folder-name"] * 6)
    deep.mkdir(parents=True)
    with control.answering(deep, lambda: {"associations": 3}):
        assert {"associations": 3} == control.ask(deep)


def test_a_failing_report_does_not_end_the_answers(tmp_path: Path) -> None:
    """A fault of ours costs one answer."""
    denominators = iter([0, 4])

    def report() -> dict[str, object]:
        return {"associations": 16 // next(denominators)}

    with control.answering(tmp_path, report):
        failed, answered = control.ask(tmp_path), control.ask(tmp_path)

    assert (None, {"associations": 4}) == (failed, answered)


class Exhausted(socket.socket):
    """Has no descriptor left for the first connection."""

    is_full = True

    def accept(self) -> tuple[socket.socket, Any]:
        if self.is_full:
            self.is_full = False
            raise OSError(errno.EMFILE, "too many open files")
        return super().accept()


def test_a_lack_of_descriptors_does_not_end_the_answers(tmp_path: Path) -> None:
    """Once there are descriptors again, the question that waited is answered."""
    stopping = threading.Event()
    with Exhausted(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(tmp_path / "node.sock"))
        listening.listen()
        thread = threading.Thread(target=control.answer, args=(listening, lambda: {"associations": 5}, stopping, {}))
        thread.start()
        answered = control.ask(tmp_path)
        stopping.set()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)

    assert {"associations": 5} == answered
    assert not thread.is_alive()


def test_orders_tell_line_by_line(tmp_path: Path) -> None:
    """An order hears its details, tells as it goes, and leaves questions to be answered meanwhile."""
    release = threading.Event()

    def count(details: Mapping[str, object], tell: Callable[[dict[str, object]], None]) -> None:
        tell({"name": details["name"]})
        release.wait(10)
        tell({"done": True})

    with control.answering(tmp_path, lambda: {"associations": 6}, {"count": count}):
        lines = control.order(tmp_path, "count", name="x")
        assert lines is not None
        first = next(lines)
        meanwhile = control.ask(tmp_path)
        release.set()
        rest = list(lines)

    assert ({"name": "x"}, {"associations": 6}, [{"done": True}]) == (first, meanwhile, rest)


def test_order_without_a_node(tmp_path: Path) -> None:
    """Nobody is there to give it to."""
    assert control.order(tmp_path, "count") is None


def test_orders_that_are_none(tmp_path: Path) -> None:
    """An unknown order, and one that fails, end without a word; questions are still answered."""

    def fail(details: Mapping[str, object], tell: Callable[[dict[str, object]], None]) -> None:
        raise ValueError("a fault")

    with control.answering(tmp_path, lambda: {"associations": 7}, {"fail": fail}):
        told = [list(control.order(tmp_path, what) or [{"no": "node"}]) for what in ("fail", "unknown")]
        answered = control.ask(tmp_path)

    assert ([[], []], {"associations": 7}) == (told, answered)


def test_noise_on_the_socket(tmp_path: Path) -> None:
    """What is no order costs its sender the connection, and nobody else anything."""
    with control.answering(tmp_path, lambda: {"associations": 8}, {}):
        for noise in (b"\xff\n", b"[]\n", b"3\n", b"{}\n"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.connect(str(tmp_path / "node.sock"))
                sock.sendall(noise)
                assert b"" == sock.recv(1)

        assert {"associations": 8} == control.ask(tmp_path)
