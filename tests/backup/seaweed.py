"""A real S3 server on loopback: SeaweedFS, in a process of its own, to be killed and started again."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import IO

_GRPC_OFFSET = 10_000
_START_SECONDS = 60.0
ACCESS_KEY, SECRET_KEY = "pacsnode", "not-a-secret"


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port(taken: set[int]) -> int:
    while True:
        port = random.randrange(20_000, 30_000)
        if not {port, port + _GRPC_OFFSET} & taken and _is_free(port) and _is_free(port + _GRPC_OFFSET):
            taken |= {port, port + _GRPC_OFFSET}
            return port


class Seaweed:
    """Listens on loopback within the ``with`` block; its buckets come to be when they are written to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        taken: set[int] = set()
        self._ports = {name: _free_port(taken) for name in ("s3", "master", "volume", "filer")}

    def __enter__(self) -> Seaweed:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def endpoint(self) -> str:
        """What ``[jobs.backup] endpoint`` is to be."""
        return f"http://127.0.0.1:{self._ports['s3']}"

    @property
    def pid(self) -> int:
        """Of the running server."""
        return self._process.pid

    def credentials(self, folder: Path, secret: str = SECRET_KEY) -> Path:
        """A file as ``[jobs.backup] credentials_file`` names."""
        path = folder / "s3.toml"
        path.write_text(f'access_key_id = "{ACCESS_KEY}"\nsecret_access_key = "{secret}"\n')
        return path

    def start(self) -> None:
        """Start it, and wait until it answers."""
        data = self._folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        rights = self._folder / "s3.json"
        keys = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        actions = ["Admin", "Read", "Write", "List"]
        rights.write_text(json.dumps({"identities": [{"name": "us", "credentials": keys, "actions": actions}]}))
        with (self._folder / "log").open("ab") as log:
            self._process = self._launched(data, rights, log)
        self._wait()

    def _launched(self, data: Path, rights: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                str(Path(sys.executable).with_name("weed")),
                "server",
                "-s3",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                f"-dir={data}",
                f"-s3.config={rights}",
                *(f"-{name}.port={port}" for name, port in self._ports.items()),
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-s3.iam=false",
                "-master.telemetry=false",
                "-master.volumeSizeLimitMB=64",
                "-volume.max=30",
            ],
            cwd=self._folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def kill(self) -> None:
        """As a crash would."""
        self._process.kill()
        self._process.wait()

    def _wait(self) -> None:
        """Until the volume server has joined, too: else the first writes fail."""
        deadline = time.monotonic() + _START_SECONDS
        assign = f"http://127.0.0.1:{self._ports['master']}/dir/assign"
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(assign, timeout=5) as answer:
                    assigned = "fid" in json.loads(answer.read())
                with socket.create_connection(("127.0.0.1", self._ports["s3"]), timeout=5):
                    if assigned:
                        return
            except (OSError, ValueError):
                pass
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError((self._folder / "log").read_text()[-2000:])
