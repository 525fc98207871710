"""What compression keeps of originals repairs what it made of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from pacsnode.archive import Archive
from pacsnode.codec.sandbox import Sandbox
from pacsnode.compression.job import CompressionJob, MayGo
from pacsnode.compression.kept import KeptOriginals
from pacsnode.integrity.repair import Repairer
from pacsnode.jobs.budget import RunBudget
from pacsnode.model import Instance
from tests.compression.scene import KINDS, POLICY, age, image, keys, opened, rows, store

PLACE = "kept original"


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with opened(tmp_path) as made:
        yield made


def run(archive: Archive, folder: Path, may_go: MayGo) -> None:
    """A run of the job, with originals kept by this."""
    CompressionJob(archive, folder, POLICY, may_go=lambda: nullcontext(may_go)).run(RunBudget())


def compressed(archive: Archive, folder: Path) -> Instance:
    """One image that was big endian, kept beside what it is now."""
    store(archive, image(KINDS[3]))
    age(archive)
    run(archive, folder, lambda _: False)
    (row,) = rows(archive)
    return row


def damage(folder: Path, instance: Instance) -> None:
    """Change its last byte."""
    path = folder / "objects" / instance.stored.key
    content = path.read_bytes()
    path.chmod(0o640)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def repairer(archive: Archive, folder: Path) -> Repairer:
    return Repairer(archive, {PLACE: KeptOriginals(archive, folder, folder, Sandbox)})


def test_made_anew(archive: Archive, tmp_path: Path) -> None:
    """The object is the same again, and still tells what came."""
    before = compressed(archive, tmp_path)
    original = archive.store.arrival(before.stored.key).original
    damage(tmp_path, before)
    assert archive.problem_of(before) is not None

    assert PLACE == repairer(archive, tmp_path).repair(before)
    (after,) = rows(archive)
    assert archive.problem_of(after) is None
    assert before == replace(after, stored=replace(after.stored, key=before.stored.key))
    assert original is not None
    assert original == archive.store.arrival(after.stored.key).original


def test_the_original_stays_for_what_was_repaired(archive: Archive, tmp_path: Path) -> None:
    """It goes when the repaired object may do without it, not before."""
    before = compressed(archive, tmp_path)
    (old,) = set(keys(archive)) - {before.stored.key}
    archive.store.delete(before.stored.key)
    repairer(archive, tmp_path).repair(before)
    (after,) = rows(archive)
    run(archive, tmp_path, lambda _: False)
    assert {old, after.stored.key} == set(keys(archive))

    run(archive, tmp_path, lambda new: new == after.stored.key)
    assert [after.stored.key] == keys(archive)


def test_nothing_kept(archive: Archive, tmp_path: Path) -> None:
    """Without an original there is no copy, whether or not anything was ever compressed."""
    store(archive, image(KINDS[0]))
    (native,) = rows(archive)
    assert repairer(archive, tmp_path).repair(native) is None
    age(archive)
    run(archive, tmp_path, lambda _: True)
    (row,) = rows(archive)

    assert repairer(archive, tmp_path).repair(row) is None
