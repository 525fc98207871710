"""The tools that the documents name."""

from __future__ import annotations

import shutil

import pytest

from tests.system import dcmtk


@pytest.fixture(autouse=True)
def _tools() -> None:
    wanted = [*dcmtk.TOOLS, "bash", "curl", "make", "openssl"]
    if missing := [tool for tool in wanted if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(missing)} missing; run: apt-get install {' '.join(missing)}")
