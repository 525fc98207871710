"""Codec processes with limits: a crash, a hang or a bomb costs one attempt. Safe to use from several threads.

Processes are started when they are needed, serve many frames, and are replaced when one went wrong.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import IO, Any, cast

from pacsnode.codec.codecs import Codec
from pacsnode.codec.core import Follower
from pacsnode.dicom.pixels import PixelDescription
from pacsnode.errors import (
    CodecCrashed,
    CodecFailure,
    CodecRefused,
    CodecTooLarge,
    CodecTooSlow,
    CodecUnavailable,
)
from pacsnode.model import Uid

WORKER: Sequence[str] = (sys.executable, "-I", "-m", "pacsnode.codec.worker")
_START_SECONDS = 60.0
_MAX_REPLY_BYTES = 4096
_MAX_MADE_BYTES = 1024 * 1024 * 1024
_KEPT_BYTES = 16 * 1024 * 1024  # of memory for frames that a process keeps while it has nothing to do
# Libraries that would start a thread for every core, each with address space of its own.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one codec process. The times are for one frame; ``seconds`` is by the clock on the wall."""

    memory_bytes: int = 3 * 1024 * 1024 * 1024  # of address space, libraries and all
    cpu_seconds: int = 60
    seconds: float = 120.0
    niceness: int = 0


class Sandbox:
    """Up to so many codec processes. Used by ``encode`` and ``decode``, ended by ``close``."""

    def __init__(self, processes: int = 1, limits: Limits | None = None, command: Sequence[str] = WORKER) -> None:
        """Nothing is started yet. ``command`` starts a codec process."""
        self._limits = limits or Limits()
        self._command = command
        self._turns = threading.BoundedSemaphore(processes)
        self._lock = threading.Lock()  # guards all below
        self._idle: list[_Process] = []
        self._all: set[_Process] = set()
        self._is_closed = False
        # A process dies with the thread that started it (PR_SET_PDEATHSIG): that has to live as long as we do.
        self._starter = ThreadPoolExecutor(1, "codec starter")

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def encode(self, codec: Codec, pixels: PixelDescription, frame: bytes) -> bytes:
        """One native frame as a codestream, not verified. Raises CodecFailure."""
        return self._ask(_encoding(codec), pixels, frame)

    def decode(self, transfer_syntax_uid: Uid, pixels: PixelDescription, stream: bytes) -> bytes:
        """One codestream as a native frame, which has the bytes that it must have. Raises CodecFailure."""
        native = self._ask(_decoding(transfer_syntax_uid), pixels, stream)
        if len(native) != pixels.frame_bytes:
            raise CodecCrashed("the codec's process told of another size than its frame has")
        return native

    def process_ids(self) -> list[int]:
        """Of the processes that run now."""
        with self._lock:
            return [process.pid for process in self._all]

    def close(self) -> None:
        """End every process, those at work, too; what they were asked for fails. May be called twice."""
        with self._lock:
            self._is_closed = True
            processes, idle = list(self._all), list(self._idle)
            self._idle.clear()
        for process in processes:
            process.kill()
        for process in idle:  # those at work are released by who uses them
            self._forget(process)
        self._starter.shutdown()

    def _ask(self, what: bytes, pixels: PixelDescription, frame: bytes) -> bytes:
        with self._turns:
            process = self._idle_one() or self._start()
            try:
                made = process.ask(what, pixels, frame, self._limits)
            except CodecRefused:
                self._take_back(process)
                raise
            except BaseException:
                self._forget(process)
                raise
            self._take_back(process)
            return made

    def _idle_one(self) -> _Process | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                process = self._idle.pop()
            if process.is_alive:
                return process
            self._forget(process)

    def _start(self) -> _Process:
        try:
            process = self._starter.submit(_Process, self._command, self._limits).result()
        except (OSError, RuntimeError) as error:
            raise CodecUnavailable(f"no codec process could be started: {_reason(error)}") from error
        with self._lock:
            self._all.add(process)
            is_closed = self._is_closed
        if is_closed:
            self._forget(process)
            raise CodecUnavailable("the node is about to stop")
        try:
            process.wait_until_ready()
        except CodecFailure as error:
            self._forget(process)
            raise CodecUnavailable(f"no codec process could be started: {error}") from error
        return process

    def _take_back(self, process: _Process) -> None:
        process.slim()
        with self._lock:
            is_closed = self._is_closed
            if not is_closed:
                self._idle.append(process)
        if is_closed:
            self._forget(process)

    def _forget(self, process: _Process) -> None:
        """For the thread that uses it, or where nobody does."""
        process.kill()
        process.release()
        with self._lock:
            self._all.discard(process)


