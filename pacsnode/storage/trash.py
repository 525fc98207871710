"""Where the objects of deleted studies are until they go for good: out of the archive, and not yet out of the world."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pacsnode.errors import ObjectNotFound, StoreError
from pacsnode.model import Key
from pacsnode.storage import layout
from pacsnode.storage.atomic import write_atomically
from pacsnode.storage.calls import FileSystem, store_error
from pacsnode.storage.directories import make_path
from pacsnode.storage.syncs import Syncs

NAME_BYTES = 8
"""Bytes of randomness that the name of a deletion is made of, as hex digits."""
_NAME = re.compile(rf"[0-9a-f]{{{2 * NAME_BYTES}}}")
_NOTE = "deletion.json"


class Trash:
    """A folder in the file system of the objects, made when first needed; in it one for each deletion, by its name.

    Every method may be called again after a kill, and then completes what it began. Each of them raises StoreError.
    """

    def __init__(self, folder: Path, objects: Path, fs: FileSystem, syncs: Syncs) -> None:
        self._folder = folder
        self._objects = objects
        self._fs = fs
        self._syncs = syncs

    def take(self, name: str, keys: Iterable[Key], note: Mapping[str, object]) -> None:
        """Move the objects here, durably, a note about all of them first. Those that are gone are passed over."""
        folder = self._of(name)
        with _translated("move objects to the trash"):
            make_path(folder, self._fs, self._syncs)
            content = json.dumps(note, indent=1).encode()
            write_atomically(folder / _NOTE, content, fs=self._fs, syncs=self._syncs)
            left: set[Path] = set()
            for key in keys:
                path = layout.path(self._objects, key)
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    self._fs.rename(path, folder / f"{path.name}.dcm")
                left.add(path.parent)
            self._syncs.directory(folder)
            self._sync_all(left)

    def open(self, name: str, key: Key) -> BinaryIO:
        """The whole Part 10 object from its first byte; its reads raise ObjectUnreadable. Raises ObjectNotFound."""
        with _translated(f"open {key} in the trash"):
            try:
                return self._fs.open(self._of(name) / f"{layout.path(self._objects, key).name}.dcm")
            except FileNotFoundError as error:
                raise ObjectNotFound(f"no object {key} in the trash") from error

    def give_back(self, name: str, keys: Iterable[Key]) -> None:
        """Let the objects have their keys again, durably; they stay here, too, until ``drop``.

        What a key names is never overwritten. Those that are not here are passed over.
        """
        folder = self._of(name)
        with _translated("move objects out of the trash"):
            into: set[Path] = set()
            for key in keys:
                path = layout.path(self._objects, key)
                if not (folder / f"{path.name}.dcm").exists():
                    continue
                make_path(path.parent, self._fs, self._syncs)
                with contextlib.suppress(FileExistsError):  # of a call that was killed here
                    self._fs.link(folder / f"{path.name}.dcm", path)
                into.add(path.parent)
            self._sync_all(into)

    def count(self, name: str) -> int:
        """How many objects of a deletion are here."""
        with _translated("look into the trash"):
            return sum(1 for file in self._files(name) if file.endswith(".dcm"))

    def drop(self, name: str) -> None:
        """Remove all that is here of a deletion, durably."""
        folder = self._of(name)
        with _translated("empty the trash"):
            for file in sorted(self._files(name), key=lambda file: file == _NOTE):  # the note tells of what is left
                self._fs.unlink(folder / file)
            with contextlib.suppress(FileNotFoundError):
                self._fs.remove_directory(folder)
                self._syncs.directory(self._folder)

    def is_empty(self) -> bool:
        """Is nothing here?"""
        with _translated("look into the trash"), contextlib.suppress(FileNotFoundError):
            return not self._fs.directories(self._folder)
        return True

    def _of(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise StoreError("not the name of a deletion")
        return self._folder / name

    def _files(self, name: str) -> list[str]:
        try:
            return self._fs.files(self._of(name))
        except FileNotFoundError:
            return []

    def _sync_all(self, folders: Iterable[Path]) -> None:
        for folder in sorted(folders):
            with contextlib.suppress(FileNotFoundError):  # a shard that never was
                self._syncs.directory(folder)


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise store_error(error, f"cannot {doing}") from error
