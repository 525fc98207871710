"""A machine whose power can be cut: QEMU in software emulation, killed with SIGKILL."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.dimse.raw_peer import Aborted, Closed, RawPeer, Rejected
from tests.durability.guest import PORT, Guest

_MEMORY_MEBIBYTES = 1024
_BOOT_SECONDS = 120.0
_POLL_SECONDS = 0.1


class MachineFailed(Exception):
    """The guest did not come up, or ended by itself."""


@dataclass
class Machine:
    """A running guest. ``port``: where its server is reached, on this host's loopback."""

    port: int
    console: Path
    _process: subprocess.Popen[bytes]

    def cut(self) -> None:
        """Cut the power: no flush, no warning."""
        self._process.kill()
        self._process.wait()

    def wait_for_server(self) -> None:
        """Wait until the server answers a C-ECHO. Raises MachineFailed."""
        deadline = time.monotonic() + _BOOT_SECONDS
        while not self._answers():
            self._check(deadline)
            time.sleep(_POLL_SECONDS)

    def wait_for_line(self, pattern: str, seconds: float) -> re.Match[str]:
        """Wait until the console has shown this. Raises MachineFailed."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.console.read_text(errors="replace"))):
            self._check(deadline)
            time.sleep(_POLL_SECONDS)
        return found

    def _check(self, deadline: float) -> None:
        told = self.console.read_text(errors="replace") if self.console.exists() else ""
        ended = self._process.poll() is not None or "GUEST the server has ended" in told
        if ended or time.monotonic() > deadline:
            raise MachineFailed(f"the guest {'has ended' if ended else 'is late'}; its console ends:\n{told[-3000:]}")

    def _answers(self) -> bool:
        try:
            with RawPeer(self.port) as peer:
                peer.associate()
                return peer.echo() == 0
        except (OSError, Closed, Rejected, Aborted):
            return False


@contextlib.contextmanager
def running(guest: Guest, disk: str, console: Path, **parameters: str) -> Iterator[Machine]:
    """Boot the guest on the data disk (a raw file or an NBD address); its power is cut at the end at the latest.

    ``parameters``: server, MUTANT, verify; for the guest's start script.
    """
    port = free_port()
    words = " ".join(f"{name}={value}" for name, value in parameters.items() if value)
    console.write_bytes(b"")
    command = [
        *emulator(guest, port, PORT, words),
        "-no-reboot", "-serial", f"file:{console}",
        "-drive", f"file={guest.root},if=virtio,format=raw,readonly=on",
        # Flushes of the guest reach the file or the NBD server; nothing is flushed that the guest did not flush.
        "-drive", f"file={disk},if=virtio,format=raw,cache=writeback",
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        machine = Machine(port, console, process)
        try:
            yield machine
        finally:
            machine.cut()


def emulator(guest: Guest, port: int, guest_port: int, words: str) -> list[str]:
    """QEMU with the guest's kernel, without disks and serial lines; ``port`` of loopback leads to the guest's."""
    return [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(_MEMORY_MEBIBYTES),
        "-nodefaults", "-display", "none",
        "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:{guest_port}",
        "-device", "virtio-net-pci,netdev=net",
        "-kernel", str(guest.kernel), "-initrd", str(guest.initramfs),
        "-append", f"console=ttyS0 panic=-1 quiet {words}",
    ]  # fmt: skip


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
