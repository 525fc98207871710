from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.retention.scene import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Three studies."""
    scene = Scene(tmp_path)
    with closing(scene):
        scene.fill()
        yield scene
