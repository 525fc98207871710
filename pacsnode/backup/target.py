"""The interface of where a backup lies: names and bytes, written once. Read this first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol


class Target(Protocol):
    """A folder or a bucket. Names are relative, of ``[a-z0-9./-]``. Safe to use from several threads.

    Every method raises BackupFailure where the target cannot be reached, refuses us, or is full.
    """

    @property
    def url(self) -> str:
        """How people name it; without secrets."""

    def put(self, name: str, source: BinaryIO) -> bool:
        """Keep what the source holds from where it stands; durable when it returns, and never visible in part.

        False where something has the name already: that is left as it is.
        """

    def replace(self, name: str, source: BinaryIO) -> None:
        """As ``put``, in place of what has the name now."""

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """What was put there, from its first byte, as a stream. Raises NotInBackup."""

    def names(self, folder: str) -> Iterator[str]:
        """The whole names of all that lies in the folder, in no order."""

    def delete(self, name: str) -> bool:
        """Remove it; what is gone is fine. False where we may not: then it stays."""

    def sweep(self) -> None:
        """Remove what a process that died left half-written. Only for who writes here alone."""

    def close(self) -> None:
        """Give back what it holds; may be called twice."""
