"""Nodes to be tested: processes of their own, on a free port of loopback, with a data folder that is thrown away."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

from pacsnode import config as configuration
from pacsnode.config import Address, Config, Log, Metrics, Node, PeerEntry, UserIdentity
from pacsnode.errors import PeerFailure

LOOPBACK = "127.0.0.1"
_READY = re.compile(r"event=ready listen=\S*:(\d+)")
_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_LAST_LINES = 200


class ScratchNode:
    """``pacsnode serve`` with a configuration of its own, stopped at the end of the ``with`` block."""

    def __init__(self, folder: Path, config: Config) -> None:
        """``folder`` is created. Raises OSError."""
        folder.mkdir()
        self.data = folder / "data"
        self._file = folder / "pacsnode.toml"
        self._file.write_text(configuration.toml(config), "utf-8")
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(  # noqa: S603 - our own program, with a file of ours
            [sys.executable, "-m", "pacsnode", "serve", "--config", str(self._file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._port = 0

    @property
    def port(self) -> int:
        """Where it listens, once it does. Raises PeerFailure where that never comes about."""
        if not self._port:
            found: list[str] = []

            def is_ready() -> bool:
                found[:] = [match[1] for line in self._lines if (match := _READY.search(line))]
                return bool(found) or not self._reader.is_alive()

            with self._changed:
                self._changed.wait_for(is_ready, _START_SECONDS)
            if not found:
                raise PeerFailure(f"the node to be tested does not start: {' '.join(self._lines[-1:]).strip()}")
            self._port = int(found[0])
        return self._port

    def ask_to_stop(self) -> None:
        """SIGTERM: it drains."""
        self._process.send_signal(signal.SIGTERM)

    def __enter__(self) -> ScratchNode:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ask_to_stop()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _read(self) -> None:
        for line in self._process.stderr or ():
            with self._changed:
                self._lines = [*self._lines[-_LAST_LINES:], line]
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def scratch_config(config: Config, data: Path, peers: dict[str, PeerEntry]) -> Config:
    """The configuration for a test: the same policies and rules, but nothing of what is outside of the test."""
    limits, node = config.limits, config.node
    at_least = {name: max(getattr(limits, name), 64) for name in ("associations", "associations_per_peer")}
    return config.model_copy(
        update={
            # Made anew, so that no other listener of the configuration is opened.
            "node": Node(ae_title=node.ae_title, aliases=node.aliases, listen=(Address(LOOPBACK, 0),), data=data),
            "peer_entries": peers,
            # Those who test have no passcodes.
            "access": config.access.model_copy(
                update={"user_identity": UserIdentity.OFF, "users_file": "", "token_key": ""}
            ),
            "storage": config.storage.model_copy(update={"min_free": 0}),
            "limits": limits.model_copy(
                update={**at_least, "associations_per_address": 0, "results": 0, "dataset": max(limits.dataset, 2**20)}
            ),
            "log": Log(slow_store=0.0, slow_query=0.0),
            "metrics": Metrics(listen=""),
        }
    )
