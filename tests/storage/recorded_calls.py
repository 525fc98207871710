"""A file system that keeps a record of what is asked of it, and fails where it is told to."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pacsnode.storage.calls import FileSystem, Space


@dataclass(frozen=True)
class Call:
    name: str
    path: Path
    target: Path | None = None


class RecordedFileSystem(FileSystem):
    """``fails`` is asked before each call, with its number from 1 on, and answers an error number or 0."""

    def __init__(self, fails: Callable[[int, Call], int] = lambda number, call: 0) -> None:
        self.calls: list[Call] = []
        self.fails = fails
        self._paths: dict[int, Path] = {}

    def create(self, path: Path) -> int:
        self._note("create", path)
        return self._opened(super().create(path), path)

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        self._note("write", self._paths[descriptor])
        return super().write(descriptor, content)

    def write_at(self, descriptor: int, content: bytes | memoryview, offset: int) -> int:
        self._note("write_at", self._paths[descriptor])
        return super().write_at(descriptor, content, offset)

    def bypass_cache(self, descriptor: int) -> None:
        self._note("bypass_cache", self._paths[descriptor])
        super().bypass_cache(descriptor)

    def use_cache(self, descriptor: int) -> None:
        self._note("use_cache", self._paths[descriptor])
        super().use_cache(descriptor)

    def sync(self, descriptor: int) -> None:
        self._note("sync", self._paths[descriptor])
        super().sync(descriptor)

    def close(self, descriptor: int) -> None:
        super().close(descriptor)  # first: a close that reports an error has closed nevertheless
        self._note("close", self._paths.pop(descriptor))

    def link(self, source: Path, target: Path) -> None:
        self._note("link", source, target)
        super().link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        self._note("rename", source, target)
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._note("unlink", path)
        super().unlink(path)

    def make_directory(self, path: Path) -> None:
        self._note("make_directory", path)
        super().make_directory(path)

    def remove_directory(self, path: Path) -> None:
        self._note("remove_directory", path)
        super().remove_directory(path)

    def sync_directory(self, path: Path) -> None:
        self._note("sync_directory", path)
        super().sync_directory(path)

    def spread_directories(self, path: Path) -> None:
        self._note("spread_directories", path)
        super().spread_directories(path)

    def files(self, path: Path) -> list[str]:
        self._note("files", path)
        return super().files(path)

    def directories(self, path: Path) -> list[str]:
        self._note("directories", path)
        return super().directories(path)

    def space(self, path: Path) -> Space:
        self._note("space", path)
        return super().space(path)

    def open_descriptors(self) -> int:
        """How many files are still open for writing."""
        return len(self._paths)

    def _opened(self, descriptor: int, path: Path) -> int:
        self._paths[descriptor] = path
        return descriptor

    def _note(self, name: str, path: Path, target: Path | None = None) -> None:
        call = Call(name, path, target)
        self.calls.append(call)
        if number := self.fails(len(self.calls), call):
            raise OSError(number, os.strerror(number), str(path))


def nth_fails(failing: int, *, number: int = errno.EIO) -> Callable[[int, Call], int]:
    """Only the call with this number fails."""
    return lambda count, call: number if count == failing else 0


def every_call_fails_from(first: int) -> Callable[[int, Call], int]:
    """Nothing works any more from the call with this number on."""
    return lambda count, call: errno.EIO if count >= first else 0


def fails_at(name: str, *, number: int = errno.EIO) -> Callable[[int, Call], int]:
    """All calls of this name fail."""
    return lambda count, call: number if call.name == name else 0


def durability_gaps(calls: Sequence[Call], root: Path) -> list[str]:
    """What a power cut right after these calls could take from an object whose name is below the root.

    A file must be synced after its last change and before its final name is made; the directory of that name, and
    the one above every directory that was made, must be synced afterwards.
    """
    gaps: list[str] = []
    for at, call in enumerate(calls):
        before, after = calls[:at], calls[at + 1 :]
        if call.name in ("link", "rename"):
            assert call.target is not None
            gaps += _gaps_of_bytes(call, before, after)
            if Call("sync_directory", call.target.parent) not in after:
                gaps.append("name not durable")
            missing = [p for p in call.target.parents if root in p.parents and not _was_made_durable(p, before)]
            gaps += [f"{path.relative_to(root)} not durable before the name" for path in missing]
    return gaps


def _gaps_of_bytes(call: Call, before: Sequence[Call], after: Sequence[Call]) -> list[str]:
    changes = ("create", "write", "write_at")
    same_file = [earlier.name for earlier in before if earlier.path == call.path]
    last_change = max((at for at, name in enumerate(same_file) if name in changes), default=-1)
    gaps = [] if "sync" in same_file[last_change + 1 :] else ["bytes not durable before the name"]
    if any(later.path in (call.path, call.target) and later.name in changes for later in after):
        gaps.append("changed after it had its name")
    return gaps


def _was_made_durable(directory: Path, before: Sequence[Call]) -> bool:
    made = [at for at, call in enumerate(before) if call == Call("make_directory", directory)]
    return not made or Call("sync_directory", directory.parent) in before[made[-1] + 1 :]
