"""The Debian package through its life in the machine, step by step, and what was to be seen after each step."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.docs.blocks import ROOT, blocks
from tests.vm.machine import Machine
from tests.vm.service import CONFIGURATION, MODALITY, add_peer, show

INSTALL = next(
    block.text.splitlines() for block in blocks(ROOT / "docs" / "install.md") if "apt-get install ./" in block.text
)
"""The commands of docs/install.md, which name the package."""

OLDER, NEWER = "older.deb", INSTALL[0].rpartition("/")[2]
OLDER_VERSION = "0.0.1"  # less than any that is built
GONE = "gone.py"
"""A module that the older package has, and the newer one has not."""

DATA = "/var/lib/pacsnode"
LISTENS = 'listen = "0.0.0.0:104"'
CHANGED = "# a word of the older package's"
ACTIVE = "systemctl is-active pacsnode.service"
_SUMS = "-type f -print0 | sort -z | xargs -0 sha256sum"
_OBJECTS = f"(cd {DATA} && find objects {_SUMS})"
_ALL = f"find {DATA} {_SUMS}; find {DATA} -printf '%p %U %m %s %T@\\n' | sort"
_PROCESSES = 'grep -l "^Uid:[[:space:]]$(id -u pacsnode)" /proc/[0-9]*/status'
_DOCTOR = "pacsnode-doctor.service"
_EXAMINE = f"systemctl start {_DOCTOR}"


def supply(package: Path, folder: Path) -> None:
    """The whole package, and one that could be its predecessor: other version, other conffile, a module more."""
    folder.mkdir()
    shutil.copy(package, folder / NEWER)
    tree = folder / "tree"
    _run("dpkg-deb", "--raw-extract", package, tree)
    control = tree / "DEBIAN" / "control"
    fields = control.read_text().splitlines(keepends=True)
    control.write_text(
        "".join(f"Version: {OLDER_VERSION}\n" if line.startswith("Version:") else line for line in fields)
    )
    with (tree / CONFIGURATION.lstrip("/")).open("a") as stream:
        stream.write(f"{CHANGED}\n")
    (next(tree.glob("usr/lib/pacsnode/lib/python3*/site-packages")) / GONE).write_text("")
    _run("dpkg-deb", "--build", "--root-owner-group", "-Znone", tree, folder / OLDER)
    shutil.rmtree(tree)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=120)


@dataclass(frozen=True)
class Installed:
    """After the first ``dpkg --install``, of the older package."""

    user: str
    enabled: str
    process: dict[str, str]
    ready: str
    access: str


def install(machine: Machine) -> Installed:
    """Install the older package, and have it listen on port 104 for the modality."""
    machine.do(f"dpkg --install {OLDER}")
    seen = Installed(
        user=machine.do("getent passwd pacsnode"),
        enabled=machine.do("systemctl is-enabled pacsnode.service"),
        process=show(machine, "ActiveState", "User", "MainPID", "FragmentPath"),
        ready=machine.do("journalctl --no-pager -u pacsnode.service | grep event=ready"),
        access=machine.do(f"stat -c '%n %U:%G %a' {DATA} /etc/pacsnode {CONFIGURATION}"),
    )
    configure(machine)
    return seen


def configure(machine: Machine) -> None:
    """What the administrator changes: address and peer; the service is started again for it."""
    machine.do(f"sed -i 's/^listen = .*:11112.*/{LISTENS}/' {CONFIGURATION}")
    add_peer(machine, MODALITY)
    machine.do("pacsnode config check && systemctl restart pacsnode.service")


@dataclass(frozen=True)
class Upgraded:
    """After the newer package was installed over the older one, with an image there."""

    said: str
    version: str
    before: dict[str, str]
    after: dict[str, str]
    configuration: str
    stranded: str
    verified: str


def upgrade(machine: Machine) -> Upgraded:
    """Install the newer package; the question about the configuration is answered by Enter."""
    before = show(machine, "MainPID", "ActiveState", "Result")
    said = machine.do(f"echo | dpkg --install {NEWER} 2>&1")
    return Upgraded(
        said=said,
        version=machine.do("dpkg-query --show --showformat '${Version} ${Status}' pacsnode"),
        before=before,
        after=show(machine, "MainPID", "ActiveState", "Result"),
        configuration=machine.do(f"cat {CONFIGURATION}"),
        stranded=machine.do(f"find /usr/lib/pacsnode -name {GONE}"),
        verified=machine.do("runuser -u pacsnode -- pacsnode verify"),
    )


@dataclass(frozen=True)
class Examined:
    """After ``systemctl start pacsnode-doctor.service``."""

    code: int
    result: dict[str, str]
    told: str


def examine(machine: Machine) -> Examined:
    """Have the unit examine a node with two findings: no backup is made, and nothing synchronises the clock."""
    code, told = machine.run(_EXAMINE)[0], machine.do(f"journalctl --no-pager -o cat -u {_DOCTOR}")
    result = _result(machine)
    return Examined(code, result, told)


def _result(machine: Machine) -> dict[str, str]:
    told = machine.do(f"systemctl show {_DOCTOR} -p Result,ExecMainStatus")
    return dict(line.split("=", 1) for line in told.splitlines())


@dataclass(frozen=True)
class Purged:
    """After ``dpkg --remove``, and after ``dpkg --purge``."""

    running: str
    removed: str
    purged: str
    objects: tuple[str, str]
    data: tuple[str, str]
    service: str
    left: str
    ended: str


def purge(machine: Machine) -> Purged:
    """Remove the package while its service runs, then purge it."""
    running, objects = machine.do(ACTIVE), machine.do(_OBJECTS)
    removed = machine.do("dpkg --remove pacsnode 2>&1")
    service = machine.run(f"{ACTIVE}; {_PROCESSES}")[1]
    ended = machine.do("journalctl --no-pager -n 5 -u pacsnode.service")
    data = machine.do(_ALL)
    purged = machine.do("dpkg --purge pacsnode 2>&1")
    return Purged(
        running=running,
        removed=removed,
        purged=purged,
        objects=(objects, machine.do(_OBJECTS)),
        data=(data, machine.do(_ALL)),
        service=service,
        left=machine.run("ls -d /etc/pacsnode /usr/lib/pacsnode /usr/bin/pacsnode 2>/dev/null")[1],
        ended=ended,
    )
