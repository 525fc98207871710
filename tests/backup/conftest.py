"""What the tests of the backup share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backup.scene import Scene
from tests.backup.seaweed import Seaweed


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """One S3 server for all tests; each takes a prefix of its own."""
    with Seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A node with a backup in a folder."""
    return Scene(tmp_path)
