"""Files in the making: grown in the spool folder, linked to their final name when they are whole and durable.

ext4 gives a file an inode near its directory's and passes over those freed in the last minutes one by one: after many
deletions a creation takes 0.1 to 1 ms instead of 0.02. So every few thousand files begin a new folder in the spool, and
these lie apart on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from pacsnode.storage.calls import DIRECT_BYTES, PAGE_BYTES, FileSystem, write_all
from pacsnode.storage.syncs import Syncs

_NAME = re.compile(r"[0-9a-f]{32}\.part")
_FOLDER = re.compile(r"[0-9a-f]{8}")
_FILES_PER_FOLDER = 4096
_SLOW_SECONDS = 0.00006  # of the processor
_PATIENCE = (
    16  # slow creations, more than others, for which a folder is left; for the next one more, until some are fast
)
_KEPT_BEHIND = 16  # while they are there, the file system has reason to put the next one elsewhere


class Spool:
    """The folder, in the same file system as the objects. Safe to use from several threads; raises OSError."""

    def __init__(self, folder: Path, fs: FileSystem, syncs: Syncs, cpu_time: Callable[[], float]) -> None:
        self.fs = fs
        self.syncs = syncs
        self._folder = folder
        self._cpu_time = cpu_time
        self._lock = threading.Lock()
        self._current: Path | None = None  # the folder that new files are made in
        self._left = 0  # how many more
        self._behind: deque[Path] = deque()  # folders that were left
        self._slow = 0  # creations in the current folder, more than others
        self._patience = _PATIENCE

    def new_file(self) -> SpoolFile:
        """A file that does not exist before its first byte."""
        return SpoolFile(self)

    def create(self) -> tuple[Path, int]:
        """An empty file, and the descriptor to write it."""
        began = self._cpu_time()
        try:
            created = self._create()
        except FileNotFoundError:  # somebody removed the folder behind our back
            self._give_up()
            created = self._create()
        self._judge(self._cpu_time() - began)
        return created

    def probe(self, objects: Path) -> None:
        """Try once what every upload does: create a file and give it a second name among the objects."""
        self.fs.spread_directories(self._folder)
        path, descriptor = self.create()
        self.fs.close(descriptor)
        probe = objects / path.name
        try:
            self.fs.link(path, probe)
            self.fs.unlink(probe)
        finally:
            self.fs.unlink(path)

    def sweep(self, objects: Path) -> int:
        """Remove what was in the making when a process died; answers how many. Nobody may be uploading."""
        for probe in filter(_NAME.fullmatch, self.fs.files(objects)):
            self.fs.unlink(objects / probe)
        count = 0
        for name in self.fs.directories(self._folder):
            folder = self._folder / name
            if not _FOLDER.fullmatch(name):
                continue
            leftovers = [file for file in self.fs.files(folder) if _NAME.fullmatch(file)]
            for leftover in leftovers:
                self.fs.unlink(folder / leftover)
            count += len(leftovers)
            if folder != self._current:
                self._remove(folder)
        return count

    def _create(self) -> tuple[Path, int]:
        path = self._place() / f"{secrets.token_hex(16)}.part"
        return path, self.fs.create(path)

    def _place(self) -> Path:
        with self._lock:
            if self._current is None or self._left <= 0:
                self._leave()
                folder = self._folder / secrets.token_hex(4)
                self.fs.make_directory(folder)
                self.syncs.directory(self._folder)
                self._current, self._left, self._slow = folder, _FILES_PER_FOLDER, 0
            self._left -= 1
            return self._current

    def _leave(self) -> None:
        if self._current is not None:
            self._behind.append(self._current)
            self._current = None
        if len(self._behind) > _KEPT_BEHIND:
            self._remove(self._behind.popleft())

    def _judge(self, took: float) -> None:
        """Leave a folder in which most files take long to create, as long as that is of use."""
        with self._lock:
            if took > _SLOW_SECONDS:
                self._slow += 1
            elif self._slow:
                self._slow -= 1
            else:
                self._patience = _PATIENCE
            if self._slow >= self._patience:
                self._patience += _PATIENCE
                self._left = 0

    def _give_up(self) -> None:
        with self._lock:
            self._left = 0

    def _remove(self, folder: Path) -> None:
        """Where it is not empty, the next ``sweep`` does it."""
        with contextlib.suppress(OSError):
            self.fs.remove_directory(folder)


class SpoolFile:
    """One file from its first byte to its final name. Used by one thread; raises OSError, then call ``drop``."""

    def __init__(self, spool: Spool) -> None:
        self.size = 0
        self._spool = spool
        self._fs = spool.fs
        self._path = Path()  # of no worth before the first byte
        self._is_named = False  # in the spool
        self._descriptor: int | None = None

    def append(self, content: memoryview) -> None:
        """Write at the end; the first time this creates the file. Page-aligned memory is written fastest."""
        descriptor, rest = self._writable(), content
        if len(content) >= DIRECT_BYTES and self._bypass_cache(descriptor):
            rest = self._write_past_cache(descriptor, content)
        write_all(self._fs, descriptor, rest)
        self.size += len(content)

    def fill_in(self, content: bytes | memoryview) -> None:
        """Overwrite the beginning of what was written."""
        descriptor, rest, offset = self._writable(), memoryview(content), 0
        while rest:
            taken = self._fs.write_at(descriptor, rest, offset)
            rest, offset = rest[taken:], offset + taken

    def publish(self, target: Path) -> None:
        """Make the bytes durable, then the name. An existing name is never overwritten (FileExistsError)."""
        self.place(target)
        try:
            self._spool.syncs.directory(target.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                self._fs.unlink(target)
            raise

    def place(self, target: Path) -> None:
        """As ``publish``, without making the name durable."""
        self._spool.syncs.file(self._writable())
        self._close()
        self._fs.link(self._path, target)
        try:
            self._fs.unlink(self._path)
            self._is_named = False
        except BaseException:
            with contextlib.suppress(OSError):
                self._fs.unlink(target)
            raise

    def drop(self) -> None:
        """Leave nothing in the spool folder; does nothing to what was published. May be called twice.

        A name the file system will not remove is left for the next ``sweep``.
        """
        with contextlib.suppress(OSError):
            self._close()
        if self._is_named:
            self._is_named = False
            with contextlib.suppress(OSError):
                self._fs.unlink(self._path)

    def _writable(self) -> int:
        if self._descriptor is None:
            self._path, self._descriptor = self._spool.create()
            self._is_named = True
        return self._descriptor

    def _bypass_cache(self, descriptor: int) -> bool:
        try:
            self._fs.bypass_cache(descriptor)
        except OSError:
            return False  # such as tmpfs: the page cache is all it has
        return True

    def _write_past_cache(self, descriptor: int, content: memoryview) -> memoryview:
        """Write the whole pages of it: what is left for the page cache."""
        rest = content
        try:
            # A disk that is nearly full takes a part, and not always one of whole pages.
            while (pages := len(rest) // PAGE_BYTES * PAGE_BYTES) and not (len(content) - len(rest)) % PAGE_BYTES:
                rest = rest[self._fs.write(descriptor, rest[:pages]) :]
        except OSError as error:
            if error.errno != errno.EINVAL:  # a disk with larger blocks
                raise
        finally:
            self._fs.use_cache(descriptor)
        return rest

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._fs.close(descriptor)
