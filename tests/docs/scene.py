"""A scratch home in which the commands of a document run, beside a real node on loopback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from pacsnode import config
from tests.docs.blocks import ROOT
from tests.system import dcmtk, material

_STEP_SECONDS = 60.0
_START_SECONDS = 30.0
_SERVER = re.compile(r"^(?:make\b.*\bserve|pacsnode serve|storescp)\b")
_SYSTEMCTL = re.compile(r"systemctl (start|stop|restart|reload) pacsnode")
# For the tests the node is not as large, and leaves damage alone until a document has looked at it.
_TABLES: dict[str, object] = {
    "storage": {"min_free": "1 MiB", "ballast": "0 B"},
    "jobs": {"integrity": {"enabled": False}},
}


class Scene:
    """Where the commands of one document run; whatever they started is stopped at the end of the ``with`` block."""

    def __init__(self, folder: Path, *, checkout: Path = ROOT, environment: Path = Path(sys.prefix)) -> None:
        """``checkout`` is where ``make serve`` runs, with the virtual ``environment`` as it is."""
        self._checkout = checkout
        self.home = folder / "home"
        self.etc = folder / "etc"
        self.data = folder / "var"
        self.config = self.etc / "pacsnode.toml"
        self.log = folder / "node.log"
        self.folder = folder
        self.port, self.tls_port, self.metrics_port, self.peer_port = (dcmtk.free_port() for _ in range(4))
        self.cwd = self.home
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        # What the documents name, and what it is here: the one place where ports, hosts and folders are remapped.
        self._substitutions = (
            (r"\bmake serve\b", f"make -s -C {checkout} -o {environment}/runtime VENV={environment} serve"),
            (r"(?<![\w/])\.venv/bin/", f"{environment}/bin/"),
            (r"\bjournalctl -u pacsnode\b", f"cat {self.log}"),
            (r" -g pacsnode\b", ""),
            (r"/etc/pacsnode", str(self.etc)),
            (r"/var/lib/pacsnode|/srv/pacsnode", str(self.data)),
            (r"/mnt/(?=[a-z])", f"{folder}/mnt/"),
            (r"\b0\.0\.0\.0\b|\b10\.20\.0\.\d+\b|\barchive\.example\.org\b", "127.0.0.1"),
            (r"\b(11112|104)\b", str(self.port)),
            (r"\b2762\b", str(self.tls_port)),
            (r"\b9104\b", str(self.metrics_port)),
            (r"\b11113\b", str(self.peer_port)),
        )

    def __enter__(self) -> Scene:
        for folder in (self.home, self.etc, self.folder / "bin", self.folder / "mnt"):
            folder.mkdir(parents=True)
        program = self.folder / "bin" / "pacsnode"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pacsnode "$@"\n')
        program.chmod(0o755)
        node = {"listen": f"127.0.0.1:{self.port}", "data": str(self.data)}
        self.configure({"node": node, "metrics": {"listen": f"127.0.0.1:{self.metrics_port}"}, **_TABLES})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._servers):
            self._stop(name)

    def configure(self, tables: dict[str, object]) -> None:
        """Put tables into the configuration of the node, over what is there."""
        there: dict[str, object] = tomllib.loads(self.config.read_text()) if self.config.exists() else {}
        _merge(there, tables)
        self.config.write_text(_toml(there))

    def shown_tables(self, text: str) -> None:
        """Put in the tables that a document shows, and have them checked."""
        self.configure(tomllib.loads(self.here(text)))
        config.load(self.config)

    def here(self, text: str) -> str:
        """What a document says, with the ports and folders of this scene."""
        for pattern, replacement in self._substitutions:
            text = re.sub(pattern, lambda _, to=replacement: to, text)  # type: ignore[misc]  # no escapes in ``to``
        return text

    def there(self, text: str) -> str:
        """What a command said, with the ports and folders that documents name."""
        names = {
            str(self.log): "node.log",
            str(self.etc): "/etc/pacsnode",
            str(self.data): "/var/lib/pacsnode",
            f"{self.folder}/mnt": "/mnt",
            str(self.port): "11112",
            str(self.tls_port): "2762",
            str(self.peer_port): "11113",
        }
        for here, name in names.items():
            text = text.replace(here, name)
        return text

    def step(self, command: str, expect: int | None = 0, typed: str = "") -> str:
        """Run one command as a document has it: stdout and stderr. Its exit code must be as expected (None: any).

        ``typed`` is what it reads from stdin.
        """
        command = command.split(" #")[0].rstrip() if "\n" not in command else command
        if unit := _SYSTEMCTL.fullmatch(command):
            return self._systemctl(unit[1])
        if _SERVER.match(command):
            self._serve(command)
            return ""
        done = subprocess.run(
            ["bash", "-eu", "-c", f'{self.here(command)}\ncode=$?\npwd > "{self.folder}/cwd"\nexit $code'],
            cwd=self.cwd,
            env=self._environment(),
            input=typed.encode(),
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_STEP_SECONDS,
        )
        said = done.stdout.decode(errors="replace").replace("\0", " ")  # with which DCMTK's clients show padding
        if expect is not None and done.returncode != expect:
            raise AssertionError(f"{command}\nexited {done.returncode}, not {expect}:\n{said[-3000:]}\n{self.tail()}")
        if done.returncode == 0:
            self.cwd = Path((self.folder / "cwd").read_text().strip())
        self._remap_new_configurations()
        return self.there(said)

    def _remap_new_configurations(self) -> None:
        """What ``pacsnode init`` wrote listens where this scene does."""
        for path in self.home.glob("*/*.toml"):
            text = path.read_text()
            if "127.0.0.1:11112" in text:
                path.write_text(f'{self.here(text)}\n[metrics]\nlisten = "127.0.0.1:{self.metrics_port}"\n')

    def start(self) -> None:
        """Start the node of the configuration, where it does not run."""
        if "node" not in self._servers:
            self._serve("pacsnode serve")

    def stop(self) -> None:
        """Stop the node, where it runs."""
        if "node" in self._servers:
            self._stop("node")

    def store(self, count: int = 5) -> None:
        """Store the synthetic images of the documents."""
        samples = material.series(count, self.home / "mr")
        self.step(f"storescu -aec PACSNODE 127.0.0.1 11112 {' '.join(str(sample.path) for sample in samples)}")

    def objects(self) -> list[Path]:
        """The files of the store, in order of arrival."""
        files = (path for path in (self.data / "objects").rglob("*") if path.is_file())
        return sorted(files, key=lambda path: path.name)

    def flip(self) -> None:
        """Flip the last byte of the oldest object; twice is as it was."""
        victim = self.objects()[0]
        content = bytearray(victim.read_bytes())
        content[-1] ^= 0xFF
        victim.chmod(0o640)
        victim.write_bytes(content)

    def tail(self) -> str:
        """The end of the node's log."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def _systemctl(self, verb: str) -> str:
        if verb == "reload":
            return self.step("pacsnode reload")
        if verb in ("stop", "restart"):
            self.stop()
        if verb in ("start", "restart"):
            self.start()
        return ""

    def _serve(self, command: str) -> None:
        name = "peer" if command.startswith("storescp") else "node"
        if name in self._servers:
            self._stop(name)
        with self.log.open("ab") as log:
            begin = log.tell()
            self._servers[name] = subprocess.Popen(
                ["bash", "-c", f"exec {self.here(command)}"],
                cwd=self.cwd,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if name == "node":
            self._wait(name, lambda: b"event=ready" in self.log.read_bytes()[begin:])
        else:
            self._wait(name, lambda: "0" == self.step(f"echoscu 127.0.0.1 {self.peer_port} && echo 0", None).strip())

    def _wait(self, name: str, holds: Callable[[], bool]) -> None:
        until = time.monotonic() + _START_SECONDS
        while not holds():
            if self._servers[name].poll() is not None or time.monotonic() > until:
                raise AssertionError(f"{name} does not serve:\n{self.tail()}")
            time.sleep(0.02)

    def _stop(self, name: str) -> None:
        process = self._servers.pop(name)
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=_STEP_SECONDS)
        assert name != "node" or code in (0, -signal.SIGTERM), f"{name} exited {code}:\n{self.tail()}"

    def _environment(self) -> dict[str, str]:
        own = Path(sys.executable).parent
        folders = [part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(part) != own]
        return {
            "PATH": os.pathsep.join([str(self.folder / "bin"), *folders]),
            "HOME": str(self.home),
            "PYTHONPATH": str(self._checkout),
            "PACSNODE_CONFIG": str(self.config),
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(self.folder),
        }


def _merge(into: dict[str, object], tables: dict[str, object]) -> None:
    for key, value in tables.items():
        there = into.setdefault(key, {}) if isinstance(value, dict) else None
        if isinstance(value, dict) and isinstance(there, dict):
            _merge(there, value)
        else:
            into[key] = value


def _toml(table: dict[str, object], name: str = "") -> str:
    """A table and those within it, of the values that the documents use."""
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if not isinstance(value, dict)]
    parts = [f"[{name}]\n" + "\n".join(lines) + "\n"] if name else []
    for key, value in table.items():
        if isinstance(value, dict):
            parts.append(_toml(value, f"{name}.{key}" if name else key))
    return "\n".join(parts)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
