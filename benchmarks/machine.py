"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import apsw
import pydicom
import pynetdicom

from pacsnode import __version__

_KIB_PER_GIB = 1024 * 1024
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Ticks of all cores since boot (proc(5), /proc/stat)."""

    total: int
    stolen: int

    @classmethod
    def now(cls) -> CpuTimes:
        """The current counters."""
        fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return cls(sum(fields), fields[7])

    def stolen_percent_since(self, earlier: CpuTimes) -> float:
        """How much of the time since then the hypervisor gave to others."""
        return 100 * (self.stolen - earlier.stolen) / max(self.total - earlier.total, 1)


def describe(folder: Path) -> dict[str, str]:
    """Cores, memory, kernel, and the file system that holds the folder."""
    memory = int(re.findall(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())[0])
    models = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory / _KIB_PER_GIB:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(folder),
    }


def versions() -> dict[str, str]:
    """Of everything that was measured or had a part in it."""
    return {
        "pacsnode": f"{__version__} ({_commit()})",
        "Orthanc": _first_version("Orthanc", "--version"),
        "dcmqrscp": _first_version("dcmqrscp", "--version"),
        "Python": platform.python_version(),
        "pynetdicom": pynetdicom.__version__,
        "pydicom": pydicom.__version__,
        "SQLite": apsw.sqlite_lib_version(),
    }


def load_average() -> float:
    """Runnable processes, the mean of the last minute."""
    return os.getloadavg()[0]


def _file_system(folder: Path) -> str:
    best, kind = "", _UNKNOWN
    for line in Path("/proc/mounts").read_text().splitlines():
        mount, name = line.split()[1:3]
        if folder.resolve().is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, name
    return kind


def _commit() -> str:
    described = _output("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")
    return described.strip() or "no repository"


def _first_version(*command: str) -> str:
    found = re.search(r"\d+\.\d+\.\d+", _output(*command))
    return found[0] if found else "not installed"


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout
    except OSError:
        return ""
