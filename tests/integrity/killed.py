"""A scrub in a process of its own, to be killed: ``python -m tests.integrity.killed FOLDER SECONDS``."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from tests.integrity.scene import BEGAN, Scene


def main(folder: Path, seconds: int) -> None:
    """Scrub the archive in the folder, so long after it was begun."""
    scene = Scene(folder)
    scene.store.sweep()
    scene.clock.now = BEGAN + timedelta(seconds=seconds)
    print("ready", flush=True)
    scene.run()
    scene.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