class _Process:
    """One codec process, used and released by one thread at a time; ``kill`` may come from any."""

    def __init__(self, command: Sequence[str], limits: Limits) -> None:
        self._given, self._made = os.memfd_create("given"), os.memfd_create("made")
        try:
            arguments = (os.getpid(), self._given, self._made, limits.memory_bytes, limits.niceness)
            self._child = subprocess.Popen(  # noqa: S603 - our own module, numbers for arguments
                [*command, *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                pass_fds=(self._given, self._made),
                start_new_session=True,
                env=_ENVIRONMENT,
                cwd="/",
            )
        except BaseException:
            os.close(self._given)
            os.close(self._made)
            raise
        self.pid = self._child.pid
        self._requests, self._replies = cast(IO[bytes], self._child.stdin), cast(IO[bytes], self._child.stdout)
        self._events = select.poll()
        self._events.register(self._replies, select.POLLIN)
        self._follower = Follower(self.pid)
        self._is_fat = False  # has it memory of large frames?

    def wait_until_ready(self) -> None:
        """Raises CodecFailure."""
        self._read_reply(time.monotonic() + _START_SECONDS)

    def ask(self, what: bytes, pixels: PixelDescription, frame: bytes, limits: Limits) -> bytes:
        """What the process makes of a frame. Raises CodecRefused, after which it is as good as before, or another
        CodecFailure, after which it is of no more use."""
        deadline = time.monotonic() + limits.seconds
        try:
            self._give(frame)
            self._follower.follow()
            self._requests.write(b"%d %d\t%s\t%s\n" % (len(frame), limits.cpu_seconds, what, _told(pixels)))
            reply = self._read_reply(deadline)
            self._is_fat |= len(frame) > _KEPT_BYTES
            if isinstance(reply, int):
                self._is_fat |= reply > _KEPT_BYTES
                return _read(self._made, reply)
        except (OSError, ValueError, TypeError) as error:
            raise CodecCrashed(f"the codec's process ended: {self._ending()}") from error
        for word, make in _FAILURES.items():
            if word in reply:
                raise make(str(reply[word]))
        raise CodecCrashed("the codec's process said what it should not")

    def _give(self, frame: bytes) -> None:
        try:
            _write(self._given, frame)
        except OSError as error:
            raise CodecUnavailable(f"no memory for a frame: {error.strerror}") from error

    def slim(self) -> None:
        """Give back the memory of large frames."""
        if self._is_fat:
            os.ftruncate(self._given, 0)
            os.ftruncate(self._made, 0)
            self._is_fat = False

    @property
    def is_alive(self) -> bool:
        """Has it not ended by itself?"""
        return self._child.poll() is None

    def kill(self) -> None:
        """End it at once, and wait for that; may be called twice."""
        self._child.kill()
        self._child.wait()

    def release(self) -> None:
        """Close our ends; to be called once, when nobody uses it."""
        for stream in (self._requests, self._replies):
            with contextlib.suppress(OSError):
                stream.close()
        os.close(self._given)
        os.close(self._made)

    def _read_reply(self, deadline: float) -> dict[str, Any] | int:
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not self._events.poll(left * 1000):
                raise CodecTooSlow("the codec took too long")
            piece = os.read(self._replies.fileno(), _MAX_REPLY_BYTES)
            if not piece:
                raise CodecCrashed(f"the codec's process ended: {self._ending()}")
            line += piece
            if len(line) > _MAX_REPLY_BYTES:
                raise CodecCrashed("the codec's process said what it should not")
        if line[:-1].isdigit():
            return int(line)
        reply = json.loads(line)
        if not isinstance(reply, dict):
            raise CodecCrashed("the codec's process said what it should not")
        return reply

    def _ending(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._child.wait(1.0)
            return f"signal {-code}" if code < 0 else f"exit code {code}"
        return "it does not end"


_FAILURES: dict[str, Callable[[str], CodecFailure]] = {
    "refused": CodecRefused,
    "too_large": lambda _: CodecTooLarge("the codec wanted too much memory"),
    "failed": lambda name: CodecCrashed(f"the codec failed: {name}"),
}


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__


@lru_cache
def _encoding(codec: Codec) -> bytes:
    return json.dumps({"codec": codec.value}).encode()


@lru_cache(maxsize=64)
def _decoding(transfer_syntax_uid: Uid) -> bytes:
    return json.dumps({"syntax": transfer_syntax_uid}).encode()


@lru_cache(maxsize=64)  # 30 µs each, and the frames of an object have one description
def _told(pixels: PixelDescription) -> bytes:
    return json.dumps(asdict(pixels)).encode()


def _write(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.pwrite(descriptor, left, len(content) - len(left)) :]


def _read(descriptor: int, size: int) -> bytes:
    """Raises ValueError where that much is not there."""
    if not 0 < size <= _MAX_MADE_BYTES:
        raise ValueError("no size of a frame")
    content = os.pread(descriptor, size, 0)
    if len(content) != size:
        raise ValueError("fewer bytes than told")
    return content
