from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integrity.scene import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """An archive in a folder of its own."""
    made = Scene(tmp_path)
    yield made
    made.close()
