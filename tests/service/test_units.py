"""The units as they are shipped: what systemd thinks of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
CAPABILITY_EXPOSURE, SOCKET_EXPOSURE = 1.6, 1.4  # of 10, the less the better
SOCKETS = ("pacsnode.socket", "pacsnode-tls.socket")
DOCTOR = ("pacsnode-doctor.service", "pacsnode-doctor.timer")

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing; run: apt-get install systemd"
)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the units, as /etc/systemd/system is, whose program exists."""
    made = Path(shutil.copytree(UNITS, tmp_path / "system"))
    for service in made.glob("*.service"):
        service.write_text(service.read_text().replace("/usr/bin/pacsnode", shutil.which("true") or "/bin/true"))
    shutil.rmtree(made / "pacsnode.service.d")
    return made


def analyze(*arguments: str | Path) -> tuple[int, str]:
    """The exit code of systemd-analyze, and all that it says."""
    done = subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def exposure(unit: Path) -> float:
    """How much a service could do that it need not."""
    said = analyze("security", "--offline=true", unit)[1]
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found, said
    return float(found[1])


def add_drop_in(installed: Path, name: str) -> None:
    """As an administrator does. systemd-analyze looks for drop-ins in the folders of its own, so the text is joined."""
    service = installed / "pacsnode.service"
    text = (UNITS / "pacsnode.service.d" / name).read_text()
    service.write_text(service.read_text() + "\n" + text)


def test_exposure(installed: Path) -> None:
    """The service alone may bind port 104, and little else."""
    assert exposure(installed / "pacsnode.service") <= CAPABILITY_EXPOSURE


def test_exposure_with_sockets(installed: Path) -> None:
    """With the socket units no capability is left, so that less could be done."""
    alone = exposure(installed / "pacsnode.service")
    add_drop_in(installed, "socket.conf")

    assert exposure(installed / "pacsnode.service") <= min(SOCKET_EXPOSURE, alone - 0.1)


def test_exposure_of_the_doctor(installed: Path) -> None:
    """Who only looks may do less than who serves with sockets."""
    assert exposure(installed / "pacsnode-doctor.service") < SOCKET_EXPOSURE


@pytest.mark.parametrize("name", ["pacsnode.service", *SOCKETS, *DOCTOR])
def test_no_mistakes(installed: Path, name: str) -> None:
    """systemd knows every line of every unit, with all drop-ins."""
    add_drop_in(installed, "socket.conf")
    add_drop_in(installed, "tls.conf")
    code, said = analyze("verify", "--man=no", "--recursive-errors=no", installed / name)

    assert (0, []) == (code, [line for line in said.splitlines() if "pacsnode" in line])


def test_a_mistake_is_found(installed: Path) -> None:
    """The check above can fail."""
    service = installed / "pacsnode.service"
    service.write_text(service.read_text().replace("WatchdogSec", "WatchdogSecs"))

    assert "WatchdogSecs" in analyze("verify", "--man=no", "--recursive-errors=no", service)[1]


def test_all_is_said_in_the_docs() -> None:
    """Every file that is shipped is named where it is told how to install it."""
    told = (UNITS.parent / "docs" / "operations.md").read_text()
    shipped = {str(path.relative_to(UNITS.parent)) for path in UNITS.rglob("*") if path.is_file()}

    assert set() == {name for name in shipped if name not in told}
