"""What runs inside the machine: a read-only root image with Python, pacsnode and its peers, and an initramfs.

Everything is copied from this host, but for the kernel, which is Debian's (install_machine.sh unpacks it).
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PORT = 11112  # inside the guest
PEERS = {"orthanc": "Orthanc", "dcmqrscp": "dcmqrscp"}
CACHE = Path(__file__).parents[2] / "build" / "powercut"
NEEDED = ("qemu-system-x86_64", "busybox", "cpio", "mkfs.ext4")

_MODULES = (  # in the order in which they can be loaded
    "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk",
    "failover", "net_failover", "virtio_net",
)  # fmt: skip
_FOLDERS = ("bin", "etc", "dev", "proc", "sys", "tmp", "data", "lib64", "opt/site", "opt/mutant", "var", "run", "root")
_NOT_OF_THE_LIBRARY = ("test", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages", "config-*")
_LIBRARY = re.compile(r"(/\S+\.so\S*) \(0x")
_ROOT_IMAGE_MEBIBYTES = 700

_INIT = """#!/bin/busybox sh
B=/bin/busybox
$B mount -t devtmpfs d /dev; $B mount -t proc p /proc
for module in MODULES; do $B insmod /m/$module.ko || echo "GUEST no module $module"; done
$B mount -t ext4 -o ro /dev/vda /root || echo "GUEST no root"
# The options of a server that nobody has tuned: none.
$B mount -t ext4 /dev/vdb /root/data || { echo "GUEST cannot mount the data disk"; $B poweroff -f; }
$B mount -t devtmpfs d /root/dev; $B mount -t proc p /root/proc; $B mount -t tmpfs t /root/tmp
$B mkdir -p /root/dev/shm; $B mount -t tmpfs s /root/dev/shm
$B ifconfig lo 127.0.0.1 up; $B ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
exec $B chroot /root /bin/sh /start
"""

# Unknown parameters of the kernel's command line become variables of the first process: server, MUTANT, verify.
_START = """
B=/bin/busybox
export PATH=/bin HOME=/tmp LC_ALL=C.UTF-8 PYTHONHOME=PREFIX PYTHONPATH=/opt/site PYTHONDONTWRITEBYTECODE=1
[ -z "$MUTANT" ] || export PYTHONPATH=/opt/mutant:/opt/site
case $server in
    pacsnode) PYTHON -m pacsnode --config /etc/pacsnode.toml serve & ;;
    orthanc) $B mkdir -p /data/orthanc; Orthanc /etc/orthanc.json & ;;
    dcmqrscp) $B mkdir -p /data/dcmqrscp; dcmqrscp -c /etc/dcmqrscp.cfg & ;;
esac
if [ -n "$verify" ]; then
    until $B grep -q ':LISTENED .* 0A ' /proc/net/tcp; do $B sleep 0.2; done
    echo "GUEST verify $(PYTHON -m pacsnode --config /etc/pacsnode.toml verify --all --json | $B tr -d '\\n') end"
fi
wait
echo "GUEST the server has ended"
$B sleep 1000
"""

_PACSNODE = f"""
[node]
listen = "0.0.0.0:{PORT}"
data = "/data/pacsnode"
[access]
unknown_peers = "accept"
[storage]
min_free = "16 MiB"
"""

_ORTHANC = {
    "Name": "guest", "StorageDirectory": "/data/orthanc", "IndexDirectory": "/data/orthanc", "Plugins": [],
    "HttpServerEnabled": False, "DicomAet": "PACSNODE", "DicomPort": PORT, "DicomAlwaysAllowStore": True,
    "DicomAlwaysAllowEcho": True, "DicomAlwaysAllowFind": True, "DicomAlwaysAllowGet": True,
    "DicomCheckModalityHost": False, "SaveJobs": False, "OverwriteInstances": False,
}  # fmt: skip

_DCMQRSCP = f"""
NetworkTCPPort = {PORT}
MaxPDUSize = 131072
MaxAssociations = 16
HostTable BEGIN
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
PACSNODE /data/dcmqrscp RW (1000, 4096mb) ANY
AETable END
"""


class CannotBuild(Exception):
    """Something of the host that the guest is made of is not there, or a tool refused."""


@dataclass(frozen=True)
class Guest:
    """What a machine boots."""

    kernel: Path
    initramfs: Path
    root: Path


def missing() -> list[str]:
    """What has to be installed before a guest can be built."""
    tools = [name for name in NEEDED if shutil.which(name) is None]
    return tools if kernels() else [*tools, f"a kernel below {CACHE} (make powercut fetches one)"]


def build(folder: Path, server: str) -> Guest:
    """Build root image and initramfs for the server (pacsnode, orthanc or dcmqrscp). Raises CannotBuild."""
    if lacks := missing():
        raise CannotBuild(f"missing: {', '.join(lacks)}")
    kernel = kernels()[-1]
    folder.mkdir(parents=True, exist_ok=True)
    guest = Guest(kernel, folder / "initramfs.gz", folder / "root.img")
    initramfs(guest.initramfs, kernel, _INIT)
    tree = folder / "root"
    shutil.rmtree(tree, ignore_errors=True)
    _tree(tree, server)
    image(guest.root, _ROOT_IMAGE_MEBIBYTES, "-d", str(tree))
    shutil.rmtree(tree)
    return guest


def image(path: Path, mebibytes: int, *options: str) -> None:
    """A sparse raw image with an ext4 of the default options. Raises CannotBuild."""
    path.unlink(missing_ok=True)
    with path.open("wb") as stream:
        stream.truncate(mebibytes * 1024 * 1024)
    # The tables are complete at once; else the guest's kernel would fill them in beside the load.
    _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", *options, str(path))


def kernel_version() -> str:
    """The release of the guest's kernel, for reports."""
    return kernels()[-1].name.removeprefix("vmlinuz-")


