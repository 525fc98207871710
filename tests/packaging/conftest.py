"""The wheel and the packages that the tests of this folder look at."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.packaging.machine import Machine, machine

ROOT = Path(__file__).parents[2]
PREVIOUS, CURRENT = "0.0.1", "99.0"  # whatever the program's own version is
LIBRARIES = Path(sysconfig.get_path("purelib"))
LENT = "/run/libraries\n"  # where a machine of ours has them


@pytest.fixture(scope="session")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Man pages and completion, made anew."""
    folder = tmp_path_factory.mktemp("manual")
    subprocess.run([sys.executable, "packaging/manual.py", folder], cwd=ROOT, check=True, timeout=60)
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory, manual: Path) -> Path:
    """The wheel, from a copy of the sources, so that nothing in the checkout changes; pip gets the build tool."""
    copy = tmp_path_factory.mktemp("sources")
    for name in ("pacsnode", "config", "systemd"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(manual, copy / "build" / "manual")
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        copy / "dist",
        copy,
    ]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=110)
    if done.returncode and "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("setuptools cannot be had without a network")
    assert done.returncode == 0, done.stderr[-2000:]
    return next((copy / "dist").glob("*.whl"))


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """A folder with previous.deb and current.deb, which lack the libraries: these take minutes to install and to pack.

    ``$PACSNODE_DEB`` names a whole package to be the current one.
    """
    if shutil.which("dpkg-deb") is None or not Path(f"/usr/bin/python3.{sys.version_info.minor}").exists():
        pytest.skip("packages are built on Debian, with its Python")
    folder = tmp_path_factory.mktemp("packages")
    _build_short(wheel, PREVIOUS, folder / "previous.deb", {"gone.py": "", "lent.pth": LENT})
    if whole := os.environ.get("PACSNODE_DEB"):
        shutil.copy(whole, folder / "current.deb")
    else:
        _build_short(wheel, CURRENT, folder / "current.deb", {"lent.pth": LENT})
    return folder


def _build_short(wheel: Path, version: str, package: Path, modules: Mapping[str, str]) -> None:
    """Without libraries of its own, but with these modules besides."""
    scratch = package.with_suffix("")
    scratch.mkdir()
    (scratch / "empty.lock").write_text("")
    builder: list[str | Path] = [sys.executable, "packaging/deb.py", "--wheel", wheel, "--version", version]
    options: list[str | Path] = ["--lock", scratch / "empty.lock", "--output", scratch]
    subprocess.run([*builder, *options], cwd=ROOT, check=True, timeout=100)
    subprocess.run(["dpkg-deb", "--raw-extract", next(scratch.glob("*.deb")), scratch / "tree"], check=True, timeout=60)
    site = next(scratch.glob("tree/usr/lib/pacsnode/lib/python3*/site-packages"))
    for name, text in modules.items():
        (site / name).write_text(text)
        (site / name).chmod(0o644)
    pack: list[str | Path] = ["dpkg-deb", "--build", "--root-owner-group", "-Znone", scratch / "tree", package]
    subprocess.run(pack, check=True, timeout=60)


@pytest.fixture
def system(tmp_path: Path, packages: Path) -> Iterator[Machine]:
    """A copy of this system, to install in."""
    if os.geteuid() or shutil.which("systemd-sysusers") is None:
        pytest.skip("installing takes root, and systemd-sysusers")
    try:
        with machine(tmp_path, LIBRARIES, packages) as made:
            yield made
    except PermissionError as error:
        pytest.skip(f"no overlay or no namespace may be made here: {error}")
