"""Codec processes: what goes wrong in one costs one attempt, and nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from pacsnode.codec.codecs import Codec
from pacsnode.codec.core import on_one_core
from pacsnode.codec.sandbox import Limits, Sandbox
from pacsnode.errors import (
    CodecCrashed,
    CodecFailure,
    CodecRefused,
    CodecTooLarge,
    CodecTooSlow,
    CodecUnavailable,
)
from tests.codec.material import GREY, faulty, native
from tests.dimse.conftest import eventually

FAULTS: list[tuple[str, type[CodecFailure], Limits]] = [
    ("crashes", CodecCrashed, Limits()),
    ("fails", CodecCrashed, Limits()),
    ("babbles", CodecCrashed, Limits()),
    ("hangs", CodecTooSlow, Limits(seconds=0.3)),
    ("spins", CodecCrashed, Limits(cpu_seconds=0)),
    ("eats", CodecTooLarge, Limits()),
]


def is_running(pid: int) -> bool:
    """Is there a process of this number that has not ended?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(("fault", "error", "limits"), FAULTS, ids=[fault for fault, _, _ in FAULTS])
def test_a_fault_costs_one_attempt(fault: str, error: type[CodecFailure], limits: Limits) -> None:
    """The error says which; the process is gone, and the next attempt has another one. No word of the data."""
    with faulty(fault, limits) as sandbox:
        for _ in range(2):
            with pytest.raises(error) as raised:
                sandbox.encode(Codec.HTJ2K, GREY, native(GREY))
            assert [] == sandbox.process_ids()
            assert "Doe" not in str(raised.value)


def test_a_decoder_that_returns_too_little() -> None:
    """What has not the bytes of its frame is no frame."""
    with faulty("short") as liar, Sandbox() as sandbox:
        stream = sandbox.encode(Codec.HTJ2K, GREY, native(GREY))
        with pytest.raises(CodecCrashed):
            liar.decode(Codec.HTJ2K.transfer_syntax_uid, GREY, stream)


def test_a_refusal_keeps_the_process(sandbox: Sandbox) -> None:
    """What is refused before a codec saw it did no harm to the process."""
    sandbox.encode(Codec.JPEG_LS, GREY, native(GREY))
    before = set(sandbox.process_ids())
    with pytest.raises(CodecRefused, match="Bits Stored"):
        sandbox.encode(Codec.JPEG_LS, GREY, b"\xff" * GREY.frame_bytes)

    assert before == set(sandbox.process_ids())


@pytest.mark.parametrize("stream", [b"", b"\xff\x4f\xff\x51", b"\xff\xd8\xff\xd9", bytes(3000)], ids=len)
@pytest.mark.parametrize("codec", Codec)
def test_rubbish(sandbox: Sandbox, codec: Codec, stream: bytes) -> None:
    """What is no codestream is an error, whatever the codec makes of it."""
    with pytest.raises(CodecFailure):
        sandbox.decode(codec.transfer_syntax_uid, GREY, stream)


def test_many_frames_have_one_process() -> None:
    """Starting costs more than a frame does."""
    with Sandbox(4) as sandbox:
        for seed in range(20):
            frame = native(GREY, seed)
            stream = sandbox.encode(Codec.HTJ2K, GREY, frame)
            assert frame == sandbox.decode(Codec.HTJ2K.transfer_syntax_uid, GREY, stream)

        assert 1 == len(sandbox.process_ids())


def test_as_many_processes_as_allowed() -> None:
    """Threads beyond that wait for their turn, and each gets its own answer."""
    frames = [native(GREY, seed) for seed in range(12)]
    found: list[bytes | None] = [None] * len(frames)
    with Sandbox(2) as sandbox:

        def work(number: int) -> None:
            stream = sandbox.encode(Codec.RLE, GREY, frames[number])
            found[number] = sandbox.decode(Codec.RLE.transfer_syntax_uid, GREY, stream)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(frames))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(sandbox.process_ids()) <= 2
    assert frames == found


