"""Whole objects put under their keys, from a copy of them: durable before they are visible, and never over another."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from pacsnode.model import Key
from pacsnode.storage import layout
from pacsnode.storage.calls import FileSystem, store_error
from pacsnode.storage.directories import Directories, make_path
from pacsnode.storage.syncs import Syncs


class Places:
    """The objects of one data folder. Safe to use from several threads."""

    def __init__(self, root: Path, drafts: Path) -> None:
        """``drafts``: a folder for what is not whole yet, on the same file system. Raises StoreError."""
        self._fs = FileSystem()
        self._objects, self._drafts = root / "objects", drafts
        self._syncs = Syncs(self._fs)
        try:
            make_path(self._objects, self._fs, self._syncs)
            make_path(drafts, self._fs, self._syncs)
        except OSError as error:
            raise store_error(error, f"cannot store anything below {root}") from error
        self._directories = Directories(self._objects, self._fs, self._syncs)

    def holds(self, key: Key) -> bool:
        """Is the object there? Then it is whole."""
        return layout.path(self._objects, key).exists()

    def place(self, key: Key, write: Callable[[BinaryIO], None]) -> None:
        """Put what ``write`` writes under the key; where there is an object it stays. Raises StoreError, StoreFull."""
        draft, target = self._drafts / secrets.token_hex(16), layout.path(self._objects, key)
        try:
            try:
                with os.fdopen(self._fs.create(draft), "wb", buffering=0) as sink:
                    write(sink)
                    self._syncs.file(sink.fileno())
                self._directories.ensure(target.parent)
                with contextlib.suppress(FileExistsError):
                    self._fs.link(draft, target)
            finally:
                with contextlib.suppress(OSError):
                    self._fs.unlink(draft)
            self._syncs.directory(target.parent)
        except OSError as error:
            raise store_error(error, f"cannot place {key}") from error

    def sweep(self) -> None:
        """Remove the folder of the drafts, with what a process that died left there. Raises StoreError."""
        try:
            for name in self._fs.files(self._drafts):
                self._fs.unlink(self._drafts / name)
            self._fs.remove_directory(self._drafts)
        except OSError as error:
            raise store_error(error, f"cannot remove {self._drafts}") from error
