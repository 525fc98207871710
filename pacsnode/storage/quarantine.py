"""Where objects go that cannot be trusted: out of the archive, but not out of the world."""

from __future__ import annotations

import json
from pathlib import Path

from pacsnode.model import Key
from pacsnode.storage.atomic import write_atomically
from pacsnode.storage.calls import FileSystem
from pacsnode.storage.directories import make_path
from pacsnode.storage.syncs import Syncs


class Quarantine:
    """A folder in the file system of the objects, made when first needed: ``<name>.dcm``, ``<name>.json`` for each."""

    def __init__(self, folder: Path, fs: FileSystem, syncs: Syncs) -> None:
        self._folder = folder
        self._fs = fs
        self._syncs = syncs

    def take(self, path: Path, key: Key, reason: str) -> None:
        """Move the object here, durably, its reason first; nothing where it is gone. Raises OSError, StoreError."""
        make_path(self._folder, self._fs, self._syncs)
        told = json.dumps({"key": key, "reason": reason})
        write_atomically(self._folder / f"{path.name}.json", told.encode(), fs=self._fs, syncs=self._syncs)
        try:
            self._fs.rename(path, self._folder / f"{path.name}.dcm")
        except FileNotFoundError:
            self._fs.unlink(self._folder / f"{path.name}.json")
            return
        self._syncs.directory(self._folder)
        self._syncs.directory(path.parent)
