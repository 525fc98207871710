"""Small files that commands write: whole or not at all, and readable for whom they were before."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

_MODE = 0o640


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Make a file that is not there yet. Raises FileExistsError, OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(descriptor)


def replace(path: Path, content: str, check: Callable[[Path], object] = lambda draft: None) -> None:
    """Put the content in the place of what the file holds; owner, group and mode stay, a new one is of its folder's
    group and 0640.

    ``check`` sees the draft before: what it raises leaves all as it was. Raises OSError.
    """
    path = path.resolve()
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        write_new(draft, content.encode(), _MODE)
        _belong_alike(draft, path)
        check(draft)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _belong_alike(draft: Path, path: Path) -> None:
    try:
        model = path.stat()
    except FileNotFoundError:
        with contextlib.suppress(PermissionError):
            os.chown(draft, -1, path.parent.stat().st_gid)
        return
    with contextlib.suppress(PermissionError):
        os.chown(draft, model.st_uid, model.st_gid)
    draft.chmod(model.st_mode & 0o777)
