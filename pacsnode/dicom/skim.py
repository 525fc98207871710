"""Reads a data set with a walker, and only what the walker needs."""

from __future__ import annotations

import os
from typing import BinaryIO

from pacsnode.dicom.walk import DataSetWalker

_BYTES = 16 * 1024  # most headers are shorter


def skim(source: BinaryIO, walker: DataSetWalker) -> None:
    """Feed the walker what it needs to reach the end, and seek past the rest. Raises BadDataset."""
    at, end = source.tell(), source.seek(0, os.SEEK_END)
    while at < end:
        passed = min(walker.unneeded(), end - at)
        walker.skip(passed)
        source.seek(at + passed)
        chunk = source.read(_BYTES)
        walker.feed(chunk)
        at += passed + len(chunk)
