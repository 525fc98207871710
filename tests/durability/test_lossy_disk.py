"""The disk that forgets: what is promised after a flush, and what may be there without one."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.lossy_disk import BLOCK_BYTES, DiskServer, LossyDisk

BLOCKS = 64
SIZE = BLOCKS * BLOCK_BYTES
OLD, NEW, NEWER = b"o" * BLOCK_BYTES, b"n" * BLOCK_BYTES, b"N" * BLOCK_BYTES
READ, WRITE, DISC, FLUSH, TRIM = range(5)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(OLD * BLOCKS)
    return path


@pytest.fixture
def disk(image: Path) -> Iterator[LossyDisk]:
    opened = LossyDisk(image)
    yield opened
    opened.close()


def blocks(image: Path) -> list[bytes]:
    """The durable content, block by block."""
    content = image.read_bytes()
    return [content[start : start + BLOCK_BYTES] for start in range(0, len(content), BLOCK_BYTES)]


def test_reads_what_was_written_last(disk: LossyDisk) -> None:
    """A read sees unflushed writes, also parts of blocks and across their borders."""
    disk.write(BLOCK_BYTES - 3, b"abcdef")
    disk.write(BLOCK_BYTES - 1, b"X")

    assert b"oabXdefo" == disk.read(BLOCK_BYTES - 4, 8)
    assert b"bXd" == disk.read(BLOCK_BYTES - 2, 3)


@pytest.mark.parametrize("seed", range(20))
def test_any_write_and_read_agrees_with_memory(disk: LossyDisk, seed: int) -> None:
    """Whatever is written and flushed in any order, reads answer like plain memory."""
    chance, memory = random.Random(seed), bytearray(OLD * BLOCKS)
    for _ in range(100):
        offset = chance.randrange(SIZE - 1)
        length = chance.randrange(1, min(3 * BLOCK_BYTES, SIZE - offset) + 1)
        content = chance.randbytes(length)
        chance.choice((disk.write, disk.write_through))(offset, content)
        memory[offset : offset + length] = content
        if chance.random() < 0.1:
            disk.flush()
        start = chance.randrange(SIZE - 1)
        assert bytes(memory[start : start + 9000]) == disk.read(start, min(9000, SIZE - start))


def test_nothing_is_durable_before_a_flush(disk: LossyDisk, image: Path) -> None:
    """A write alone does not reach the image."""
    disk.write(0, NEW)

    assert [OLD] * BLOCKS == blocks(image)


def test_a_flush_makes_all_durable(disk: LossyDisk, image: Path) -> None:
    """What was written before a flush survives every cut."""
    disk.write(0, NEW)
    disk.write(0, NEWER)
    disk.write(5 * BLOCK_BYTES, NEW)
    disk.flush()
    disk.cut(random.Random(1))

    assert [NEWER, OLD, OLD, OLD, OLD, NEW] == blocks(image)[:6]


def test_forced_unit_access_makes_only_itself_durable(disk: LossyDisk, image: Path) -> None:
    """A write with FUA is durable; another one, unflushed, is not."""
    disk.write(0, NEW)
    disk.write_through(BLOCK_BYTES, NEW)

    assert [OLD, NEW] == blocks(image)[:2]


def test_a_cut_loses_some_blocks_and_tears_none(image: Path) -> None:
    """Each unflushed block is one of its versions or the old one, and over some cuts each of these occurs."""
    seen: set[bytes] = set()
    partial = 0
    for seed in range(20):
        image.write_bytes(OLD * BLOCKS)
        disk = LossyDisk(image)
        disk.write(0, NEW * BLOCKS)
        disk.write(0, NEWER * BLOCKS)
        disk.cut(random.Random(seed))
        disk.close()
        found = set(blocks(image))
        seen |= found
        partial += len(found) == 3

    assert {OLD, NEW, NEWER} == seen
    assert partial > 5


def test_after_a_cut_reads_show_what_survived(disk: LossyDisk, image: Path) -> None:
    """Power comes back to the durable content alone."""
    disk.write(0, NEW * BLOCKS)
    disk.cut(random.Random(3))

    assert image.read_bytes() == disk.read(0, SIZE)


class Client:
    """An NBD client that says no more than a test wants."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self.greeting = self.exactly(18)
        self.socket.sendall(struct.pack(">I", 3))

    def exactly(self, count: int) -> bytes:
        """So many bytes; fewer where the server ends."""
        return self.socket.recv(count, socket.MSG_WAITALL)

    def option(self, number: int, content: bytes = b"") -> None:
        """Ask for an option."""
        self.socket.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(content)) + content)

    def option_reply(self) -> tuple[int, bytes]:
        """Kind and content of an answer to an option."""
        _, _, kind, length = struct.unpack(">QIII", self.exactly(20))
        return kind, self.exactly(length) if length else b""

    def ask(self, kind: int, offset: int = 0, length: int = 0, content: bytes = b"", flags: int = 0) -> tuple[int, int]:
        """A request: the error and the handle of its answer."""
        header = struct.pack(">IHHQQI", 0x25609513, flags, kind, 77, offset, length or len(content))
        self.socket.sendall(header + content)
        magic, error, handle = struct.unpack(">IIQ", self.exactly(16))
        assert magic == 0x67446698
        return error, handle


def test_speaks_the_protocol(disk: LossyDisk, image: Path, tmp_path: Path) -> None:
    """Handshake with GO, an unknown option, READ, WRITE with and without FUA, FLUSH, and an error for any more."""
    with DiskServer(disk, tmp_path / "socket") as server:
        client = Client(server.path)
        assert b"NBDMAGICIHAVEOPT\x00\x03" == client.greeting
        client.option(8)
        assert (2**31 + 1, b"") == client.option_reply()
        client.option(7, struct.pack(">IH", 0, 0))
        assert (3, struct.pack(">HQH", 0, SIZE, 0b1101)) == client.option_reply()
        assert 3 == client.option_reply()[0]
        assert (1, b"") == client.option_reply()

        assert (0, 77) == client.ask(WRITE, 0, content=NEW)
        assert (0, 77) == client.ask(WRITE, BLOCK_BYTES, content=NEWER, flags=1)
        assert [OLD, NEWER] == blocks(image)[:2]
        assert (0, 77) == client.ask(FLUSH)
        assert [NEW, NEWER] == blocks(image)[:2]
        assert (0, 77) == client.ask(READ, BLOCK_BYTES - 1, 2)
        assert b"nN" == client.exactly(2)
        assert (22, 77) == client.ask(TRIM, 0, 4096)
        client.socket.close()
        server.wait_until_idle()


def test_the_next_client_is_served(disk: LossyDisk, tmp_path: Path) -> None:
    """A client that is killed in the middle of a request does not end the server."""
    with DiskServer(disk, tmp_path / "socket") as server:
        for _ in range(2):
            client = Client(server.path)
            client.option(1)
            assert struct.pack(">QH", SIZE, 0b1101) == client.exactly(10)
            client.socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, WRITE, 1, 0, BLOCK_BYTES) + b"half")
            client.socket.close()
        server.wait_until_idle()

    assert OLD == disk.read(0, BLOCK_BYTES)
