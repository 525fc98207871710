"""A real node in a process of its own, for tests and the demo."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

_READY = re.compile(r"event=ready listen=\S*:(\d+) tls_listen=(?:\S*:(\d+))?")
_START_SECONDS = 30.0
_STOP_SECONDS = 60.0


class LiveNode:
    """``pacsnode serve`` on a free loopback port; stopped at the end of the ``with`` block."""

    def __init__(
        self,
        folder: Path,
        tables: str = "",
        *,
        node_keys: str = "",
        min_free: str = "1 MiB",
        storage: str = 'ballast = "0 B"',
        launcher: Sequence[str] = (),
        listen: str = "127.0.0.1:0",
        descriptors: Sequence[int] = (),
    ) -> None:
        """``tables``: what is appended to the configuration, e.g. "[limits]\\nidle = \\"5 s\\"".

        ``node_keys``: further keys of its [node] table. ``storage``: more lines of its table. ``launcher``: a command
        that becomes the one that is appended to it. ``descriptors`` are those of ours that it inherits.
        """
        self.folder = folder
        self.config = folder / "pacsnode.toml"
        self.lines: list[str] = []
        self._storage = f'[storage]\nmin_free = "{min_free}"\n{storage}\n'
        # What a test has damaged stays as it is until the test has looked.
        self._tables = tables if "[jobs.integrity]" in tables else f"{tables}\n[jobs.integrity]\nenabled = false\n"
        if "[metrics]" not in tables:
            self._tables += '\n[metrics]\nlisten = ""\n'
        self._node_keys = node_keys
        self._launcher = launcher
        self._listen = listen
        self._descriptors = descriptors
        self._changed = threading.Condition()

    def __enter__(self) -> LiveNode:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.config.exists():
            self.run("init", str(self.folder), "--listen", self._listen)
            begun = self.config.read_text().replace("[node]\n", f"[node]\n{self._node_keys}", 1)
            self.config.write_text(f"{begun}\n{self._storage}{self._tables}\n")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the node and wait until it listens."""
        self.lines.clear()
        self._process = subprocess.Popen(
            [*self._launcher, sys.executable, "-m", "pacsnode", "serve", "--config", str(self.config)],
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=self._descriptors,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        ready = self.wait_for(_READY, _START_SECONDS)
        self.port, self.tls_port = int(ready[1]), int(ready[2] or 0)

    def stop(self) -> int:
        """SIGTERM, and wait for the end: the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self.ended()

    def kill(self) -> int:
        """SIGKILL, as a crash would: the exit code."""
        self._process.kill()
        return self.ended()

    @property
    def pid(self) -> int:
        """Process ID of the node."""
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything the node has written to stderr since its start."""
        with self._changed:
            return "".join(self.lines)

    def wait_for(self, pattern: re.Pattern[str] | str, seconds: float = 10.0) -> re.Match[str]:
        """Wait until a line of the log matches."""
        compiled = re.compile(pattern)
        found: list[re.Match[str]] = []

        def seen() -> bool:
            found[:] = [match for line in self.lines if (match := compiled.search(line))]
            return bool(found) or not self._reader.is_alive()

        with self._changed:
            self._changed.wait_for(seen, timeout=seconds)
        if not found:
            raise AssertionError(f"no line of the log matches {compiled.pattern!r}:\n{self.log}")
        return found[0]

    def run(self, *arguments: str, expect: int = 0) -> str:
        """Run a pacsnode command with this node's configuration: its output. Its exit code must be as expected."""
        with_config = ["--config", str(self.config)] if arguments[0] != "init" else []
        done = subprocess.run(
            [sys.executable, "-m", "pacsnode", *arguments, *with_config], capture_output=True, text=True, timeout=300
        )
        if done.returncode != expect:
            raise AssertionError(f"{arguments} exited {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def ended(self) -> int:
        """Wait for the end, whoever brings it about: the exit code."""
        code = self._process.wait(timeout=_STOP_SECONDS)
        self._reader.join(timeout=_STOP_SECONDS)
        if self._process.stderr is not None:
            self._process.stderr.close()
        return code

    def _read_log(self) -> None:
        if self._process.stderr is None:
            return
        for line in self._process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()
