"""The servers that are measured: each started by us, on loopback, in a folder and with a configuration of its own.

Their configurations are what the packages come with but for this: nothing but DICOM is served, the largest PDU that
the program allows, quotas that the data fit in, and the load generator and the sink as known peers. Orthanc and
dcmqrscp cannot be told to listen on loopback only; they know no peer but these two, which are there.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from benchmarks import sink
from benchmarks.certificates import Certificate
from benchmarks.loadgen import CALLING_AE, MAXIMUM_PDU_BYTES, Called, answers

PACSNODE, ORTHANC, DCMQRSCP, PYNETDICOM = "pacsnode", "Orthanc", "dcmqrscp", "pynetdicom"

_T = TypeVar("_T")
_READY = re.compile(r"event=ready listen=\S*?:(\d+) tls_listen=(?:\S*?:(\d+))?")
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.05
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_KIB_PER_MIB = 1024


class CannotStart(Exception):
    """A server that does not run or does not answer."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    name: str
    called: Called
    pid: int
    folder: Path
    tls: Called | None = None

    def cpu_seconds(self) -> float:
        """User and system time so far, of the process that was started (proc(5))."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND

    def peak_mebibytes(self) -> float:
        """The largest resident set so far (VmHWM)."""
        return self._mebibytes("VmHWM")

    def resident_mebibytes(self) -> float:
        """The resident set now (VmRSS)."""
        return self._mebibytes("VmRSS")

    def _mebibytes(self, kind: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(rf"{kind}:\s*(\d+) kB", status)[0]) / _KIB_PER_MIB


Start = Callable[[Path, int], contextlib.AbstractContextManager[Server]]
"""Starts a server in an empty folder, with the sink's port; stops it at the end of the ``with`` block."""


def available(names: Sequence[str]) -> dict[str, Start]:
    """Those of the servers that are installed here, in this order."""
    return {name: STARTERS[name] for name in names if is_installed(name)}


def is_installed(name: str) -> bool:
    """Is the server here?"""
    return shutil.which({ORTHANC: "Orthanc", DCMQRSCP: "dcmqrscp"}.get(name, sys.executable)) is not None


@contextlib.contextmanager
def all_running(folder: Path, sink_port: int, names: Sequence[str]) -> Iterator[list[Server]]:
    """Every available server at once; those not at work are idle. Their folders are removed at the end."""
    with contextlib.ExitStack() as stack:
        servers = []
        for name, start in available(names).items():
            place = folder / name
            place.mkdir(parents=True)
            stack.callback(shutil.rmtree, place)
            servers.append(stack.enter_context(start(place, sink_port)))
        yield servers
    os.sync()  # what was removed shall not weigh on what comes next


@contextlib.contextmanager
def pacsnode(folder: Path, sink_port: int) -> Iterator[Server]:
    """Pacsnode as it comes, with more associations allowed than the idle test opens."""
    with _pacsnode(folder, f'[peers.{sink.AE_TITLE}]\nhost = "127.0.0.1"\nport = {sink_port}\n') as server:
        yield server


@contextlib.contextmanager
def pacsnode_with(folder: Path, tables: str) -> Iterator[Server]:
    """The same with further tables in its configuration, and no sink."""
    with _pacsnode(folder, tables) as server:
        yield server


@contextlib.contextmanager
def pacsnode_with_tls(folder: Path, certificate: Certificate, ca: Path) -> Iterator[Server]:
    """The same with a TLS listener besides, which demands certificates of the CA."""
    files = f'certificate = "{certificate.certificate}"\nkey = "{certificate.key}"\nclient_ca = "{ca}"\n'
    with _pacsnode(folder, f"[tls]\n{files}", 'tls_listen = "127.0.0.1:0"\n') as server:
        yield server


@contextlib.contextmanager
def pacsnode_with_phases(folder: Path) -> Iterator[Server]:
    """The same, measuring where its time goes: see phases.py."""
    with _pacsnode(folder, "", module="benchmarks.phases") as server:
        yield server


@contextlib.contextmanager
def pacsnode_unsynced(folder: Path) -> Iterator[Server]:
    """The same without syncs, which promises nothing: see ceilings.py."""
    with _pacsnode(folder, "", module="benchmarks.ceilings") as server:
        yield server


