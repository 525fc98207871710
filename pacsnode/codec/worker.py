"""The codec process: takes a frame, answers with a frame, and nothing else. Started by ``sandbox``.

Requests and replies are lines of JSON on standard input and output, in a request followed by a tabulator and what
describes the pixels; frames are in two files in memory, whose descriptors come as arguments. It dies with its parent,
and of the first thing that goes wrong in a codec.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, BinaryIO

from pacsnode.codec import engines
from pacsnode.codec.codecs import Codec
from pacsnode.dicom.pixels import PixelDescription
from pacsnode.errors import CodecRefused
from pacsnode.model import Uid

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_MAX_FILE_BYTES = 1024 * 1024 * 1024
_MAX_DESCRIPTORS = 64

Encode = Callable[[Codec, PixelDescription, bytes], bytes]
Decode = Callable[[Uid, PixelDescription, bytes], bytes | memoryview]


def main(encode: Encode, decode: Decode) -> None:
    """Serve until standard input ends. Arguments: parent, both descriptors, bytes of address space, niceness."""
    parent, given, made, memory_bytes, niceness = map(int, sys.argv[1:6])
    _confine(parent, memory_bytes, niceness)
    requests, replies = sys.stdin.buffer, sys.stdout.buffer
    answer(replies, {"ready": True})
    for line in requests:
        told, _, description = line.partition(b"\t")
        request = json.loads(told)
        _allow_cpu(request["cpu_seconds"])
        reply = _reply(request, description, given, made, encode, decode)
        answer(replies, reply)
        if reply.get("spent"):
            return


def answer(replies: BinaryIO, reply: dict[str, Any]) -> None:
    """Write one line."""
    replies.write(json.dumps(reply).encode() + b"\n")
    replies.flush()


def _reply(
    request: dict[str, Any], description: bytes, given: int, made: int, encode: Encode, decode: Decode
) -> dict[str, Any]:
    try:
        pixels = _pixels(description)
        frame = os.pread(given, request["size"], 0)
        result: bytes | memoryview
        if "codec" in request:
            result = encode(Codec(request["codec"]), pixels, frame)
        else:
            result = decode(Uid(request["syntax"]), pixels, frame)
        left = memoryview(result)
        while left:
            left = left[os.pwrite(made, left, len(result) - len(left)) :]
        return {"size": len(result)}
    except CodecRefused as error:
        return {"refused": str(error)}
    except MemoryError:
        return {"too_large": True, "spent": True}
    except Exception as error:  # noqa: BLE001 - a library's own; its text may tell of the data
        return {"failed": type(error).__name__, "spent": True}


@lru_cache(maxsize=64)  # the frames of an object have one description
def _pixels(description: bytes) -> PixelDescription:
    return PixelDescription(**json.loads(description))


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


def _allow_cpu(seconds: int) -> None:
    """The limit is one of the whole process: this many more seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(engines.encode, engines.decode)
