"""A disk that forgets: an NBD server that keeps what was written but not flushed in memory, and loses some of it.

QEMU is its only client. Newstyle fixed handshake; READ, WRITE (with FUA), FLUSH, DISC of the NBD protocol.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
from pathlib import Path
from types import TracebackType

BLOCK_BYTES = 4096  # what a drive writes whole or not at all

_MAGIC, _OPTION_MAGIC, _OPTION_REPLY = b"NBDMAGIC", b"IHAVEOPT", 0x3E889045565A9
_REQUEST_MAGIC, _REPLY_MAGIC = 0x25609513, 0x67446698
_FIXED_NEWSTYLE_NO_ZEROES = 0b11
_OPT_EXPORT_NAME, _OPT_ABORT, _OPT_INFO, _OPT_GO = 1, 2, 6, 7
_REP_ACK, _REP_INFO, _REP_UNSUPPORTED = 1, 3, 2**31 + 1
_INFO_EXPORT, _INFO_BLOCK_SIZE = 0, 3
_HAS_FLAGS_FLUSH_FUA = 0b1101
_READ, _WRITE, _DISC, _FLUSH = range(4)
_FUA = 1
_INVALID = 22  # EINVAL
_LARGEST_BYTES = 32 * 1024 * 1024


class LossyDisk:
    """The blocks: durable ones in the image, all versions written since the last flush in memory.

    Used by one thread at a time.
    """

    def __init__(self, image: Path) -> None:
        self.size = image.stat().st_size
        self._image = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        self._unflushed: dict[int, list[bytes]] = {}  # by number of the block, oldest version first

    def read(self, offset: int, length: int) -> bytes:
        """What was written last, flushed or not."""
        content = bytearray(os.pread(self._image, length, offset))
        first, last = offset // BLOCK_BYTES, (offset + length - 1) // BLOCK_BYTES
        for number in range(first, last + 1) if self._unflushed else ():
            if versions := self._unflushed.get(number):
                start = number * BLOCK_BYTES - offset
                into, skipped = max(start, 0), max(-start, 0)
                piece = versions[-1][skipped : skipped + length - into]
                content[into : into + len(piece)] = piece
        return bytes(content)

    def write(self, offset: int, content: bytes) -> None:
        """Take it into the drive's memory."""
        position = 0
        while position < len(content):
            number, within = divmod(offset + position, BLOCK_BYTES)
            piece = content[position : position + BLOCK_BYTES - within]
            if len(piece) < BLOCK_BYTES:
                block = self.read(number * BLOCK_BYTES, BLOCK_BYTES)
                piece_in_block = block[:within] + piece + block[within + len(piece) :]
            else:
                piece_in_block = piece
            self._unflushed.setdefault(number, []).append(piece_in_block)
            position += len(piece)

    def write_through(self, offset: int, content: bytes) -> None:
        """Forced unit access: durable when this returns; what else is unflushed stays so."""
        self.write(offset, content)
        for number in range(offset // BLOCK_BYTES, (offset + len(content) - 1) // BLOCK_BYTES + 1):
            self._make_durable(number, self._unflushed.pop(number)[-1])

    def flush(self) -> None:
        """Make durable everything that was written before."""
        for number, versions in self._unflushed.items():
            self._make_durable(number, versions[-1])
        self._unflushed.clear()

    def cut(self, chance: random.Random) -> int:
        """Lose power: of each unflushed block any version is on the disk, or what was there before. How many blocks.

        How many survive differs from cut to cut; in a quarter of the cuts, none.
        """
        survival = 0.0 if chance.random() < 0.25 else chance.random()
        unflushed = len(self._unflushed)
        for number, versions in self._unflushed.items():
            if chance.random() < survival:
                self._make_durable(number, chance.choice(versions))
        self._unflushed.clear()
        return unflushed

    def close(self) -> None:
        """Close the image; what is unflushed is lost."""
        os.close(self._image)

    def _make_durable(self, number: int, block: bytes) -> None:
        os.pwrite(self._image, block[: self.size - number * BLOCK_BYTES], number * BLOCK_BYTES)


class DiskServer:
    """Serves one disk to one client after the other on a Unix socket; ``with`` ends it."""

    def __init__(self, disk: LossyDisk, path: Path) -> None:
        self.disk = disk
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._idle = threading.Event()
        self._idle.set()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> DiskServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()
        self.path.unlink()

    def wait_until_idle(self) -> None:
        """Wait until the client that was connected has gone, and its last request is done."""
        if not self._idle.wait(30):
            raise TimeoutError("the disk's client is still there")

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._idle.clear()
            with client, contextlib.suppress(ConnectionError, EOFError):
                Conversation(self.disk, client).run()
            self._idle.set()


class Conversation:
    """One client's connection, from handshake to its end. Raises ConnectionError or EOFError when it goes."""

    def __init__(self, disk: LossyDisk, client: socket.socket) -> None:
        self._disk = disk
        self._client = client
        self._source = client.makefile("rb", buffering=256 * 1024)

    def run(self) -> None:
        """Serve until the client goes."""
        with self._source:
            self._client.sendall(_MAGIC + _OPTION_MAGIC + struct.pack(">H", _FIXED_NEWSTYLE_NO_ZEROES))
            self._exactly(4)  # the client's flags: it knows what we know
            while not self._option():
                pass
            while self._request():
                pass

    def _option(self) -> bool:
        """Answer one option; True when the transmission phase begins."""
        magic, option, length = struct.unpack(">8sII", self._exactly(16))
        if magic != _OPTION_MAGIC:
            raise ConnectionError("not an option")
        self._exactly(length)  # the export's name: there is one disk
        if option == _OPT_EXPORT_NAME:
            self._client.sendall(struct.pack(">QH", self._disk.size, _HAS_FLAGS_FLUSH_FUA))
            return True
        if option in (_OPT_INFO, _OPT_GO):
            export = struct.pack(">HQH", _INFO_EXPORT, self._disk.size, _HAS_FLAGS_FLUSH_FUA)
            sizes = struct.pack(">HIII", _INFO_BLOCK_SIZE, 1, BLOCK_BYTES, _LARGEST_BYTES)
            self._reply_option(option, _REP_INFO, export)
            self._reply_option(option, _REP_INFO, sizes)
            self._reply_option(option, _REP_ACK)
            return bool(option == _OPT_GO)
        self._reply_option(option, _REP_ACK if option == _OPT_ABORT else _REP_UNSUPPORTED)
        if option == _OPT_ABORT:
            raise EOFError
        return False

    def _reply_option(self, option: int, kind: int, content: bytes = b"") -> None:
        self._client.sendall(struct.pack(">QIII", _OPTION_REPLY, option, kind, len(content)) + content)

    def _request(self) -> bool:
        """Carry out one request; False when it was the last."""
        magic, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", self._exactly(28))
        if magic != _REQUEST_MAGIC:
            raise ConnectionError("not a request")
        if kind == _DISC:
            return False
        content, error = b"", 0
        if kind == _READ:
            content = self._disk.read(offset, length)
        elif kind == _WRITE:
            write = self._disk.write_through if flags & _FUA else self._disk.write
            write(offset, self._exactly(length))
        elif kind == _FLUSH:
            self._disk.flush()
        else:
            error = _INVALID
        self._client.sendall(struct.pack(">IIQ", _REPLY_MAGIC, error, handle) + content)
        return True

    def _exactly(self, count: int) -> bytes:
        content: bytes = self._source.read(count)
        if len(content) < count:
            raise EOFError
        return content
