"""Builds the Debian package from a wheel and the lock file: ``deb.py --wheel FILE --lock FILE --output DIR``."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import tree

ROOT = Path(__file__).parents[1]
_MAINTAINER = "pacsnode authors <pacsnode@localhost.localdomain>"
_SCRIPTS = ("postinst", "prerm", "postrm")
# What the libraries in the wheels need of the system: those that the manylinux policies leave out, by Debian's names.
_DEPENDS = (
    "python3",
    tree.PYTHON,
    "libc6 (>= 2.34)",
    "libgcc-s1",
    "libstdc++6",
    "zlib1g",
    "init-system-helpers (>= 1.54)",
    "systemd | systemd-standalone-sysusers",
)
_DESCRIPTION = """\
 Receives images over C-STORE, answers C-FIND, and sends studies back over
 C-GET and C-MOVE. What it acknowledged is on the disk bit for bit, and stays
 there when the power fails. Runs as a hardened service under its own user.
 .
 The program and the libraries it needs are in a virtual environment of its own
 in /usr/lib/pacsnode; it only shares Python with the system."""


def build(wheel: Path, lock: Path, output: Path, version: str) -> Path:
    """Build the package, and say where it is. Raises CalledProcessError when pip or dpkg-deb cannot."""
    architecture = _said_by("dpkg", "--print-architecture")
    with tempfile.TemporaryDirectory(prefix="pacsnode-deb-") as scratch:
        root = Path(scratch) / "root"
        tree.lay_out(root, wheel, lock)
        _document(root, version)
        _control(root, version, architecture)
        output.mkdir(parents=True, exist_ok=True)
        made = output / f"pacsnode_{version}_{architecture}.deb"
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "-Zxz", "-z3", root, made], check=True)
    return made


def _control(root: Path, version: str, architecture: str) -> None:
    folder = root / "DEBIAN"
    folder.mkdir()
    fields = {
        "Package": "pacsnode",
        "Version": version,
        "Architecture": architecture,
        "Maintainer": _MAINTAINER,
        "Installed-Size": str(sum(_kibibytes(path) for path in root.rglob("*"))),
        "Depends": ", ".join(_DEPENDS),
        "Section": "net",
        "Priority": "optional",
        "Description": f"DICOM archive node\n{_DESCRIPTION}",
    }
    (folder / "control").write_text("".join(f"{name}: {value}\n" for name, value in fields.items()))
    (folder / "conffiles").write_text("".join(f"/{path}\n" for path in _files(root, "etc")))
    (folder / "md5sums").write_text(_said_by("md5sum", *_files(root, "usr"), where=root) + "\n")
    for name in _SCRIPTS:
        shutil.copy(ROOT / "packaging" / "debian" / name, folder / name)
        (folder / name).chmod(0o755)


def _document(root: Path, version: str) -> None:
    """What Debian wants to be told: licence, changes, and why lintian's rules are not kept where they are not."""
    folder = root / "usr/share/doc/pacsnode"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "packaging" / "debian" / "copyright", folder / "copyright")
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        shutil.copy(document, folder)
    shutil.copy(ROOT / "CHANGELOG.md", folder / "changelog")
    date = formatdate(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
    (folder / "changelog.Debian").write_text(
        f"pacsnode ({version}) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- {_MAINTAINER}  {date}\n"
    )
    for name in ("changelog", "changelog.Debian"):
        tree.compress(folder / name)
    overrides = root / "usr/share/lintian/overrides/pacsnode"
    overrides.parent.mkdir(parents=True)
    shutil.copy(ROOT / "packaging" / "debian" / "lintian-overrides", overrides)


def _files(root: Path, below: str) -> Iterator[str]:
    return (str(path.relative_to(root)) for path in sorted((root / below).rglob("*")) if _is_file(path))


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _kibibytes(path: Path) -> int:
    return -(-path.lstat().st_size // 1024) if _is_file(path) else 1


def _said_by(*command: str, where: Path | None = None) -> str:
    return subprocess.run(command, cwd=where, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wheel", type=Path, required=True, help="pacsnode itself")
    parser.add_argument("--lock", type=Path, required=True, help="what it needs, with hashes")
    parser.add_argument("--output", type=Path, required=True, help="the folder of the package")
    parser.add_argument("--version", help="by default, that of the wheel")
    said = parser.parse_args()
    if not Path(f"/usr/bin/{tree.PYTHON}").exists():
        sys.exit(f"deb.py: /usr/bin/{tree.PYTHON} is missing, which the package is for; build with Debian's Python")
    try:
        made = build(said.wheel, said.lock, said.output, said.version or said.wheel.name.split("-")[1])
    except subprocess.CalledProcessError as error:
        sys.exit(f"deb.py: {error.cmd[0]} failed with exit code {error.returncode}")
    print(f"wrote {made}, {made.stat().st_size >> 20} MiB")


if __name__ == "__main__":
    os.umask(0o022)  # of who builds it; what is installed is for all to read
    _main()
