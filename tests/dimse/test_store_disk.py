"""C-STORE onto a disk that fails: whichever system call it is, the sender hears that it may send again."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pacsnode.storage.filesystem import FilesystemStore
from tests.dimse import images
from tests.dimse.conftest import Nodes
from tests.dimse.raw_peer import CT, ERROR_COMMENT, EXPLICIT, OFFENDING_ELEMENT, Offer
from tests.storage.recorded_calls import RecordedFileSystem, fails_at

UID = images.uid_of(1)
STAGING_BYTES = 8192
FULL, BROKEN = 0xA700, 0xA701
ROWS = [
    ("create", errno.ENOSPC, FULL),
    ("create", errno.EDQUOT, FULL),
    ("create", errno.EIO, BROKEN),
    ("create", errno.EMFILE, BROKEN),
    ("create", errno.EROFS, BROKEN),
    ("create", errno.EACCES, BROKEN),
    ("write", errno.ENOSPC, FULL),
    ("write", errno.EDQUOT, FULL),
    ("write", errno.EIO, BROKEN),
    ("sync", errno.ENOSPC, FULL),
    ("sync", errno.EDQUOT, FULL),
    ("sync", errno.EIO, BROKEN),
    ("link", errno.ENOSPC, FULL),
    ("link", errno.EIO, BROKEN),
    ("sync_directory", errno.EIO, BROKEN),
]


@pytest.mark.parametrize("size", [100, 3 * STAGING_BYTES], ids=["small", "large"])
@pytest.mark.parametrize(
    ("call", "number", "status"), ROWS, ids=[f"{call}-{errno.errorcode[number]}" for call, number, _ in ROWS]
)
def test_every_call_that_fails(nodes: Nodes, tmp_path: Path, call: str, number: int, status: int, size: int) -> None:
    """A7xx, without an offending element and without a word of our machine; sent again, the instance is stored."""
    fs = RecordedFileSystem()
    store = FilesystemStore(tmp_path / "data", fs=fs, staging_bytes=STAGING_BYTES)
    node = nodes.start(store=store)
    data = images.image(pixels=bytes(size))
    with node.connect(Offer(1, CT, (EXPLICIT,))) as peer:
        fs.fails = fails_at(call, number=number)
        response = peer.store(1, CT, UID, data)
        kept = node.archive.index.totals().instances
        fs.fails = lambda count, call: 0
        after = peer.store(1, CT, UID, data).status
        peer.release()

    assert (status, 0, 0) == (response.status, kept, after)
    assert OFFENDING_ELEMENT not in response.elements  # PS3.7 Annex C: not with A7xx
    assert b"the archive cannot do this now" == response.elements[ERROR_COMMENT].strip()
    assert 1 == node.archive.index.totals().instances
