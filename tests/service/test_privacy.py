"""What a process of ours leaves behind is for its user and group alone."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dimse import images
from tests.dimse.raw_peer import CT, EXPLICIT, Offer, RawPeer
from tests.system.live import LiveNode

PRIVATE = {stat.S_IFREG: 0o640, stat.S_IFDIR: 0o750}
REPORT = """
import os, resource
from pacsnode.service import privacy
privacy.keep_private()
print(resource.getrlimit(resource.RLIMIT_CORE)[0], oct(os.umask(0)))
"""


def modes(data: Path) -> dict[str, str]:
    """The modes of everything below the folder, and of itself, that are not what they should be."""
    found = {}
    for path in (data, *data.rglob("*")):
        status = path.lstat()
        mode = stat.S_IMODE(status.st_mode)
        wanted = PRIVATE.get(stat.S_IFMT(status.st_mode), mode & 0o770)
        if path.name == "signing.key":  # of the audit trail, which the group may read but not sign
            wanted = 0o600
        if mode != wanted:
            found[str(path.relative_to(data))] = oct(mode)
    return found


@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: str) -> None:
    """Of all that a node makes, files are 0640 and folders 0750, whoever started it and however."""
    with LiveNode(tmp_path / "node", launcher=("sh", "-c", f'umask {umask}; exec "$@"', "sh")) as node:
        with RawPeer(node.port) as peer:
            peer.associate((Offer(1, CT, (EXPLICIT,)),))
            statuses = [peer.store(1, CT, images.uid_of(n), images.image(n)).status for n in (1, 2)]
            peer.start_store(1, CT, images.uid_of(3))
            peer.send_data_set(1, images.image(3)[:-1])
            statuses.append(peer.read_message().status)
            peer.release()
        wrong = modes(tmp_path / "node" / "data")
        count = len([path for path in (tmp_path / "node" / "data").rglob("*") if path.is_file()])

    assert [0, 0, 0xC000] == statuses
    assert {} == wrong
    assert count > 5
    assert {} == modes(tmp_path / "node" / "data")


def test_there_are_no_core_files() -> None:
    """A process of ours that crashes leaves no memory image, which would hold patient data."""
    done = subprocess.run([sys.executable, "-c", REPORT], capture_output=True, text=True, timeout=60)

    assert ("0 0o27\n", "") == (done.stdout, done.stderr)


def test_the_running_node_has_no_core_files(tmp_path: Path) -> None:
    """``pacsnode serve`` has given up core files before it is ready."""
    with LiveNode(tmp_path) as node:
        limits = Path(f"/proc/{node.pid}/limits").read_text()

    assert ["0"] == [line.split()[4] for line in limits.splitlines() if line.startswith("Max core file size")]
