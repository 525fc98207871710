"""A scrub in a process that kills itself: ``python -m tests.integrity.killed FOLDER SECONDS POINT``.

A point is a system call of the store, or a look at the clock, which every step of a finding takes.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pacsnode.storage.calls import FileSystem
from tests.integrity.scene import BEGAN, Hands, Scene

_CALLS = frozenset(name for name in vars(FileSystem) if not name.startswith("_"))


class Mortal(FileSystem):
    """The operating system's own; ``point`` is called before each call."""

    def __init__(self, point: Callable[[], None]) -> None:
        self._point = point

    def __getattribute__(self, name: str) -> Any:  # whatever FileSystem has
        if name in _CALLS:
            object.__getattribute__(self, "_point")()
        return object.__getattribute__(self, name)


class MortalHands(Hands):
    """A clock; ``point`` is called whenever it is looked at."""

    def __init__(self, now: datetime, point: Callable[[], None]) -> None:
        super().__init__(now)
        self._point = point

    def __call__(self) -> datetime:
        self._point()
        return super().__call__()


def main(folder: Path, seconds: int, last: int) -> None:
    """Scrub the archive in the folder, so long after it was begun, up to that point."""
    points = itertools.count(1)

    def point() -> None:
        if next(points) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    scene = Scene(folder, MortalHands(BEGAN + timedelta(seconds=seconds), point), Mortal(point))
    scene.store.sweep()
    scene.run()
    scene.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
