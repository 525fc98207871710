from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.folder import Folder, image


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A node that never ran."""
    return Folder(tmp_path)


@pytest.fixture
def archive(folder: Folder) -> Folder:
    """A node with a study of three instances and one of one."""
    source = folder.path / "source"
    source.mkdir()
    for number in (10, 9, 11):
        (source / f"{number}.dcm").write_bytes(image(f"2.25.3.{number}"))
    (source / "other.dcm").write_bytes(image("2.25.4.1", study="2.25.9", filling=100))
    assert folder.run("import", source).exit_code == 0
    return folder
