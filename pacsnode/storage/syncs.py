"""Every fsync of the store goes through here, and none is asked twice about the same bytes.

Linux marks pages clean when their writing failed: a second fsync would answer well about bytes that are lost.
"""

from __future__ import annotations

from pathlib import Path

from pacsnode.storage.calls import FileSystem, is_full


class Syncs:
    """Makes files and directories durable, and remembers that it could not. Raises OSError."""

    def __init__(self, fs: FileSystem) -> None:
        self.degraded = ""  # why the disk is not to be trusted any more
        self._fs = fs

    def file(self, descriptor: int) -> None:
        """Make the file's bytes and size durable; after an error the file has to be dropped."""
        try:
            self._fs.sync(descriptor)
        except OSError as error:
            self._note(error, "a file")
            raise

    def directory(self, path: Path) -> None:
        """Make the directory's names durable; after an error whatever was put there has to be taken back."""
        try:
            self._fs.sync_directory(path)
        except (FileNotFoundError, PermissionError):  # could not be opened: nothing was asked of the disk
            raise
        except OSError as error:
            self._note(error, f"the directory {path}")
            raise

    def _note(self, error: OSError, what: str) -> None:
        if not is_full(error):
            self.degraded = f"fsync of {what} failed: {error.strerror}"
