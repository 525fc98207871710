"""The wheel, installed where nothing else of ours is."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import pacsnode
from tests.packaging.conftest import LIBRARIES, ROOT


@pytest.fixture(scope="module")
def prefix(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; what it needs is lent by that of the suite, we ourselves are not."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        folder / "bin" / "python",
        "install",
        "--quiet",
        "--no-deps",
    ]
    subprocess.run([*pip, "--no-index", wheel], check=True, timeout=100)
    site = sysconfig.get_path("purelib", vars={"base": str(folder)})
    (Path(site) / "lent.pth").write_text(f"{LIBRARIES}\n")
    return folder


def said(prefix: Path, *arguments: str) -> str:
    """What the installed program prints."""
    program = prefix / "bin" / "pacsnode"
    return subprocess.run(
        [program, *arguments], cwd=prefix, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_program_runs(prefix: Path) -> None:
    """It tells its version, from the files of the wheel."""
    where = "import pacsnode; print(pacsnode.__file__)"
    python: list[str | Path] = [prefix / "bin" / "python", "-c", where]
    file = subprocess.run(python, cwd=prefix, check=True, capture_output=True, text=True, timeout=60).stdout

    assert f"pacsnode {pacsnode.__version__}\n" == said(prefix, "--version")
    assert file.startswith(str(prefix))


def test_sample_is_carried(prefix: Path) -> None:
    """The sample configuration lies in share/, and is what the program prints."""
    assert said(prefix, "config", "sample") == (prefix / "share/pacsnode/pacsnode.toml").read_text("utf-8")


def test_data_files_are_carried(prefix: Path) -> None:
    """All files of config/ and systemd/ are in share/pacsnode, with the bytes they have here."""
    wanted = {path.name: path for path in (ROOT / "config").iterdir()}
    wanted |= {f"systemd/{path.relative_to(ROOT / 'systemd')}": path for path in (ROOT / "systemd").rglob("*.*")}
    files = {name: path.read_bytes() for name, path in wanted.items() if path.is_file()}
    carried = {name: prefix / "share" / "pacsnode" / name for name in files}

    assert files == {name: path.read_bytes() for name, path in carried.items() if path.exists()}


def test_manual_is_carried(prefix: Path, manual: Path) -> None:
    """Every man page and the completion are where man and bash look below a prefix."""
    pages = {path.name for path in (manual / "man").iterdir()}
    completion = prefix / "share" / "bash-completion" / "completions" / "pacsnode"

    assert pages == {path.name for path in (prefix / "share" / "man").rglob("*.?")}
    assert (manual / "completion" / "pacsnode").read_text() == completion.read_text()
