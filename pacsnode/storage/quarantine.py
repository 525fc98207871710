"""Where objects go that cannot be trusted: out of the archive, but not out of the world."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from pacsnode.errors import ObjectNotFound, StoreError
from pacsnode.model import Key
from pacsnode.storage import layout
from pacsnode.storage.atomic import write_atomically
from pacsnode.storage.calls import FileSystem, store_error
from pacsnode.storage.directories import make_path
from pacsnode.storage.syncs import Syncs

_NAME = re.compile(r"([0-9a-f]{32})\.dcm")


@dataclass(frozen=True, slots=True)
class SetAside:
    """An object in quarantine. ``id`` is the last part of the key that it had."""

    id: str
    key: Key  # "" where that is not known any more
    reason: str
    size: int  # bytes of the whole object
    at: datetime  # when it was set aside, UTC


class Quarantine:
    """A folder in the file system of the objects, made when first needed: ``<name>.dcm``, ``<name>.json`` for each.

    Safe to use beside other processes that do.
    """

    def __init__(self, folder: Path, objects: Path, fs: FileSystem, syncs: Syncs) -> None:
        self._folder = folder
        self._objects = objects
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
            if not self._object(path.name).exists():  # else an earlier one of this name, which the reason is of, too
                self._fs.unlink(self._folder / f"{path.name}.json")
            return
        self._syncs.directory(self._folder)
        self._syncs.directory(path.parent)

    def entries(self) -> list[SetAside]:
        """Everything that is here, in order of arrival. Raises StoreError."""
        return [entry for identifier in self._identifiers() if (entry := self._entry(identifier)) is not None]

    def count(self) -> int:
        """How many objects are in it."""
        return len(self._identifiers())

    def is_empty(self) -> bool:
        """Is nothing here? Raises StoreError."""
        return not self._identifiers()

    def entry(self, identifier: str) -> SetAside:
        """The object with this ID. Raises ObjectNotFound, StoreError."""
        found = self._entry(identifier) if _NAME.fullmatch(f"{identifier}.dcm") else None
        if found is None:
            raise ObjectNotFound(f"there is no {identifier} in quarantine; see: pacsnode quarantine list")
        return found

    @contextmanager
    def open(self, entry: SetAside) -> Iterator[BinaryIO]:
        """The object from its first byte; its reads raise ObjectUnreadable. Raises ObjectNotFound, StoreError."""
        with self._translated(entry, "open"):
            source = self._fs.open(self._object(entry.id))
        with source:
            yield source

    def put_back(self, entry: SetAside) -> None:
        """Let the object have its key again, durably; what the key names is never overwritten. Raises StoreError."""
        if not layout.is_key(entry.key):
            raise StoreError(f"{entry.id}: what key it had is not known any more")
        target = layout.path(self._objects, entry.key)
        with self._translated(entry, "put back"):
            make_path(target.parent, self._fs, self._syncs)
            with contextlib.suppress(FileExistsError):  # perhaps of a call that was killed here
                self._fs.link(self._object(entry.id), target)
            if not target.samefile(self._object(entry.id)):
                raise StoreError(f"{entry.id}: there is another object {entry.key}")
            self._syncs.directory(target.parent)
        self.drop(entry)

    def drop(self, entry: SetAside) -> None:
        """Remove the object from here, durably. Raises StoreError."""
        with self._translated(entry, "remove"):
            for path in (self._object(entry.id), self._told(entry.id)):
                with contextlib.suppress(FileNotFoundError):
                    self._fs.unlink(path)
            self._syncs.directory(self._folder)

    def _identifiers(self) -> list[str]:
        try:
            names = self._fs.files(self._folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise store_error(error, f"cannot list {self._folder}") from error
        return sorted(match[1] for name in names if (match := _NAME.fullmatch(name)))

    def _object(self, identifier: str) -> Path:
        return self._folder / f"{identifier}.dcm"

    def _told(self, identifier: str) -> Path:
        return self._folder / f"{identifier}.json"

    def _entry(self, identifier: str) -> SetAside | None:
        key, reason = "", "not known any more"
        try:
            found = self._object(identifier).stat()
            with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
                told = json.loads(self._told(identifier).read_bytes())
                key, reason = str(told["key"]), str(told["reason"])
        except FileNotFoundError:
            return None
        except OSError as error:
            raise store_error(error, f"cannot read {self._folder}") from error
        return SetAside(identifier, Key(key), reason, found.st_size, datetime.fromtimestamp(found.st_ctime, UTC))

    @contextmanager
    def _translated(self, entry: SetAside, doing: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectNotFound(f"{entry.id} is not in quarantine any more") from error
        except OSError as error:
            raise store_error(error, f"cannot {doing} {entry.id}") from error
