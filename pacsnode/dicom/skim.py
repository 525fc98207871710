"""Reads a data set with a walker, and only what the walker needs."""

from __future__ import annotations

import os
from typing import BinaryIO

from pacsnode.dicom.walk import DataSetWalker

_BYTES = 16 * 1024  # most headers are shorter


def skim(source: BinaryIO, walker: DataSetWalker, size: int | None = None) -> None:
    """Feed the walker what it needs to reach the end, and seek past the rest. Raises BadDataset.

    ``size``: bytes of the data set that the source stands at, where it is not all that is left of the source.
    """
    at = source.tell()
    end = source.seek(0, os.SEEK_END) if size is None else at + size
    while at < end:
        passed = min(walker.unneeded(), end - at)
        walker.skip(passed)
        source.seek(at + passed)
        chunk = source.read(min(_BYTES, end - at - passed))
        walker.feed(chunk)
        at += passed + len(chunk)
        if not chunk:  # all that was left was passed over, or there is less than told
            return
