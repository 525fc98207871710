"""The directories of the store: created when first needed, durable before anything in them is promised."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from pacsnode.storage.calls import FileSystem
from pacsnode.storage.syncs import Syncs

_MAX_KNOWN = 4096  # shards; some 400 bytes each, and some two weeks of arrivals


class Directories:
    """Everything below one root that exists already. Safe to use from several threads; raises OSError."""

    def __init__(self, root: Path, fs: FileSystem, syncs: Syncs) -> None:
        self._root = root
        self._fs = fs
        self._syncs = syncs
        self._known = {root}
        self._lock = threading.Lock()

    def ensure(self, directory: Path) -> None:
        """Create the directory below the root, and what is missing above it, durably."""
        if directory not in self._known:
            with self._lock:
                self._create(directory)

    def forget(self) -> None:
        """Look again at the next ``ensure``: somebody may have removed a directory behind our back."""
        with self._lock:
            self._known = {self._root}

    def _create(self, directory: Path) -> None:
        if directory in self._known:
            return
        self._create(directory.parent)
        with contextlib.suppress(FileExistsError):
            self._fs.make_directory(directory)
        try:
            # Also where it was there: the process that made it may have been killed before it came here.
            self._syncs.directory(directory.parent)
        except OSError:
            # A second fsync could claim a success that never was. Where removal fails the directory is not
            # empty, and only durable directories are ever filled.
            with contextlib.suppress(OSError):
                self._fs.remove_directory(directory)
            raise
        if len(self._known) >= _MAX_KNOWN:
            self._known = {self._root}
        self._known.add(directory)


def make_path(directory: Path, fs: FileSystem, syncs: Syncs) -> None:
    """Create the directory, and what is missing above it, durably. Raises OSError."""
    if fs.is_directory(directory):
        return
    make_path(directory.parent, fs, syncs)
    with contextlib.suppress(FileExistsError):
        fs.make_directory(directory)
    syncs.directory(directory.parent)
