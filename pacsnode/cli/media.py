"""What there is to import: files, folders and zips as one stream of candidates. Follows no links, writes nothing."""

from __future__ import annotations

import contextlib
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

from pacsnode.errors import BadDataset

_ZIP_BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06")
_PREAMBLE_BYTES = 128  # PS3.10 7.1: then "DICM"
_ENCRYPTED = 0x1  # of a zip member's flags
_UNREADABLE = (OSError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may be a Part 10 file. ``name`` is for people: a path, or ``ZIP!MEMBER``."""

    name: str
    _opener: Callable[[], AbstractContextManager[IO[bytes]]]

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Read it from its first byte; may be done again. What fails in the block for its sake is a BadDataset."""
        try:
            with self._opener() as source:
                yield cast(BinaryIO, source)  # zipfile's IO[bytes] is one in all but name
        except _UNREADABLE as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise BadDataset(f"cannot be read: {reason or type(error).__name__}") from error


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that is not even a candidate."""

    name: str
    reason: str


def candidates(paths: Iterable[Path]) -> Iterator[Candidate | Skipped]:
    """All files below the paths, in order of their names; of a zip, its members. A path itself may be a link."""
    for path in paths:
        yield from _folder(path) if path.is_dir() else _file(path, path.stat)


def _folder(folder: Path) -> Iterator[Candidate | Skipped]:
    faults: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=faults.append, followlinks=False):
        folders.sort()
        here = Path(parent)
        for name in sorted([*files, *(name for name in folders if (here / name).is_symlink())]):
            yield from _file(here / name, (here / name).lstat)
        yield from (Skipped(str(fault.filename), f"cannot be read: {fault.strerror}") for fault in faults)
        faults.clear()


def _file(path: Path, status: Callable[[], os.stat_result]) -> Iterator[Candidate | Skipped]:
    try:
        mode = status().st_mode
        if stat.S_ISLNK(mode):
            yield Skipped(str(path), "a symbolic link is not followed")
        elif not stat.S_ISREG(mode):
            yield Skipped(str(path), "not a regular file")
        elif _is_zip(path):
            yield from _members(path)
        else:
            yield Candidate(str(path), lambda: path.open("rb"))
    except _UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        yield Skipped(str(path), f"cannot be read: {reason}")


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        beginning = file.read(_PREAMBLE_BYTES + 4)
    return beginning.startswith(_ZIP_BEGINNINGS) and beginning[_PREAMBLE_BYTES:] != b"DICM"


def _members(path: Path) -> Iterator[Candidate | Skipped]:
    with zipfile.ZipFile(path) as archive:
        for member in sorted(archive.infolist(), key=lambda member: member.filename):
            name = f"{path}!{member.filename}"
            if member.is_dir():
                continue
            if member.flag_bits & _ENCRYPTED:
                yield Skipped(name, "encrypted; unpack it first")
            else:
                yield Candidate(name, _member_opener(archive, member))


def _member_opener(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo
) -> Callable[[], AbstractContextManager[IO[bytes]]]:
    return lambda: archive.open(member)
