"""The machine, and a shell of root's in it."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.durability.machine import MachineFailed, emulator, free_port
from tests.vm.guest import PORT, Machinery

_SECONDS = 300.0  # emulated, and shared with others
_POLL_SECONDS = 0.2
_GREETING = "GUEST shell\n"
# What a Debian does by itself that costs time here, or waits for devices that nobody tells of.
_MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("e2scrub_reap.service", "getty.target", "serial-getty@ttyS0.service"),
)
_WORDS = " ".join(("systemd.show_status=0", *(f"systemd.mask={unit}" for unit in _MASKED)))


class Machine:
    """A running guest. ``port``: where its port 104 is reached, on this host's loopback."""

    def __init__(self, port: int, console: Path, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self._console = console
        self._process = process
        self._numbers = itertools.count(1)
        self._told = ""

    def wait_for_shell(self) -> None:
        """Wait until a boot has come so far that it takes commands: after pacsnode, where that is enabled."""
        self._read(re.compile(re.escape(_GREETING)), _SECONDS)

    def run(self, command: str, seconds: float = _SECONDS) -> tuple[int, str]:
        """Run a command: its exit code, and what it says. Raises MachineFailed where it does not end in time."""
        number = next(self._numbers)
        self.order(f'{{ {command}\n}} </dev/null; echo "END{number}X $?"')
        said, found = self._read(re.compile(rf"END{number}X (\d+)\n"), seconds)
        return int(found[1]), said.strip()

    def do(self, command: str) -> str:
        """Run a command that has to succeed: what it says. Raises MachineFailed."""
        code, said = self.run(command)
        if code:
            raise MachineFailed(f"{command!r} exited {code}: {said}\n{self.journal()}")
        return said

    def order(self, command: str) -> None:
        """Give the shell a command, of whose end nothing is heard."""
        assert self._process.stdin
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()

    def wait_until(self, command: str, seconds: float = _SECONDS) -> float:
        """Wait until a command succeeds: how long it took. Raises MachineFailed."""
        began = time.monotonic()
        while self.run(command)[0]:
            if time.monotonic() - began > seconds:
                raise MachineFailed(f"{command!r} did not succeed in {seconds} s:\n{self.journal()}")
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - began

    def journal(self, lines: int = 40) -> str:
        """The end of what pacsnode's units said, and systemd of them."""
        return self.run(f"journalctl --no-pager -n {lines} -u 'pacsnode*'")[1]

    def _read(self, pattern: re.Pattern[str], seconds: float) -> tuple[str, re.Match[str]]:
        """What the shell says up to the pattern, and the match."""
        assert self._process.stdout
        descriptor, deadline = self._process.stdout.fileno(), time.monotonic() + seconds
        while not (found := pattern.search(self._told)):
            left = deadline - time.monotonic()
            heard = os.read(descriptor, 65536) if select.select([descriptor], [], [], max(left, 0))[0] else b""
            if not heard:
                console = self._console.read_text(errors="replace")[-3000:]
                raise MachineFailed(f"the guest is late or has ended after {self._told[-2000:]!r}; console:\n{console}")
            self._told += heard.decode(errors="replace")
        said, self._told = self._told[: found.start()], self._told[found.end() :]
        return said, found


@contextlib.contextmanager
def running(machinery: Machinery, console: Path) -> Iterator[Machine]:
    """Boot it. What it writes is kept when it boots again, and is gone at the end of the block."""
    port = free_port()
    command = [
        *emulator(machinery.guest, port, PORT, _WORDS),
        "-serial", f"file:{console}", "-chardev", "stdio,id=shell,signal=off", "-serial", "chardev:shell",
        "-drive", f"file={machinery.guest.root},if=virtio,format=raw,snapshot=on",
        "-drive", f"file={machinery.supplies},if=virtio,format=raw,readonly=on",
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Machine(port, console, process)
        finally:
            process.kill()