@contextlib.contextmanager
def _pacsnode(folder: Path, tables: str, node_keys: str = "", *, module: str = "pacsnode") -> Iterator[Server]:
    config = folder / "pacsnode.toml"
    config.write_text(
        f'[node]\nlisten = "127.0.0.1:0"\ndata = "{folder / "data"}"\n{node_keys}'
        '[storage]\nmin_free = "1 GiB"\n'
        "[limits]\nassociations = 400\nassociations_per_peer = 400\nassociations_per_address = 400\n"
        f"{tables}"
    )
    log = folder / "log"

    def ready() -> re.Match[str] | None:
        return _READY.search(log.read_text())

    command = [sys.executable, "-m", module, "--config", str(config), "serve"]
    with _process(PACSNODE, command, log) as process:
        port, tls_port = _waited_for(process, ready).groups()
        server = _answering(PACSNODE, Called(int(port), "PACSNODE"), process, folder)
        yield replace(server, tls=Called(int(tls_port), "PACSNODE") if tls_port else None)


@contextlib.contextmanager
def orthanc(folder: Path, sink_port: int) -> Iterator[Server]:
    """Orthanc with its SQLite index, without plugins and HTTP."""
    called = Called(free_port(), "ORTHANC")
    settings: Mapping[str, object] = {
        "Name": "benchmark",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [],
        "HttpServerEnabled": False,
        "DicomAet": called.ae_title,
        "DicomPort": called.port,
        "DicomCheckModalityHost": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomModalities": {
            "bench": [CALLING_AE, "127.0.0.1", 104],
            "sink": [sink.AE_TITLE, "127.0.0.1", sink_port],
        },
        "MaximumPduLength": MAXIMUM_PDU_BYTES,
        "SaveJobs": False,
    }
    config = folder / "orthanc.json"
    config.write_text(json.dumps(settings, indent=2))
    with _process(ORTHANC, ["Orthanc", str(config)], folder / "log") as process:
        yield _answering(ORTHANC, called, process, folder)


@contextlib.contextmanager
def dcmqrscp(folder: Path, sink_port: int) -> Iterator[Server]:
    """DCMTK's archive; its quotas are as large as it allows."""
    called = Called(free_port(), "DCMQRSCP")
    storage = folder / "storage"
    storage.mkdir()
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {called.port}\nMaxPDUSize = {MAXIMUM_PDU_BYTES}\nMaxAssociations = 16\n"
        "HostTable BEGIN\n"
        f"bench = ({CALLING_AE}, localhost, 104), ({CALLING_AE}, 127.0.0.1, 104)\n"
        f"sink = ({sink.AE_TITLE}, 127.0.0.1, {sink_port})\n"
        "HostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{called.ae_title} {storage} RW (500, 1024mb) bench\nAETable END\n"
    )
    with _process(DCMQRSCP, ["dcmqrscp", "-c", str(config)], folder / "log") as process:
        yield _answering(DCMQRSCP, called, process, folder)


@contextlib.contextmanager
def pynetdicom(folder: Path, certificate: Certificate, ca: Path) -> Iterator[Server]:
    """pynetdicom's storage SCP on its defaults, with a second port for TLS."""
    port, tls_port = free_port(), free_port()
    storage = folder / "storage"
    storage.mkdir()
    files = [str(certificate.certificate), str(certificate.key), str(ca)]
    command = [sys.executable, "-m", "benchmarks.stock_scp", str(storage), str(port), str(tls_port), *files]
    with _process(PYNETDICOM, command, folder / "log") as process:
        server = _answering(PYNETDICOM, Called(port, "STOCK"), process, folder)
        yield replace(server, tls=Called(tls_port, "STOCK"))


STARTERS: Mapping[str, Start] = {PACSNODE: pacsnode, ORTHANC: orthanc, DCMQRSCP: dcmqrscp}


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def _process(name: str, command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as stream:
        try:
            # A group of its own: dcmqrscp has a child for each association, which has to end with it.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
            )
        except OSError as error:
            raise CannotStart(f"{name}: {error}") from error
    try:
        yield process
    except CannotStart as error:
        raise CannotStart(f"{error}; its log ends:\n{log.read_text(errors='replace')[-2000:]}") from error
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _answering(name: str, called: Called, process: subprocess.Popen[bytes], folder: Path) -> Server:
    _waited_for(process, lambda: answers(called) or None)
    return Server(name, called, process.pid, folder)


def _waited_for(process: subprocess.Popen[bytes], get: Callable[[], _T | None]) -> _T:
    deadline = time.monotonic() + _START_SECONDS
    while (value := get()) is None:
        if process.poll() is not None:
            raise CannotStart(f"process ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise CannotStart("no answer in time")
        time.sleep(_POLL_SECONDS)
    return value
