"""The files of a trail: the one that grows, those it was before, named by their last record, and the last seal.

``audit.log`` is the one that grows, ``audit.log.000000012345`` ended with record 12345, ``audit.log.sealed`` repeats
the last seal, so that a trail that was cut off there is noticed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pacsnode.audit import chain
from pacsnode.audit.chain import Record

_NUMBER = re.compile(r"[0-9]{12,}")
_LAST_BYTES = 256 * 1024  # more than the longest record


def ended_name(path: Path, last: int) -> Path:
    """What a file of the trail is called once it has ended with this record."""
    return path.with_name(f"{path.name}.{last:012d}")


def sealed_path(path: Path) -> Path:
    """Where the last seal is repeated."""
    return path.with_name(path.name + ".sealed")


def ended(path: Path) -> list[tuple[int, Path]]:
    """The files that grow no more, by their last record, in order."""
    prefix = path.name + "."
    found = [one for one in path.parent.glob(f"{path.name}.*") if _NUMBER.fullmatch(one.name.removeprefix(prefix))]
    return sorted((int(one.name.removeprefix(prefix)), one) for one in found)


def lines(path: Path, *, after: int = 0) -> Iterator[tuple[Path, int, bytes]]:
    """Every line of the trail from the file with record ``after + 1`` on: its file, where it begins, its bytes.

    The last one may lack its end. Works beside who writes. Raises OSError.
    """
    with contextlib.ExitStack() as stack:
        for where, stream in _opened(path, after, stack):
            offset = 0
            for line in stream:
                yield where, offset, line
                offset += len(line)


def last_record(stream: BinaryIO) -> tuple[Record | None, int, bool]:
    """The last whole record of a file, where it ends, and whether the end is what it should be: a record that follows
    the one before it, and at most one that was torn.

    None where there is no record, or none that can be read. Raises OSError.
    """
    size = stream.seek(0, os.SEEK_END)
    start = max(size - _LAST_BYTES, 0)
    stream.seek(start)
    *whole, torn = stream.read(size - start).split(b"\n")
    records = [chain.decode(line + b"\n") for line in (whole if not start else whole[1:])[-2:]]
    end = size - len(torn)
    if torn and not chain.is_torn(torn):
        return None, end, False
    if not records:
        return None, end, size <= _LAST_BYTES
    last, before = records[-1], records[0] if len(records) > 1 else None
    if last is None or (before is None and len(records) > 1):
        return last, end, False
    if before is None and last.link.sequence > 1:
        return last, end, True  # the one before is in another file
    after = chain.START if before is None else before.link
    return last, end, chain.encode(after, last.kind, last.payload)[1] == last.link


def _opened(path: Path, after: int, stack: contextlib.ExitStack) -> Iterator[tuple[Path, BinaryIO]]:
    """The growing file is opened before the others are looked for: what becomes of it meanwhile is not missed."""
    current: BinaryIO | None = None
    with contextlib.suppress(FileNotFoundError):
        current = stack.enter_context(path.open("rb"))
    number = os.fstat(current.fileno()).st_ino if current is not None else 0
    for last, one in ended(path):
        if last <= after or one.stat().st_ino == number:
            continue
        with one.open("rb") as stream:
            yield one, stream
    if current is not None:
        yield path, current
