"""Lays out the files of the Debian package: the environment under /usr/lib/pacsnode, the rest where Debian has it."""

from __future__ import annotations

import compileall
import gzip
import shutil
import subprocess
import sys
from pathlib import Path
from py_compile import PycInvalidationMode

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
HOME = "/usr/lib/pacsnode"
_SYSTEM = "usr/lib/systemd/system"
# What a wheel of ours has below share/, and where a package has it. Drop-ins are offered, not put in effect.
_PLACES = {
    "man": "usr/share/man",
    "bash-completion": "usr/share/bash-completion",
    "pacsnode/pacsnode.toml": "etc/pacsnode/pacsnode.toml",
    "pacsnode/systemd/sysusers.d": "usr/lib/sysusers.d",
    "pacsnode/systemd/tmpfiles.d": "usr/lib/tmpfiles.d",
    "pacsnode/systemd/pacsnode.service.d": "usr/share/pacsnode/pacsnode.service.d",
    "pacsnode/systemd": _SYSTEM,
    "pacsnode": "usr/share/pacsnode",
}
# What pip writes about an installation that it may be asked to change; here dpkg does that.
_TRACES = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
# -I: neither $PYTHONPATH nor a folder of the user's changes what runs.
_PROGRAM = f"""\
#!{HOME}/bin/python -I
import sys

from pacsnode.cli import main

sys.exit(main())
"""


def lay_out(root: Path, wheel: Path, lock: Path) -> None:
    """The tree of the package below a new folder. Raises CalledProcessError when pip cannot install."""
    environment = root / HOME.lstrip("/")
    if lock.read_text().strip():
        _install(environment, ["--require-hashes", "--requirement", str(lock)])
    _install(environment, ["--no-deps", "--no-index", str(wheel)])
    _make_runnable(environment)
    _place(environment / "share", root)
    shutil.rmtree(environment / "share")
    _compress(root / "usr/share/man")
    _set_modes(root)


def compress(path: Path) -> None:
    """Replace a file by its gzip form, without time or name: the same text gives the same bytes."""
    (path.parent / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
    path.unlink()


def _install(environment: Path, what: list[str]) -> None:
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--ignore-installed",
        "--no-warn-script-location",
    ]
    subprocess.run([*pip, "--prefix", str(environment), *what], check=True)


def _make_runnable(environment: Path) -> None:
    """Make what pip laid down a virtual environment of Debian's Python, at the place where it will be."""
    shutil.rmtree(environment / "bin")
    (environment / "bin").mkdir()
    (environment / "bin" / "pacsnode").write_text(_PROGRAM)
    (environment / "bin" / "pacsnode").chmod(0o755)
    (environment / "bin" / PYTHON).symlink_to(f"/usr/bin/{PYTHON}")
    for name in ("python", "python3"):
        (environment / "bin" / name).symlink_to(PYTHON)
    version = ".".join(map(str, sys.version_info[:2]))
    (environment / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n"
    )
    for info in (environment / "lib" / PYTHON / "site-packages").glob("*.dist-info"):
        for name in _TRACES:
            (info / name).unlink(missing_ok=True)
    # Not checked against the sources: nobody edits them there, and nobody may write beside them when they run.
    compileall.compile_dir(
        environment / "lib",
        quiet=2,
        stripdir=str(environment),
        prependdir=HOME,
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        workers=0,
    )


def _place(share: Path, root: Path) -> None:
    for source, target in _PLACES.items():
        if (share / source).is_dir():
            shutil.copytree(share / source, root / target, dirs_exist_ok=True)
            shutil.rmtree(share / source)
        elif (share / source).exists():
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            (share / source).rename(root / target)
    link = root / "usr/bin/pacsnode"
    link.parent.mkdir(parents=True)
    link.symlink_to(f"../{HOME.removeprefix('/usr/')}/bin/pacsnode")


def _compress(folder: Path) -> None:
    for page in [path for path in folder.rglob("*") if path.is_file()]:
        compress(page)


def _set_modes(root: Path) -> None:
    """Whatever the umask of who builds, and whatever came out of wheels: all is read by all, programs are run."""
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