def kernels() -> list[Path]:
    """Those that were unpacked, the newest last."""
    return sorted(CACHE.glob("kernel/boot/vmlinuz-*"))


def initramfs(path: Path, kernel: Path, script: str) -> None:
    """Pack what the kernel starts; MODULES in the script stands for those that it has to load. Raises CannotBuild."""
    tree = path.with_suffix(".tree")
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("bin", "dev", "proc", "root", "m"):
        (tree / name).mkdir(parents=True)
    shutil.copy(_program("busybox"), tree / "bin" / "busybox")
    modules = CACHE / "kernel" / "lib" / "modules" / kernel.name.removeprefix("vmlinuz-")
    for name in _MODULES:
        found = next(modules.rglob(f"{name}.ko"), None)
        if found is None:
            raise CannotBuild(f"{modules} has no {name}.ko")
        shutil.copy(found, tree / "m")
    init = tree / "init"
    init.write_text(script.replace("MODULES", " ".join(_MODULES)))
    init.chmod(0o755)
    names = "\n".join(str(entry.relative_to(tree)) for entry in sorted(tree.rglob("*")))
    packed = subprocess.run(
        ["cpio", "--quiet", "-o", "-H", "newc"], input=names.encode(), cwd=tree, capture_output=True, check=True
    )
    path.write_bytes(gzip.compress(packed.stdout, 1))
    shutil.rmtree(tree)


def _tree(tree: Path, server: str) -> None:
    for name in _FOLDERS:
        (tree / name).mkdir(parents=True)
    shutil.copy(_program("busybox"), tree / "bin" / "busybox")
    (tree / "bin" / "sh").symlink_to("busybox")
    (tree / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (tree / "etc" / "hosts").write_text("127.0.0.1 localhost\n10.0.2.2 host\n")
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    _copy_server(tree, server, python)
    start = _START.replace("PREFIX", sys.base_prefix).replace("PYTHON ", f"{python} ")
    (tree / "start").write_text(start.replace("LISTENED", f"{PORT:04X}"))
    for library in sorted(_libraries(tree)):
        _copy_below(tree, library)


def _copy_server(tree: Path, server: str, python: Path) -> None:
    if server in PEERS:
        shutil.copy(_program(PEERS[server]), tree / "bin" / PEERS[server])
        (tree / "etc" / "orthanc.json").write_text(json.dumps(_ORTHANC))
        (tree / "etc" / "dcmqrscp.cfg").write_text(_DCMQRSCP)
        for dictionary in (
            *Path("/usr/share").glob("libdcmtk*/*.dic"),
            *Path("/etc/dcmtk").glob("*"),
            Path("/etc/localtime"),
        ):
            _copy_below(tree, dictionary)
        return
    (tree / "etc" / "pacsnode.toml").write_text(_PACSNODE)
    _copy_below(tree, python)
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix, "base": sys.base_prefix}))
    ignored = shutil.ignore_patterns(*_NOT_OF_THE_LIBRARY)
    shutil.copytree(library, tree / library.relative_to("/"), ignore=ignored)
    shutil.copy(Path(__file__).with_name("mutants.py"), tree / "opt" / "mutant" / "sitecustomize.py")
    copy_site(tree / "opt" / "site")


def copy_site(folder: Path) -> None:
    """Copy pacsnode of this checkout, with all that it needs, and compile it: what PYTHONPATH is to name."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in _site_files():
        target = folder / path.name
        shutil.copytree(path, target) if path.is_dir() else shutil.copy2(path, target)
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(folder)], check=True)


def _site_files() -> Iterator[Path]:
    """The package itself, and the files and folders of the distributions that it needs, with all that these need."""
    yield Path(__file__).parents[2] / "pacsnode"
    wanted, seen = ["pacsnode"], set[str]()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for other systems or versions of Python
        needs = [need for need in distribution.requires or () if "extra ==" not in need]
        wanted += [found[0] for need in needs if (found := re.match(r"[\w.-]+", need))]
        if name != "pacsnode":
            tops = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}
            yield from (Path(str(distribution.locate_file(top))) for top in sorted(tops))


def _libraries(tree: Path) -> set[Path]:
    """The shared libraries of every program and extension module in the tree, with the loader."""
    binaries = [
        str(path) for path in tree.rglob("*")
        if path.is_file() and not path.is_symlink() and (path.suffix == ".so" or path.parent.name == "bin")
    ]  # fmt: skip
    told = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    return {Path(found) for found in _LIBRARY.findall(told) if not found.startswith(str(tree))}


def _copy_below(tree: Path, path: Path) -> None:
    target = tree / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy2(path, target)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise CannotBuild(f"missing: {name}")
    return found


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBuild(f"{command[0]} exited {done.returncode}: {done.stderr.strip()}")
