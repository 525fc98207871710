"""What idle associations and very large objects cost."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system import material
from tests.system.live import LiveNode

MIB = 1024 * 1024
IDLE_ASSOCIATIONS = 200
IDLE_SECONDS = 5.0
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
LARGE_BYTES = 2048 * MIB


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    limits = "[limits]\nassociations = 256\nassociations_per_peer = 256\nassociations_per_address = 0\n"
    with LiveNode(tmp_path_factory.mktemp("limits"), limits) as live:
        yield live


def cpu_seconds(pid: int) -> float:
    """User and system time that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_resident_bytes(pid: int) -> int:
    """The largest resident set the process has had."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert match
    return int(match[1]) * 1024


def test_idle_associations_cost_no_cpu(node: LiveNode) -> None:
    """200 idle associations use less than 2 % of one core."""
    with ExitStack() as stack:
        for _ in range(IDLE_ASSOCIATIONS):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", node.port)))
            sock.sendall(material.association_request("PACSNODE"))
            assert 2 == sock.recv(1 << 16)[0]
        before = cpu_seconds(node.pid)
        threading.Event().wait(IDLE_SECONDS)  # the time over which nothing is to happen
        used = cpu_seconds(node.pid) - before

    print(f"{IDLE_ASSOCIATIONS} idle associations: {used / IDLE_SECONDS:.2%} of a core")
    assert used / IDLE_SECONDS < 0.02


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_large_object_is_stored_in_constant_memory(node: LiveNode) -> None:
    """A multi-frame object of 2 GiB: Success, and the resident set stays under 200 MiB."""
    with socket.create_connection(("127.0.0.1", node.port), timeout=200) as sock:
        sock.sendall(material.association_request("PACSNODE", abstract_syntax=ENHANCED_MR))
        assert 2 == sock.recv(1 << 16)[0]
        uid = b"2.25.3151.99.1"
        sock.sendall(_pdu(_store_request(uid), is_command=True, is_last=True))
        sock.sendall(_pdu(_header(uid), is_command=False, is_last=False))
        frame = bytes(MIB - 64)
        left = LARGE_BYTES
        while left:
            piece = frame[: min(left, len(frame))]
            left -= len(piece)
            sock.sendall(_pdu(piece, is_command=False, is_last=not left))
        answer = sock.recv(1 << 16)
    peak = peak_resident_bytes(node.pid)
    (stored,) = (path for path in (node.folder / "data" / "objects").rglob("*") if path.is_file())
    size = stored.stat().st_size
    stored.unlink()  # 2 GiB that nobody needs any more

    assert struct.pack("<HHIH", 0, 0x0900, 2, 0) in answer
    assert LARGE_BYTES < size < LARGE_BYTES + 4096
    print(f"peak resident set {peak / MIB:.0f} MiB")
    assert peak < 200 * MIB


def _pdu(value: bytes, *, is_command: bool, is_last: bool) -> bytes:
    return struct.pack(">BBIIBB", 4, 0, len(value) + 6, len(value) + 2, 1, is_command | is_last << 1) + value


def _element(tag: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def _store_request(uid: bytes) -> bytes:
    body = _element(0x00000002, ENHANCED_MR.encode()) + _element(0x00000100, b"\1\0") + _element(0x00000110, b"\1\0")
    body += _element(0x00000700, b"\0\0") + _element(0x00000800, b"\0\0") + _element(0x00001000, uid)
    return _element(0, struct.pack("<I", len(body))) + body


def _header(uid: bytes) -> bytes:
    """The data set up to the value of Pixel Data, implicit VR little endian."""
    return (
        _element(0x00080016, ENHANCED_MR.encode())
        + _element(0x00080018, uid)
        + _element(0x00080060, b"MR")
        + _element(0x00100020, b"TEST99")
        + _element(0x0020000D, b"2.25.3151.99.2")
        + _element(0x0020000E, b"2.25.3151.99.3")
        + struct.pack("<HHI", 0x7FE0, 0x0010, LARGE_BYTES)
    )
