"""What the machine is made of: Debian's root disk as install_debian.sh left it, and a disk with what is installed."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.durability import guest
from tests.durability.guest import CannotBuild, Guest

PORT = 104  # inside the guest
SOURCE = "/opt/source"
"""Where the guest sees what it installs from; its shell begins there."""

_CHECKOUT = Path(__file__).parents[2]
_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_DEBIAN = _CHECKOUT / "build" / "vm" / f"debian-{_PYTHON}.img"
_IMAGE_MEBIBYTES = 700

# Without udev nobody tells systemd of devices: disks and network are set up here. The shell is on a line of its own,
# so that nothing gets between a command and what it says.
_INIT = f"""#!/bin/busybox sh
B=/bin/busybox
$B mount -t devtmpfs d /dev; $B mount -t proc p /proc
for module in MODULES; do $B insmod /m/$module.ko || echo "GUEST no module $module"; done
$B mount -t ext4 /dev/vda /root || echo "GUEST no root"
$B mount -t ext4 -o ro /dev/vdb /root/opt || echo "GUEST no disk to install from"
$B ifconfig lo 127.0.0.1 up; $B ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
$B umount /proc
units=/root/etc/systemd/system
$B mkdir -p $units/multi-user.target.wants /root/var/log/journal
$B ln -sf ../shell.service $units/multi-user.target.wants/
[ -s /root/etc/machine-id ] || echo 0123456789abcdef0123456789abcdef > /root/etc/machine-id
echo "[Unit]
After=pacsnode.service
[Service]
WorkingDirectory={SOURCE}
Environment=HOME=/root PAGER=cat
ExecStart=/bin/sh -c 'exec <>/dev/ttyS1 >&0 2>&0; stty raw -echo; echo GUEST shell; cat | bash'
" > $units/shell.service
exec $B switch_root /root /lib/systemd/systemd
"""

_PROGRAM = """#!/opt/pacsnode/bin/python3
import sys
from pacsnode.cli import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Machinery:
    """What the machine boots, and the disk that it installs from."""

    guest: Guest
    supplies: Path


def missing() -> list[str]:
    """What has to be installed before a machine can be built."""
    lacks = guest.missing()
    return lacks if _DEBIAN.exists() else [*lacks, f"{_DEBIAN.name} below {_DEBIAN.parent}"]


def build(folder: Path, fill: Callable[[Path], None]) -> Machinery:
    """Build the initramfs, and the disk that the guest has as /opt from what is filled in. Raises CannotBuild."""
    if lacks := missing():
        raise CannotBuild(f"missing: {', '.join(lacks)}")
    folder.mkdir(parents=True, exist_ok=True)
    kernel = guest.kernels()[-1]
    made = Machinery(Guest(kernel, folder / "initramfs.gz", _DEBIAN), folder / "supplies.img")
    guest.initramfs(made.guest.initramfs, kernel, _INIT)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        tree = Path(name)
        tree.chmod(0o755)
        fill(tree)
        guest.image(made.supplies, _IMAGE_MEBIBYTES, "-d", str(tree))
    return made


def checkout(tree: Path) -> None:
    """What is installed by hand: a virtual environment, and the units."""
    _virtual_environment(tree / "pacsnode")
    shutil.copytree(_CHECKOUT / "systemd", tree / "source" / "systemd")


def _virtual_environment(folder: Path) -> None:
    """What ``python3 -m venv`` and ``pip install`` would make there."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    guest.copy_site(folder / "lib" / _PYTHON / "site-packages")
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (programs / "python3").symlink_to(f"/usr/bin/{_PYTHON}")
    (programs / "pacsnode").write_text(_PROGRAM)
    (programs / "pacsnode").chmod(0o755)
