"""What every target promises: a folder, and a bucket of a real S3 server."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from pacsnode.backup import bucket
from pacsnode.backup.bucket import BucketTarget
from pacsnode.backup.folder import FolderTarget
from pacsnode.backup.target import Target
from pacsnode.errors import NotInBackup
from tests.backup.seaweed import Seaweed

LARGE = 40 * 1024 * 1024


@pytest.fixture(params=["folder", "bucket"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    if request.param == "folder":
        yield FolderTarget(tmp_path)
        return
    seaweed: Seaweed = request.getfixturevalue("seaweed")
    yield in_bucket(seaweed, tmp_path)


def in_bucket(seaweed: Seaweed, folder: Path) -> BucketTarget:
    """A bucket and a prefix that nobody else has."""
    credentials = seaweed.credentials(folder)
    options = bucket.options("s3", endpoint=seaweed.endpoint, region="us-east-1", credentials=credentials)
    return BucketTarget(f"s3://backup/{secrets.token_hex(8)}", options, retry_seconds=5.0)


def content(target: Target, name: str) -> bytes:
    with target.open(name) as source:
        return b"".join(iter(lambda: source.read(100_000), b""))


@pytest.mark.parametrize("size", [0, 1, 1_000_000, LARGE])
def test_what_is_put_is_there(target: Target, size: int) -> None:
    """Byte by byte, whatever the size."""
    put = secrets.token_bytes(size)

    assert target.put("objects/ab/one", io.BytesIO(put))
    assert put == content(target, "objects/ab/one")


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_name_is_given_once(target: Target, size: int) -> None:
    """A second put changes nothing, and says so; replacing does."""
    first, second = secrets.token_bytes(size), secrets.token_bytes(size)
    outcomes = [target.put("one", io.BytesIO(first)), target.put("one", io.BytesIO(second))]
    kept = content(target, "one")
    target.replace("one", io.BytesIO(second))

    assert [True, False] == outcomes
    assert first == kept
    assert second == content(target, "one")


def test_names(target: Target) -> None:
    """All names of a folder, however deep; none of another."""
    names = {f"objects/{number % 7:02x}/{number}" for number in range(50)}
    for name in (*names, "manifests/1"):
        target.put(name, io.BytesIO(b"x"))

    assert names == set(target.names("objects"))
    assert ["manifests/1"] == list(target.names("manifests"))
    assert [] == list(target.names("nothing"))


def test_deleted_and_missing(target: Target) -> None:
    """What was deleted is not there; deleting it again is fine."""
    target.put("objects/one", io.BytesIO(b"x"))

    assert target.delete("objects/one")
    assert target.delete("objects/one")
    with pytest.raises(NotInBackup, match="objects/one"), target.open("objects/one") as source:
        source.read()
