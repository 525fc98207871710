"""Lossless codecs: whole objects encoded, decoded back and compared, as before a swap; one codec process, one core.

Real CT and MR images from ``shared/dicom`` beside the checkout, where that is there, else made-up ones, whose ratio
says nothing. What is counted is the time of processors, ours and the codec process's together: MB/s of one core.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.dataset import CT, Plan
from benchmarks.figures import Figure, Quantity, Tally
from benchmarks.servers import PACSNODE
from benchmarks.stage import Stage
from pacsnode.codec.codecs import Codec
from pacsnode.codec.images import Encoding, Scratch, open_image, verify
from pacsnode.codec.sandbox import Sandbox
from pacsnode.dicom import part10, syntax
from pacsnode.errors import BadDataset, CodecFailure, ObjectDamaged
from pacsnode.model import Uid

REAL = "real CT and MR"
MADE_UP = "made-up CT"
_REAL_FILES = Path(__file__).parents[2] / "shared/dicom"
_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"})
_NATIVE = frozenset({syntax.EXPLICIT_VR_LITTLE_ENDIAN, syntax.IMPLICIT_VR_LITTLE_ENDIAN})
_MADE_UP_IMAGES = 20
_ROOT = "2.25.1"


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    transfer_syntax_uid: Uid


def cell_of(codec: Codec, material: str) -> str:
    """What a codec's figures are under."""
    return f"{codec.value}, {material}"


HTJ2K_REAL = cell_of(Codec.HTJ2K, REAL)


def run(stage: Stage) -> list[Figure]:
    """Every codec in turn, in every round."""
    objects = list(_real())
    material = REAL if objects else MADE_UP
    objects = objects or list(_made_up())
    tally, scratch = Tally(), Scratch(stage.folder)
    with Sandbox() as sandbox:
        for codec in Codec:  # libraries are loaded at first use
            _swap(objects[:1], codec, sandbox, scratch)
        for _ in range(stage.settings.rounds):
            for codec in Codec:
                stage.say(f"codec: {cell_of(codec, material)}")
                begin = _processor_seconds(sandbox)
                before, after, refused = _swap(objects, codec, sandbox, scratch)
                seconds = _processor_seconds(sandbox) - begin
                cell = cell_of(codec, material)
                tally.add(cell, PACSNODE, Quantity.CORE_RATE, before / 1e6 / seconds)
                tally.add(cell, PACSNODE, Quantity.SMALLER, before / max(after, 1))
                tally.add(cell, PACSNODE, Quantity.LEFT_ALONE, refused)
    return tally.figures()


def _processor_seconds(sandbox: Sandbox) -> float:
    """What this process and the codecs' have used."""
    theirs = (Path(f"/proc/{pid}/schedstat").read_text().split()[0] for pid in sandbox.process_ids())
    return time.process_time() + sum(map(int, theirs)) / 1e9


def _swap(objects: list[_Object], codec: Codec, sandbox: Sandbox, scratch: Scratch) -> tuple[int, int, int]:
    """All objects: raw bytes of pixels, encoded bytes, objects that could not be encoded."""
    before = after = refused = 0
    for one in objects:
        source = io.BytesIO(one.data)
        try:
            with open_image(source, len(one.data), one.transfer_syntax_uid, scratch) as image:
                encoding = Encoding(image, codec, sandbox, scratch)
                made = b"".join(encoding.chunks())
                verify(image, io.BytesIO(made), len(made), codec.transfer_syntax_uid, sandbox)
        except (CodecFailure, ObjectDamaged):
            refused += 1
            continue
        before, after = before + encoding.native_bytes, after + encoding.encoded_bytes
    return before, after, refused


def _real() -> Iterator[_Object]:
    for path in sorted(_REAL_FILES.rglob("*")) if _REAL_FILES.is_dir() else []:
        if not path.is_file():
            continue
        with path.open("rb") as file:
            try:
                head = part10.read_foreign_head(file)
            except BadDataset:
                continue
            if head.sop_class_uid in _CLASSES and head.transfer_syntax_uid in _NATIVE:
                file.seek(head.offset)
                yield _Object(file.read(), head.transfer_syntax_uid)


def _made_up() -> Iterator[_Object]:
    for one in Plan(CT, _ROOT).data_sets(0, _MADE_UP_IMAGES):
        yield _Object(b"".join(one.pieces), syntax.EXPLICIT_VR_LITTLE_ENDIAN)
