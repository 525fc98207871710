"""A file system in memory that can be cut off at any call, and then tells every disk that might be found afterwards.

What POSIX leaves open is open here: until its sync, each block of a file holds any of its versions and the file has any
of its lengths; until the sync of its directory, each name is as it was or as any later call made it. ext4 and XFS allow
less than that. Blocks are never torn themselves.
"""

from __future__ import annotations

import errno
import io
import itertools
import math
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pacsnode.storage.calls import FileSystem, Space

BLOCK_BYTES = 512
_ROOT = 0

Names = dict[str, int]
"""What a directory holds: inode numbers by name."""


@dataclass
class _File:
    durable: bytes = b""
    volatile: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes]] = field(default_factory=list)  # offset and content of each write


@dataclass
class _Directory:
    durable: Names = field(default_factory=dict)
    volatile: Names = field(default_factory=dict)
    unsynced: list[Mapping[str, int | None]] = field(default_factory=list)  # what each call made of which names


@dataclass(frozen=True)
class Disk:
    """What is found after a power cut: everything on it is durable."""

    directories: Mapping[int, Names]
    files: Mapping[int, bytes]

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for disks between which nobody can tell."""
        return (
            tuple((number, tuple(sorted(names.items()))) for number, names in sorted(self.directories.items())),
            tuple(sorted(self.files.items())),
        )


EMPTY = Disk({_ROOT: {}}, {})


class PowerCut(BaseException):
    """The process is no more: no call of it does anything from here on."""


class SimulatedFileSystem(FileSystem):
    """``before_call`` is told the name of each call that changes something, before it does, and may raise PowerCut."""

    def __init__(self, disk: Disk = EMPTY, before_call: Callable[[str], None] = lambda name: None) -> None:
        self.before_call = before_call
        self._files = {number: _File(content, bytearray(content)) for number, content in disk.files.items()}
        self._directories = {number: _Directory(dict(names), dict(names)) for number, names in disk.directories.items()}
        self._numbers = itertools.count(1 + max(itertools.chain(self._files, self._directories)))
        self._open: dict[int, int] = {}  # inode numbers by descriptor
        self._descriptors = itertools.count(1000)

    def create(self, path: Path) -> int:
        self.before_call("create")
        directory, name = self._parent_of(path)
        if name in directory.volatile:
            raise _error(errno.EEXIST, path)
        number = next(self._numbers)
        self._files[number] = _File()
        _change(directory, {name: number})
        descriptor = next(self._descriptors)
        self._open[descriptor] = number
        return descriptor

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        return self.write_at(descriptor, content, len(self._files[self._open[descriptor]].volatile))

    def write_at(self, descriptor: int, content: bytes | memoryview, offset: int) -> int:
        self.before_call("write")
        file = self._files[self._open[descriptor]]
        file.unsynced.append((offset, bytes(content)))
        file.volatile[offset : offset + len(content)] = content
        return len(content)

    def bypass_cache(self, descriptor: int) -> None:
        """Nothing is durable by that: the disk has a cache of its own."""

    def use_cache(self, descriptor: int) -> None:
        pass

    def sync(self, descriptor: int) -> None:
        self.before_call("sync")
        file = self._files[self._open[descriptor]]
        file.durable = bytes(file.volatile)
        file.unsynced.clear()

    def close(self, descriptor: int) -> None:
        del self._open[descriptor]

    def link(self, source: Path, target: Path) -> None:
        self.before_call("link")
        number = self._number_of(source)
        directory, name = self._parent_of(target)
        if name in directory.volatile:
            raise _error(errno.EEXIST, target)
        _change(directory, {name: number})

    def rename(self, source: Path, target: Path) -> None:
        self.before_call("rename")
        number = self._number_of(source)
        (old_directory, old_name), (directory, name) = self._parent_of(source), self._parent_of(target)
        if old_directory is directory:
            _change(directory, {old_name: None, name: number})
            return
        _change(directory, {name: number})  # two directories, and either may come to the disk without the other
        _change(old_directory, {old_name: None})

    def unlink(self, path: Path) -> None:
        self.before_call("unlink")
        directory, name = self._parent_of(path)
        if directory.volatile.get(name) not in self._files:
            raise _error(errno.ENOENT, path)
        _change(directory, {name: None})

    def make_directory(self, path: Path) -> None:
        self.before_call("make_directory")
        directory, name = self._parent_of(path)
        if name in directory.volatile:
            raise _error(errno.EEXIST, path)
        number = next(self._numbers)
        self._directories[number] = _Directory()
        _change(directory, {name: number})

    def remove_directory(self, path: Path) -> None:
        self.before_call("remove_directory")
        if self._directory_at(path).volatile:
            raise _error(errno.ENOTEMPTY, path)
        directory, name = self._parent_of(path)
        _change(directory, {name: None})

    def sync_directory(self, path: Path) -> None:
        self.before_call("sync_directory")
        directory = self._directory_at(path)
        directory.durable = dict(directory.volatile)
        directory.unsynced.clear()

    def spread_directories(self, path: Path) -> None:
        pass

    def is_directory(self, path: Path) -> bool:
        try:
            return bool(self._directory_at(path))
        except OSError:
            return False

    def files(self, path: Path) -> list[str]:
        return [name for name, number in self._directory_at(path).volatile.items() if number in self._files]

    def directories(self, path: Path) -> list[str]:
        return [name for name, number in self._directory_at(path).volatile.items() if number in self._directories]

    def open(self, path: Path | str) -> BinaryIO:
        return io.BytesIO(self._files[self._number_of(Path(path))].volatile)

    def read_into(self, path: str, buffer: memoryview) -> int:
        return self.open(path).readinto(buffer)  # type: ignore[attr-defined,no-any-return]  # of every binary file

    def space(self, path: Path) -> Space:
        return Space(1 << 40, None)

    def survivor(self, before_call: Callable[[str], None] = lambda name: None) -> SimulatedFileSystem:
        """The same file system for the next process, after ``kill -9``: what was not durable still is not."""
        again = SimulatedFileSystem(EMPTY, before_call)
        again._files, again._directories, again._numbers = self._files, self._directories, self._numbers
        return again

    def moment(self) -> Moment:
        """What is durable and what is not, now."""
        return Moment(
            {
                number: (tuple(directory.durable.items()), tuple(directory.unsynced))
                for number, directory in self._directories.items()
            },
            {number: (file.durable, tuple(file.unsynced)) for number, file in self._files.items()},
        )

    def _directory_at(self, path: Path) -> _Directory:
        parts = os.fspath(path).split("/")
        return self._walk([part for part in parts if part], path)

    def _parent_of(self, path: Path) -> tuple[_Directory, str]:
        parts = [part for part in os.fspath(path).split("/") if part]
        return self._walk(parts[:-1], path), parts[-1]

    def _number_of(self, path: Path) -> int:
        directory, name = self._parent_of(path)
        number = directory.volatile.get(name, -1)
        if number not in self._files:
            raise _error(errno.ENOENT, path)
        return number

    def _walk(self, parts: Sequence[str], path: Path) -> _Directory:
        directory = self._directories[_ROOT]
        for part in parts:
            number = directory.volatile.get(part, -1)
            if number not in self._directories:
                raise _error(errno.ENOTDIR if number in self._files else errno.ENOENT, path)
            directory = self._directories[number]
        return directory


@dataclass(frozen=True)
class Moment:
    """A power cut: what was durable, and what had been asked since, by inode number."""

    directories: Mapping[int, tuple[tuple[tuple[str, int], ...], tuple[Mapping[str, int | None], ...]]]
    files: Mapping[int, tuple[bytes, tuple[tuple[int, bytes], ...]]]

    def disks(self, at_most: int, chance: random.Random) -> Iterator[Disk]:
        """Every disk that may be found, each once; where there are more than ``at_most``, so many drawn at random."""
        trees = [self._tree(dict(zip(self.directories, choice, strict=True))) for choice in self._name_choices()]
        reachable = list(
            {tuple(sorted((n, tuple(d.items())) for n, d in tree.items())): tree for tree in trees}.values()
        )
        contents = {number: Contents(durable, unsynced) for number, (durable, unsynced) in self.files.items()}
        if sum(self._count(tree, contents) for tree in reachable) <= at_most:
            for tree in reachable:
                numbers = self._files_in(tree)
                for combination in itertools.product(*(contents[number].every() for number in numbers)):
                    yield Disk(tree, dict(zip(numbers, combination, strict=True)))
            return
        for _ in range(at_most):
            tree = chance.choice(reachable)
            yield Disk(tree, {number: contents[number].any(chance) for number in self._files_in(tree)})

    def _name_choices(self) -> Iterator[tuple[Names, ...]]:
        return itertools.product(*(_names_after(dict(durable), steps) for durable, steps in self.directories.values()))

    def _tree(self, names: Mapping[int, Names]) -> dict[int, Names]:
        """The directories that still can be reached."""
        found, waiting = {}, [_ROOT]
        while waiting:
            number = waiting.pop()
            found[number] = names[number]
            waiting.extend(below for below in names[number].values() if below in names)
        return found

    def _files_in(self, tree: Mapping[int, Names]) -> list[int]:
        return sorted({number for names in tree.values() for number in names.values() if number in self.files})

    def _count(self, tree: Mapping[int, Names], contents: Mapping[int, Contents]) -> int:
        return math.prod(contents[number].count for number in self._files_in(tree))


class Contents:
    """What a file may hold after a power cut: for each length it had, any version of every block below."""

    def __init__(self, durable: bytes, unsynced: Sequence[tuple[int, bytes]]) -> None:
        self._current = bytearray(durable)
        self._versions: dict[int, dict[bytes, None]] = {}
        lengths = {len(durable)}
        for start in range(0, len(durable), BLOCK_BYTES):
            self._note(start, durable[start : start + BLOCK_BYTES])
        for offset, content in unsynced:
            end = offset + len(content)
            self._current[offset:end] = content
            for start in range(offset - offset % BLOCK_BYTES, end, BLOCK_BYTES):
                self._versions.setdefault(start, {bytes(BLOCK_BYTES): None})
                self._note(start, bytes(self._current[start : start + BLOCK_BYTES]))
            lengths.add(len(self._current))
        boundaries = range(len(durable) + BLOCK_BYTES - len(durable) % BLOCK_BYTES, max(lengths), BLOCK_BYTES)
        self._lengths = sorted(lengths.union(boundaries))
        self.count = sum(math.prod(len(blocks) for blocks in self._blocks(length)) for length in self._lengths)
        self._every: list[bytes] = []

    def every(self) -> list[bytes]:
        """All of them, each once."""
        if not self._every:
            cuts = (b"".join(blocks) for length in self._lengths for blocks in itertools.product(*self._blocks(length)))
            self._every = list(dict.fromkeys(cuts))
        return self._every

    def any(self, chance: random.Random) -> bytes:
        """One of them."""
        return b"".join(chance.choice(blocks) for blocks in self._blocks(chance.choice(self._lengths)))

    def _note(self, start: int, block: bytes) -> None:
        self._versions.setdefault(start, {})[block.ljust(BLOCK_BYTES, b"\0")] = None

    def _blocks(self, length: int) -> list[list[bytes]]:
        """The versions of each block below this length, the last one cut."""
        return [
            list(
                dict.fromkeys(version[: length - start] for version in self._versions.get(start, (bytes(BLOCK_BYTES),)))
            )
            for start in range(0, length, BLOCK_BYTES)
        ]


def _names_after(durable: Names, steps: Sequence[Mapping[str, int | None]]) -> list[Names]:
    """What the directory may hold: calls that share no name survive or not, as they like; those that do, in order."""
    found = [durable]
    for group in _by_name(steps):
        reached: list[Mapping[str, int | None]] = [{}]
        for step in group:
            reached.append({**reached[-1], **step})
        found = [_with(names, changes) for names in found for changes in reached]
    return list({tuple(sorted(names.items())): names for names in found}.values())


def _by_name(steps: Sequence[Mapping[str, int | None]]) -> list[list[Mapping[str, int | None]]]:
    groups: list[list[Mapping[str, int | None]]] = []
    for step in steps:
        shared = [group for group in groups if any(step.keys() & earlier.keys() for earlier in group)]
        groups = [group for group in groups if group not in shared]
        groups.append([*itertools.chain(*shared), step])
    return groups


def _with(names: Names, changes: Mapping[str, int | None]) -> Names:
    changed = {**names, **changes}
    return {name: number for name, number in changed.items() if number is not None}


def _change(directory: _Directory, changes: Mapping[str, int | None]) -> None:
    directory.volatile = _with(directory.volatile, changes)
    directory.unsynced.append(changes)


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), os.fspath(path))
