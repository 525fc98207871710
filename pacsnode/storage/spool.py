"""Files in the making: grown in the spool folder, linked to their final name when they are whole and durable."""

from __future__ import annotations

import contextlib
import re
import secrets
from pathlib import Path

from pacsnode.storage.calls import FileSystem, write_all
from pacsnode.storage.syncs import Syncs

_NAME = re.compile(r"[0-9a-f]{32}\.part")


class Spool:
    """The folder, in the same file system as the objects. Safe to use from several threads; raises OSError."""

    def __init__(self, folder: Path, fs: FileSystem, syncs: Syncs) -> None:
        self.fs = fs
        self.syncs = syncs
        self._folder = folder

    def new_file(self) -> SpoolFile:
        """A file that does not exist before its first byte."""
        return SpoolFile(self, self._folder / f"{secrets.token_hex(16)}.part")

    def probe(self, objects: Path) -> None:
        """Try once what every upload does: create a file and give it a second name among the objects."""
        file = self.new_file()
        self.fs.close(self.fs.create(file.path))
        probe = objects / file.path.name
        try:
            self.fs.link(file.path, probe)
            self.fs.unlink(probe)
        finally:
            self.fs.unlink(file.path)

    def sweep(self) -> int:
        """Remove what was in the making when a process died; answers how many. Nobody may be uploading."""
        leftovers = [name for name in self.fs.files(self._folder) if _NAME.fullmatch(name)]
        for name in leftovers:
            self.fs.unlink(self._folder / name)
        return len(leftovers)


class SpoolFile:
    """One file from its first byte to its final name. Used by one thread; raises OSError, then call ``drop``."""

    def __init__(self, spool: Spool, path: Path) -> None:
        self.path = path
        self.size = 0
        self._spool = spool
        self._fs = spool.fs
        self._descriptor: int | None = None
        self._is_named = False

    def append(self, content: memoryview) -> None:
        """Write at the end; the first time this creates the file."""
        write_all(self._fs, self._writable(), content)
        self.size += len(content)

    def fill_in(self, content: bytes) -> None:
        """Overwrite the beginning of what was written."""
        descriptor, rest, offset = self._writable(), memoryview(content), 0
        while rest:
            taken = self._fs.write_at(descriptor, rest, offset)
            rest, offset = rest[taken:], offset + taken

    def publish(self, target: Path) -> None:
        """Make the bytes durable, then the name. An existing name is never overwritten (FileExistsError)."""
        self._spool.syncs.file(self._writable())
        self._close()
        self._fs.link(self.path, target)
        try:
            self._fs.unlink(self.path)
            self._is_named = False
            self._spool.syncs.directory(target.parent)
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
                self._fs.unlink(self.path)

    def _writable(self) -> int:
        if self._descriptor is None:
            self._descriptor = self._fs.create(self.path)
            self._is_named = True
        return self._descriptor

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._fs.close(descriptor)
