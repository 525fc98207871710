"""Findings about the configuration and the machine."""

from __future__ import annotations

import ctypes
import stat
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

from pacsnode.config import Config
from pacsnode.doctor.finding import Finding
from pacsnode.index.connection import OLDEST_LIBRARY
from pacsnode.security import certificates

NETWORKED = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "fuse.sshfs", "fuse.glusterfs"})
FLEETING = frozenset({"tmpfs", "ramfs", "overlay", "squashfs"})
ROOM_MARKS = 3
"""Free space is little below three times the mark at which C-STORE is refused."""
_FEW_DAYS = 14.0
_TIMEX_BYTES = 256  # struct timex of timex.h has 208
_TIME_ERROR = 5  # what adjtimex(2) answers while the clock is not synchronised


def listeners(config: Config) -> Iterator[Finding]:
    """Does a port beyond this machine take anybody who knows an AE title?"""
    for address in config.node.listen:
        if address.is_loopback or not config.accepts_unknown_peers(address):
            continue
        yield Finding(
            "unsafe_listener",
            f"{address} takes associations of anybody, in plain text, from beyond this machine",
            'set unknown_peers = "auto" in [access] and a table [peers.NAME] for each peer, and use tls_listen',
        )


def expiring_certificates(config: Config, now: datetime) -> Iterator[Finding]:
    """Those of [tls] that end soon, or have."""
    ahead = timedelta(seconds=config.tls.expiry_warning)
    for expiry in certificates.expiries(config.tls.files):
        if warning := expiry.warning(now, ahead):
            yield Finding("certificate", warning, "put a renewed one in its place, then: pacsnode reload")


def little_space(free: int, mark: int, days_left: float | None) -> Iterator[Finding]:
    """``days_left``: until the mark, as instances came lately; None where nothing came."""
    if free < mark * ROOM_MARKS:
        problem = f"{free} bytes are free; below {mark} every C-STORE is refused"
    elif days_left is not None and days_left < _FEW_DAYS:
        problem = f"at the rate of the last days the disk is full in {days_left:.0f} days"
    else:
        return
    yield Finding("space", problem, "enlarge the file system, or have [jobs.compression] enabled")


def library(version: str) -> Iterator[Finding]:
    """Of SQLite: has it the WAL-reset bug?"""
    if tuple(int(part) for part in version.split(".")) < OLDEST_LIBRARY:
        yield Finding(
            "sqlite",
            f"SQLite {version} can corrupt its write-ahead log",
            "install apsw 3.54.1.0, as setup.cfg pins it, with its own SQLite",
        )


def file_system(folder: Path, kind: str) -> Iterator[Finding]:
    """``kind``: as mount(8) names it."""
    if kind in NETWORKED:
        problem = f"{folder} is on a {kind} file system; the index needs a local disk"
    elif kind in FLEETING:
        problem = f"{folder} is on {kind}, which a restart of the machine or container may empty"
    else:
        return
    yield Finding("file_system", problem, "set data in [node] to a folder on ext4 or XFS, and move what is there")


def clock(is_synchronised: bool | None) -> Iterator[Finding]:
    """None is not known."""
    if is_synchronised is False:
        yield Finding(
            "clock",
            "the clock of this machine is not synchronised; times of arrival and schedules go by it",
            "have it synchronised: timedatectl set-ntp true, or chrony",
        )


def clock_is_synchronised() -> bool | None:
    """What the kernel says (adjtimex(2)); None where it may not be asked."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def open_modes(config: Config, folders: Iterable[Path]) -> Iterator[Finding]:
    """Files that others may read or change: ``folders`` hold patient data, the others secrets."""
    for folder in folders:
        if _mode(folder) & 0o007:
            yield _too_open(folder, "is open to every user of this machine, and holds patient data", "o-rwx")
    for path in filter(None, (config.tls.key, config.access.users_file)):
        if _mode(Path(path)) & 0o037:
            yield _too_open(Path(path), "is a secret that others may read", "g-wx,o-rwx")


def _too_open(path: Path, what: str, change: str) -> Finding:
    return Finding("file_mode", f"{path} {what}", f"chmod {change} {path}")


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0
