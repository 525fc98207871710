"""The SQLite index keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pacsnode.index.index import Index
from pacsnode.index.sqlite import SqliteIndex
from tests.index.contract import IndexContract


class TestSqliteIndex(IndexContract):
    @pytest.fixture
    def index(self, tmp_path: Path) -> Iterator[Index]:
        index = SqliteIndex(tmp_path / "index.db")
        yield index
        index.close()
