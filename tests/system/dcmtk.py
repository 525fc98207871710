"""DCMTK's clients and receiver: peers that share no code with us."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

TOOLS = ("echoscu", "storescu", "findscu", "getscu", "movescu", "storescp")
_SECONDS = 240


def missing() -> list[str]:
    """Tools that are not installed here."""
    return [tool for tool in TOOLS if _found(tool) is None]


def run(tool: str, *arguments: str, expect: int | None = 0) -> str:
    """Run a tool: stdout and stderr together. Its exit code must be as expected (None: any)."""
    done = subprocess.run(
        [path(tool), *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_SECONDS, errors="replace"
    )
    if expect is not None and done.returncode != expect:
        raise AssertionError(f"{tool} {' '.join(arguments)} exited {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def _found(tool: str) -> str | None:
    """Where DCMTK's is: pynetdicom brings programs of the same names into a virtual environment."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    own = Path(sys.executable).parent
    return shutil.which(tool, path=os.pathsep.join(folder for folder in folders if Path(folder) != own))


def path(tool: str) -> str:
    """The tool's program; its bare name where it is missing."""
    return _found(tool) or tool


def address(port: int, *, calling: str = "DCMTK", called: str = "PACSNODE") -> list[str]:
    """The arguments that name both applications and where ours listens."""
    return ["-aet", calling, "-aec", called, "127.0.0.1", str(port)]


def keys(pairs: Sequence[str]) -> list[str]:
    """``-k`` arguments."""
    return [argument for pair in pairs for argument in ("-k", pair)]


@contextmanager
def receiver(folder: Path, *, ae_title: str = "RECEIVER", takes: str = "+xa", tls: Sequence[str] = ()) -> Iterator[int]:
    """DCMTK's storescp, which writes data sets exactly as they come (file per instance): its port.

    ``takes``: its option for the transfer syntaxes. ``tls``: its arguments for TLS, under which ``echoscu`` reaches
    it, too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    process = subprocess.Popen(
        [path("storescp"), "-aet", ae_title, takes, "+B", *tls, "-od", str(folder), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_open(port, process, tls)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _wait_until_open(port: int, process: subprocess.Popen[bytes], tls: Sequence[str]) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise AssertionError(f"storescp exited {process.returncode}")
        try:
            run("echoscu", *tls, "-to", "2", "127.0.0.1", str(port))
        except AssertionError:
            continue
        return
    raise AssertionError("storescp does not listen")
