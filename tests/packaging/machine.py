"""A throw-away copy of this system to install packages in: an overlay over its root, in namespaces of its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Everything below $1 is gone with the namespace. $2 is the environment whose libraries a short package lacks.
_SET_UP = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
rm -f "$1/root/var/lib/man-db/auto-update"  # takes seconds for each installation
mount --rbind /proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs tmpfs "$1/root/run"
mkdir -p "$1/root/run/libraries" "$1/root/run/packages"
mount --bind "$2" "$1/root/run/libraries"
mount --bind "$3" "$1/root/run/packages"
ip link set lo up
echo ready
exec cat
"""


@dataclass(frozen=True)
class Machine:
    """Runs shell scripts as its root."""

    root: Path
    pid: int

    def run(self, script: str) -> str:
        """All that the script says. Raises AssertionError when it fails."""
        code, said = self.attempt(script)
        assert code == 0, said
        return said

    def attempt(self, script: str) -> tuple[int, str]:
        """The exit code of the script, and all that it says."""
        done = subprocess.run(
            ["nsenter", f"--target={self.pid}", "--mount", "--net", "chroot", self.root, "/bin/sh", "-ec", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            umask=0o022,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        )
        return done.returncode, done.stdout


@contextmanager
def machine(folder: Path, libraries: Path, packages: Path) -> Iterator[Machine]:
    """One that has the libraries in /run/libraries, the packages in /run/packages. Raises PermissionError."""
    unshare = shutil.which("unshare") or "unshare"
    command: Sequence[str | Path] = (
        *(unshare, "--mount", "--net", "--propagation", "private", "/bin/sh", "-c", _SET_UP, "machine"),
        *(folder, libraries, packages),
    )
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, umask=0o022
    ) as holder:
        assert holder.stdout is not None
        assert holder.stderr is not None
        if holder.stdout.readline() != "ready\n":
            raise PermissionError(holder.stderr.read())
        yield Machine(folder / "root", holder.pid)  # leaving closes its input, so that it ends
