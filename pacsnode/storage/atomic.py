"""How every small file beside the objects is written: whole, or as it was before."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from pacsnode.storage.calls import FileSystem, store_error, write_all
from pacsnode.storage.syncs import Syncs


def write_atomically(path: Path, content: bytes, *, fs: FileSystem | None = None, syncs: Syncs | None = None) -> None:
    """Put the content under the path, replacing what was there. After this returns, a power cut loses nothing.

    At every moment, crashes included, the path holds either the old content or the new. ``syncs`` learns of an fsync
    that failed. Raises StoreError (StoreFull when space ran out).
    """
    calls = fs or FileSystem()
    durably = syncs or Syncs(calls)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        try:
            _write_durably(calls, durably, draft, content)
            calls.rename(draft, path)
        except BaseException:
            with contextlib.suppress(OSError):
                calls.unlink(draft)
            raise
        durably.directory(path.parent)
    except OSError as error:
        raise store_error(error, f"cannot write {path}") from error


def _write_durably(calls: FileSystem, durably: Syncs, path: Path, content: bytes) -> None:
    descriptor = calls.create(path)
    try:
        write_all(calls, descriptor, content)
        durably.file(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            calls.close(descriptor)
        raise
    calls.close(descriptor)
