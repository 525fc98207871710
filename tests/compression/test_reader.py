"""What is read before it is compressed, and again when it is in place."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pacsnode.archive import Archive
from pacsnode.compression import reader
from pacsnode.compression.reader import Reader
from pacsnode.errors import ObjectDamaged
from tests.compression.scene import KINDS, image, opened, rows, store


@pytest.fixture(params=["in memory", "from the disk"])
def archive(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archive]:
    """One that takes small objects for such, and one that takes them for large."""
    if request.param == "from the disk":
        monkeypatch.setattr(reader, "_IN_MEMORY_BYTES", 1)
    with opened(tmp_path) as made:
        yield made


def test_each_object_is_read_as_it_is(archive: Archive) -> None:
    """One after the other, a small one behind a large one, too."""
    for number, size in enumerate((96, 48, 64), 1):
        store(archive, image(KINDS[0], number, size))
    one_reader = Reader(archive.store)

    for instance in rows(archive):
        with one_reader.opened(instance.stored) as source:
            assert instance.stored.digest == hashlib.sha256(source.read(instance.stored.size)).hexdigest()


@pytest.mark.parametrize("change", [-1, 1], ids=["shorter", "longer"])
def test_other_bytes_than_came_are_seen(archive: Archive, tmp_path: Path, change: int) -> None:
    """An object that lost its end, or has something behind it, is not the one that was stored."""
    store(archive, image(KINDS[0]))
    (instance,) = rows(archive)
    path = tmp_path / "objects" / instance.stored.key
    os.truncate(path, path.stat().st_size + change)

    with pytest.raises(ObjectDamaged):
        Reader(archive.store).check(instance.stored)
