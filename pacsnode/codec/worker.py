"""The codec process: takes a frame, answers with a frame, and nothing else. Started by ``sandbox``.

Requests and replies are lines on standard input and output. A request is the bytes of its frame and the seconds of CPU
for it, what to do as JSON, and what describes the pixels as JSON, with tabulators between; a reply is the bytes of the
result, or JSON that tells why there is none. Frames are in two files in memory, whose descriptors come as arguments. It
dies with its parent, and of the first thing that goes wrong in a codec.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import mmap
import os
import resource
import signal
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from pacsnode.codec import engines
from pacsnode.codec.codecs import Codec
from pacsnode.dicom.pixels import PixelDescription
from pacsnode.errors import CodecRefused
from pacsnode.model import Uid

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_MAX_FILE_BYTES = 1024 * 1024 * 1024
_MAX_DESCRIPTORS = 64

Encode = Callable[[Codec, PixelDescription, memoryview], bytes]
Decode = Callable[[Uid, PixelDescription, memoryview], bytes | memoryview]


def main(encode: Encode, decode: Decode) -> None:
    """Serve until standard input ends. Arguments: parent, both descriptors, bytes of address space, niceness."""
    parent, given, made, memory_bytes, niceness = map(int, sys.argv[1:6])
    _confine(parent, memory_bytes, niceness)
    gc.freeze()  # what is imported stays, and need not be looked at again and again
    frames, replies, cpu = _Frames(given), sys.stdout.fileno(), _CpuLimit()
    answer(replies, {"ready": True})
    for line in sys.stdin.buffer:
        numbers, _, told = line.partition(b"\t")
        size, seconds = map(int, numbers.split())
        cpu.allow(seconds)
        reply = _reply(told, frames, size, made, encode, decode)
        answer(replies, reply)
        if isinstance(reply, dict) and reply.get("spent"):
            return


def answer(replies: int, reply: dict[str, Any] | int) -> None:
    """Write one line: bytes of the result, or what there is instead of one."""
    os.write(replies, b"%d\n" % reply if isinstance(reply, int) else json.dumps(reply).encode() + b"\n")


def _reply(told: bytes, frames: _Frames, size: int, made: int, encode: Encode, decode: Decode) -> dict[str, Any] | int:
    try:
        what, pixels = _request(told)
        frame = frames.first(size)
        left = result = memoryview(
            encode(what, pixels, frame) if isinstance(what, Codec) else decode(what, pixels, frame)
        )
        while left:
            left = left[os.pwrite(made, left, len(result) - len(left)) :]
        return len(result)
    except CodecRefused as error:
        return {"refused": str(error)}
    except MemoryError:
        return {"too_large": True, "spent": True}
    except Exception as error:  # noqa: BLE001 - a library's own; its text may tell of the data
        return {"failed": type(error).__name__, "spent": True}


class _Frames:
    """The file that frames are given in, mapped once and not copied from."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mapped = memoryview(b"")

    def first(self, size: int) -> memoryview:
        """So many bytes of it, until the next request. It is never shorter than it was, but while nobody looks."""
        if size > len(self._mapped):
            self._mapped = memoryview(mmap.mmap(self._descriptor, 0, prot=mmap.PROT_READ))
        return self._mapped[:size]


@lru_cache(maxsize=64)  # the frames of an object have one description
def _request(told: bytes) -> tuple[Codec | Uid, PixelDescription]:
    """What to do, with which pixels."""
    what, _, description = told.partition(b"\t")
    request = json.loads(what)
    pixels = PixelDescription(**json.loads(description))
    return Codec(request["codec"]) if "codec" in request else Uid(request["syntax"]), pixels


def _confine(parent: int, memory_bytes: int, niceness: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the parent ends us when it wants to
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        os.nice(niceness)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold pixels
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_DESCRIPTORS, _MAX_DESCRIPTORS))


class _CpuLimit:
    """The limit is one of the whole process, in seconds."""

    def __init__(self) -> None:
        self._limit = 0

    def allow(self, seconds: int) -> None:
        """This many more."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + 1 + seconds
        if limit != self._limit:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
            self._limit = limit


if __name__ == "__main__":
    main(engines.encode, engines.decode)