def test_one_that_ended_while_idle_is_replaced() -> None:
    """Nobody's attempt fails for it."""
    with Sandbox() as sandbox:
        sandbox.encode(Codec.RLE, GREY, native(GREY))
        (pid,) = sandbox.process_ids()
        os.kill(pid, 9)
        assert eventually(lambda: not is_running(pid))

        assert sandbox.encode(Codec.RLE, GREY, native(GREY))


def test_closing_leaves_nothing() -> None:
    """Neither processes nor descriptors, and what was under way fails."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    sandbox = faulty("hangs")
    errors: list[CodecFailure] = []

    def work() -> None:
        try:
            sandbox.encode(Codec.HTJ2K, GREY, native(GREY))
        except CodecFailure as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert eventually(lambda: bool(sandbox.process_ids()))
    pids = sandbox.process_ids()
    sandbox.close()
    thread.join(10)

    assert 1 == len(errors)
    assert [False] == [is_running(pid) for pid in pids]
    assert before == len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(CodecUnavailable):
        sandbox.encode(Codec.HTJ2K, GREY, native(GREY))
    sandbox.close()


@pytest.mark.parametrize("command", [("/nowhere",), (sys.executable, "-c", "raise SystemExit(1)")])
def test_no_process_to_be_had(command: Sequence[str]) -> None:
    """A process that cannot be started, or does not get so far as to ask for work, says nothing of the frame."""
    with Sandbox(command=command) as sandbox:
        with pytest.raises(CodecUnavailable, match="no codec process could be started"):
            sandbox.encode(Codec.HTJ2K, GREY, native(GREY))
        assert [] == sandbox.process_ids()


_PARENT = """
import sys, threading
from pacsnode.codec.sandbox import Sandbox
from pacsnode.codec.codecs import Codec
from tests.codec.material import GREY, faulty, native
sandbox = Sandbox() if sys.argv[1] == "idle" else faulty("spins")
thread = threading.Thread(target=lambda: sandbox.encode(Codec.HTJ2K, GREY, native(GREY)), daemon=True)
thread.start()
if sys.argv[1] == "idle":
    thread.join()
while not sandbox.process_ids():
    pass
print(*sandbox.process_ids(), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("what", ["idle", "busy"])
def test_a_parent_that_is_killed_leaves_nothing(what: str) -> None:
    """Codec processes die with it, also in the middle of a frame; and not with the thread that asked."""
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    was_running = is_running(pid)
    parent.kill()
    parent.communicate()

    assert was_running
    assert eventually(lambda: not is_running(pid))


def test_the_process_is_confined(sandbox: Sandbox) -> None:
    """No core files, a bounded address space, a session of its own, and it may gain no rights."""
    sandbox.encode(Codec.RLE, GREY, native(GREY))
    pid = sandbox.process_ids()[0]
    limits = Path(f"/proc/{pid}/limits").read_text()

    def told(name: str) -> list[str]:
        return next(line for line in limits.splitlines() if line.startswith(name)).split()

    assert ["0", "0"] == told("Max core file size")[4:6]
    assert str(Limits().memory_bytes) == told("Max address space")[3]
    assert pid == os.getsid(pid)
    assert "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()


def test_a_process_beside_its_caller() -> None:
    """While a thread is bound to one core its process is there, too; then the thread has all that it had before."""
    before = os.sched_getaffinity(0)
    with Sandbox() as sandbox:
        sandbox.encode(Codec.HTJ2K, GREY, native(GREY))
        assert [before] == [os.sched_getaffinity(pid) for pid in sandbox.process_ids()]
        with on_one_core():
            bound = os.sched_getaffinity(0)
            sandbox.encode(Codec.HTJ2K, GREY, native(GREY))
        assert [bound] == [os.sched_getaffinity(pid) for pid in sandbox.process_ids()]

    assert (1, before) == (len(bound), os.sched_getaffinity(0))


def test_a_thread_is_let_go_after_an_error() -> None:
    """Whatever becomes of an object, the thread is not bound to its core for ever."""
    before = os.sched_getaffinity(0)
    with pytest.raises(CodecCrashed), on_one_core():
        raise CodecCrashed("ended")

    assert before == os.sched_getaffinity(0)
