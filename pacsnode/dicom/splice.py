"""Some stretches of a data set replaced, every other byte as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, NamedTuple

from pacsnode.errors import ObjectDamaged

_PIECE_BYTES = 256 * 1024


class Stretch(NamedTuple):
    """Bytes of a data set, counted from its beginning."""

    begin: int
    end: int

    @property
    def size(self) -> int:
        """How many."""
        return self.end - self.begin


class Edit(NamedTuple):
    """What comes instead of a stretch."""

    stretch: Stretch
    content: Iterable[bytes] = ()


def read(source: BinaryIO, base: int, stretch: Stretch) -> bytes:
    """A stretch of the data set that begins at ``base``. Raises ObjectDamaged where it is not all there."""
    source.seek(base + stretch.begin)
    content = source.read(stretch.size)
    while len(content) < stretch.size:
        more = source.read(stretch.size - len(content))
        if not more:
            raise ObjectDamaged("the object is shorter than it was")
        content += more
    return content


def spliced(source: BinaryIO, base: int, size: int, edits: Iterable[Edit]) -> Iterator[bytes]:
    """The data set of so many bytes that begins at ``base``, edited. Raises ObjectDamaged, and what contents raise."""
    at = 0
    for edit in sorted(edits, key=lambda one: one.stretch.begin):
        yield from pieces(source, base, Stretch(at, edit.stretch.begin))
        yield from edit.content
        at = edit.stretch.end
    yield from pieces(source, base, Stretch(at, size))


def pieces(source: BinaryIO, base: int, stretch: Stretch) -> Iterator[bytes]:
    """A stretch, in pieces. Raises ObjectDamaged."""
    for begin in range(stretch.begin, stretch.end, _PIECE_BYTES):
        yield read(source, base, Stretch(begin, min(begin + _PIECE_BYTES, stretch.end)))
