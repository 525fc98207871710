"""A codec process that does what codecs should not; run as a script with the fault as its first argument."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from pacsnode.codec import engines, worker
from pacsnode.codec.codecs import Codec
from pacsnode.dicom.pixels import PixelDescription
from pacsnode.model import Uid


def lies(_: Codec, pixels: PixelDescription, frame: memoryview) -> bytes:
    """One pixel is another one, in the middle of the frame."""
    other = bytearray(frame)
    other[len(other) // 2] ^= 1
    return engines.encode(_, pixels, memoryview(other))


def crashes(*_: object) -> bytes:
    """As a wild pointer would."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return b""


def hangs(*_: object) -> bytes:
    """Sleeps, which the CPU limit does not see."""
    time.sleep(600)
    return b""


def spins(*_: object) -> bytes:
    """Computes, which it does."""
    while True:
        pass


def eats(*_: object) -> bytes:
    """8 GiB."""
    return bytes(8 * 1024 * 1024 * 1024)


def fails(*_: object) -> bytes:
    """An error of the library's own, whose text tells of the data."""
    raise RuntimeError("Doe^John")


def babbles(*_: object) -> bytes:
    """Writes where the replies go."""
    sys.stdout.write("Doe^John\n")
    sys.stdout.flush()
    return b"x"


FAULTS: dict[str, Callable[[Codec, PixelDescription, memoryview], bytes]] = {
    fault.__name__: fault for fault in (lies, crashes, hangs, spins, eats, fails, babbles)
}


def decode_too_little(uid: Uid, pixels: PixelDescription, stream: memoryview) -> bytes | memoryview:
    """A frame that is one byte short."""
    return engines.decode(uid, pixels, stream)[:-1]


if __name__ == "__main__":
    chosen = sys.argv.pop(1)
    if chosen == "short":
        worker.main(engines.encode, decode_too_little)
    else:
        worker.main(FAULTS[chosen], engines.decode)
