"""Deletes, restores and purges in a process that kills itself: ``python -m tests.retention.victim FOLDER POINT``.

A point is a system call of the store, or a step of index or ledger. Without one, it prints how many there are.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from pacsnode.index.sqlite import SqliteIndex
from pacsnode.retention.ledger import Ledger
from tests.integrity.killed import Mortal
from tests.integrity.scene import BEGAN, Hands
from tests.retention.scene import A, B, Scene

LATER = timedelta(days=100)
_STEPS = frozenset({"strike_many", "put_back", "begin", "add", "move_on", "items"})


def _mortal(kind: type[Any], point: Callable[[], None]) -> type[Any]:
    """The class, but ``point`` is called before and after each step."""

    def stepped(method: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            point()
            result = method(*arguments, **named)
            point()
            return result

        return step

    own = {name: stepped(getattr(kind, name)) for name in _STEPS if hasattr(kind, name)}
    return type(kind.__name__, (kind,), own)


def main(folder: Path, last: int) -> None:
    """Delete A, bring it back, delete it again; delete B for good."""
    points = itertools.count(1)
    counted = 0

    def point() -> None:
        nonlocal counted
        counted = next(points)
        if counted == last:
            os.kill(os.getpid(), signal.SIGKILL)

    scene = Scene(
        folder,
        clock=Hands(BEGAN + LATER),
        fs=Mortal(point),
        index=_mortal(SqliteIndex, point),
        ledger=_mortal(Ledger, point),
        grace=timedelta(0),
    )
    first = counted
    scene.deletions.delete(A, "test", "admin")
    scene.deletions.undelete(A)
    scene.deletions.delete(A, "test", "admin")
    scene.deletions.purge(scene.deletions.delete(B, "test", "admin"))
    scene.close()
    print(first, counted)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
