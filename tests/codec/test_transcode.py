"""Compressed objects made native: once for all who ask at a time, kept within bounds, never in memory as a whole."""

from __future__ import annotations

import io
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from pacsnode.codec.codecs import Codec
from pacsnode.codec.images import Scratch
from pacsnode.codec.sandbox import Sandbox
from pacsnode.codec.transcode import Transcoder
from pacsnode.dicom.recode import to_default_syntax
from pacsnode.dicom.syntax import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from pacsnode.errors import CodecFailure, CodecRefused, ObjectDamaged
from pacsnode.model import Key, StoredObject, Uid
from tests.codec.material import CINE, GREY, Counting, compressed, data_set, faulty

HTJ2K = Codec.HTJ2K.transfer_syntax_uid
MIB = 1024 * 1024


def stored(data: bytes, key: str = "k", syntax: Uid = HTJ2K) -> StoredObject:
    """What the index would know of it."""
    return StoredObject(Key(key), len(data), "", syntax, 0)


@pytest.fixture
def cine(sandbox: Sandbox, tmp_path: Path) -> bytes:
    """Five frames, compressed."""
    return compressed(data_set(CINE), EXPLICIT_VR_LITTLE_ENDIAN, Codec.HTJ2K, sandbox, tmp_path)


def test_both_native_syntaxes(cine: bytes, sandbox: Sandbox, tmp_path: Path) -> None:
    """In explicit VR byte by byte what it was; in implicit VR what that is in it."""
    transcoder = Transcoder(sandbox, Scratch(tmp_path))
    found = {
        target: transcoder.open(stored(cine), lambda: io.BytesIO(cine), target)
        for target in (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
    }
    explicit = data_set(CINE)
    implicit = b"".join(to_default_syntax([explicit], EXPLICIT_VR_LITTLE_ENDIAN, max_bytes=MIB))

    assert [len(explicit), len(implicit)] == [file.size for file in found.values()]
    assert [explicit, implicit] == [file.read() for file in found.values()]
    assert [] == list(tmp_path.iterdir())


def test_twenty_at_a_time(cine: bytes, sandbox: Sandbox, tmp_path: Path) -> None:
    """Each frame is decoded once, and everybody gets all of it."""
    coder = Counting(sandbox)
    transcoder = Transcoder(coder, Scratch(tmp_path))
    begin = threading.Barrier(20)
    found: list[bytes] = []

    def ask() -> None:
        begin.wait()
        file = transcoder.open(stored(cine), lambda: io.BytesIO(cine), EXPLICIT_VR_LITTLE_ENDIAN)
        found.append(file.read())

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [data_set(CINE)] * 20 == found
    assert CINE.frames == coder.decoded


def test_what_is_kept_has_a_bound(cine: bytes, sandbox: Sandbox, tmp_path: Path) -> None:
    """What was asked for longest ago goes first; what is being read stays; what is too large is not kept."""
    coder = Counting(sandbox)
    transcoder = Transcoder(coder, Scratch(tmp_path), cache_bytes=2 * len(data_set(CINE)))

    def ask(key: str) -> BinaryIO:
        return transcoder.open(  # type: ignore[return-value]  # no BinaryIO by name
            stored(cine, key), lambda: io.BytesIO(cine), EXPLICIT_VR_LITTLE_ENDIAN
        )

    first = ask("a")
    for key in "bacab":
        ask(key)
    tiny = Transcoder(coder, Scratch(tmp_path), cache_bytes=10)
    for _ in range(2):
        tiny.open(stored(cine), lambda: io.BytesIO(cine), EXPLICIT_VR_LITTLE_ENDIAN)

    assert (4 + 2) * CINE.frames == coder.decoded
    assert data_set(CINE) == first.read()


def test_a_failure_is_everybodys_and_not_kept(cine: bytes, sandbox: Sandbox, tmp_path: Path) -> None:
    """Who asks later has an attempt of their own, and no file is left."""
    with faulty("short") as liar:
        bad, good = Transcoder(liar, Scratch(tmp_path)), Transcoder(sandbox, Scratch(tmp_path))
        for _ in range(2):
            with pytest.raises(CodecFailure):
                bad.open(stored(cine), lambda: io.BytesIO(cine), EXPLICIT_VR_LITTLE_ENDIAN)
    with pytest.raises(ObjectDamaged):
        good.open(stored(cine[:-40]), lambda: io.BytesIO(cine[:-40]), EXPLICIT_VR_LITTLE_ENDIAN)
    no_jpeg = stored(cine, syntax=Uid("1.2.840.10008.1.2.4.50"))
    with pytest.raises(CodecRefused):
        good.open(no_jpeg, lambda: io.BytesIO(cine), EXPLICIT_VR_LITTLE_ENDIAN)

    assert data_set(CINE) == good.open(stored(cine), lambda: io.BytesIO(cine), EXPLICIT_VR_LITTLE_ENDIAN).read()
    assert [] == list(tmp_path.iterdir())


def test_many_frames_need_the_memory_of_a_few(sandbox: Sandbox, tmp_path: Path) -> None:
    """64 MiB of frames, of 1 MiB each, in less than an eighth of that."""
    large = replace(GREY, rows=512, columns=1024, frames=64)
    frame = bytes(range(256)) * (large.frame_bytes // 256)
    frame = bytes(byte & 0x0F if number & 1 else byte for number, byte in enumerate(frame))
    data = data_set(large, frames=frame * large.frames)
    made = compressed(data, EXPLICIT_VR_LITTLE_ENDIAN, Codec.RLE, sandbox, tmp_path)
    transcoder = Transcoder(sandbox, Scratch(tmp_path))
    object_ = stored(made, syntax=Codec.RLE.transfer_syntax_uid)
    tracemalloc.start()
    try:
        file = transcoder.open(object_, lambda: io.BytesIO(made), IMPLICIT_VR_LITTLE_ENDIAN)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert large.total_bytes < file.size
    assert peak < large.total_bytes // 8
