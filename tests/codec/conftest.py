"""One sandbox for all tests that do nothing bad to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pacsnode.codec.sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """With the real codecs."""
    with Sandbox(2) as found:
        yield found
