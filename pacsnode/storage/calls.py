"""The system calls the store makes, behind one seam: durability is tested by putting another file system here."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pacsnode.errors import ObjectUnreadable, StoreError, StoreFull

PAGE_BYTES = 4096
DIRECT_BYTES = 256 * 1024
"""From here on the page cache costs more than it saves: what is written in one piece goes past it."""

_FILE_MODE = 0o640
_DIRECTORY_MODE = 0o750
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS of linux/fs.h
_FLAGS = struct.Struct("i4x")
_TOP_DIRECTORY = 0x20000  # FS_TOPDIR_FL
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Space:
    """What an ordinary user may still use of a file system; ``free_inodes`` is None where they are not counted."""

    free_bytes: int
    free_inodes: int | None


class FileSystem:
    """The operating system's own; another one overrides every method. Safe to use from several threads.

    Each method asks one thing and raises the OSError untranslated.
    """

    def create(self, path: Path) -> int:
        """A descriptor for writing a file that was not there (FileExistsError otherwise)."""
        return os.open(path, _CREATE, _FILE_MODE)

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        """Append; answers how many bytes were taken, which may be fewer than given."""
        return os.write(descriptor, content)

    def write_at(self, descriptor: int, content: bytes | memoryview, offset: int) -> int:
        """Overwrite from the offset on; answers how many bytes were taken."""
        return os.pwrite(descriptor, content, offset)

    def bypass_cache(self, descriptor: int) -> None:
        """From here on write past the page cache, whole pages from page-aligned memory. OSError where none is."""
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_DIRECT)

    def use_cache(self, descriptor: int) -> None:
        """Write through the page cache again."""
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_DIRECT)

    def sync(self, descriptor: int) -> None:
        """Make the file's bytes and size durable."""
        os.fdatasync(descriptor)

    def close(self, descriptor: int) -> None:
        """Give the descriptor back, also where this raises."""
        os.close(descriptor)

    def link(self, source: Path, target: Path) -> None:
        """A second name for the file; never overwrites (FileExistsError)."""
        os.link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        """Move the name, replacing what the target named before."""
        source.rename(target)

    def unlink(self, path: Path) -> None:
        """Remove a name (FileNotFoundError where there is none)."""
        path.unlink()

    def make_directory(self, path: Path) -> None:
        """Create a directory that was not there (FileExistsError otherwise)."""
        path.mkdir(mode=_DIRECTORY_MODE)

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""
        path.rmdir()

    def sync_directory(self, path: Path) -> None:
        """Make the names in the directory durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def spread_directories(self, path: Path) -> None:
        """Let the directories to come in this one lie far apart on the disk, where the file system can be told so."""
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                (flags,) = _FLAGS.unpack(fcntl.ioctl(descriptor, _GET_FLAGS, _FLAGS.pack(0)))
                fcntl.ioctl(descriptor, _SET_FLAGS, _FLAGS.pack(flags | _TOP_DIRECTORY))
            finally:
                os.close(descriptor)

    def is_directory(self, path: Path) -> bool:
        """Is a directory there?"""
        return path.is_dir()

    def files(self, path: Path) -> list[str]:
        """Names of the regular files in the directory, in no order."""
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]

    def directories(self, path: Path) -> list[str]:
        """Names of the directories in the directory, in no order."""
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]

    def open(self, path: Path | str) -> BinaryIO:
        """A file for reading, unbuffered; its reads raise ObjectUnreadable. A symbolic link is not a file."""
        return _ReadFile(path, "rb", opener=_open_without_following)

    def read_into(self, path: str, buffer: memoryview) -> int:
        """Read a file from its first byte until it ends or the buffer is full: how many bytes.

        ObjectUnreadable where the disk does not give them. A symbolic link is not a file.
        """
        descriptor = os.open(path, _READ)
        try:
            size = 0
            while size < len(buffer) and (count := os.readv(descriptor, (buffer[size:] if size else buffer,))):
                size += count
        except OSError as error:
            raise _unreadable(error) from error
        finally:
            os.close(descriptor)
        return size

    def space(self, path: Path) -> Space:
        """What is left of the file system the path is on."""
        found = os.statvfs(path)
        return Space(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


class _ReadFile(io.FileIO):
    """Whoever reads an object finds out here, long after ``open``, that the disk cannot give it back."""

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return super().read(-1 if size is None else size)
        except OSError as error:
            raise _unreadable(error) from error

    def readall(self) -> bytes:
        try:
            return super().readall()
        except OSError as error:
            raise _unreadable(error) from error

    def readinto(self, buffer: Any, /) -> int:  # the type of FileIO's own parameter is not public in 3.11
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise _unreadable(error) from error


def _open_without_following(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _unreadable(error: OSError) -> ObjectUnreadable:
    return ObjectUnreadable(f"an object cannot be read: {error.strerror}")


def write_all(fs: FileSystem, descriptor: int, content: bytes | memoryview) -> None:
    """Append all of it, in as many calls as it takes."""
    rest = memoryview(content)
    while rest:
        rest = rest[fs.write(descriptor, rest) :]


def is_full(error: OSError) -> bool:
    """Did space or quota run out?"""
    return error.errno in _FULL


def store_error(error: OSError, doing: str) -> StoreError:
    """Our error for the operating system's: StoreFull where space or quota ran out, else StoreError."""
    kind = StoreFull if is_full(error) else StoreError
    return kind(f"{doing}: {error.strerror or type(error).__name__}")
