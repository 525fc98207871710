"""The Debian package in the machine: installed, upgraded with an image there, examined, purged, installed again.

The steps follow each other in fixtures, and the tests look at what was seen then; so their order does not matter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import dcmtk, material
from tests.system.material import Sample
from tests.vm import guest, package
from tests.vm.machine import Machine, running
from tests.vm.package import DATA, LISTENS, Examined, Installed, Purged, Upgraded
from tests.vm.service import CONFIGURATION, MODALITY, fetch, peer, store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif("PACSNODE_VM" not in os.environ, reason="takes some minutes; run: make vmtest"),
]

Digests = list[str]


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine in which nothing of pacsnode is installed, with both packages where its shell begins."""
    if lacks := [*guest.missing(), *dcmtk.missing()]:
        pytest.skip(f"the machine lacks {', '.join(lacks)}; run: make vmtest")
    if "PACSNODE_DEB" not in os.environ:
        pytest.skip("$PACSNODE_DEB names no package; run: make vmtest")
    whole, folder = Path(os.environ["PACSNODE_DEB"]), tmp_path_factory.mktemp("vm")
    machinery = guest.build(folder, lambda tree: package.supply(whole, tree / "source"))
    with running(machinery, folder / "console") as made:
        made.wait_for_shell()
        yield made


@pytest.fixture(scope="module")
def installed(debian: Machine) -> Installed:
    """Step 1."""
    return package.install(debian)


@pytest.fixture(scope="module")
def sample(debian: Machine, installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Step 2: an image that the older package's service has acknowledged to a client outside of the machine."""
    (made,) = material.series(1, tmp_path_factory.mktemp("sample"), number=5)
    store(debian, made, MODALITY)
    return made


@pytest.fixture(scope="module")
def upgraded(debian: Machine, sample: Sample) -> Upgraded:
    """Step 3."""
    return package.upgrade(debian)


@pytest.fixture(scope="module")
def came_back(debian: Machine, sample: Sample, upgraded: Upgraded, tmp_path_factory: pytest.TempPathFactory) -> Digests:
    """Step 4: digests of the data sets that the newer package's service sends for the image."""
    got = fetch(debian, sample, MODALITY, tmp_path_factory.mktemp("upgraded") / "got")
    return [material.digest(path) for path in got]


@pytest.fixture(scope="module")
def examined(debian: Machine, came_back: Digests) -> Examined:
    """Step 5."""
    return package.examine(debian)


@pytest.fixture(scope="module")
def purged(debian: Machine, examined: Examined) -> Purged:
    """Step 6."""
    return package.purge(debian)


def test_install(installed: Installed) -> None:
    """The service runs as the package's user, from the package's unit, enabled, and listens where its file says."""
    assert installed.user.startswith("pacsnode:")
    assert installed.user.endswith("/nologin")
    assert "enabled" == installed.enabled
    assert ("active", "pacsnode") == (installed.process["ActiveState"], installed.process["User"])
    assert installed.process["FragmentPath"].endswith("lib/systemd/system/pacsnode.service")
    assert "listen=127.0.0.1:11112" in installed.ready
    rows = [f"{DATA} pacsnode:pacsnode 750", "/etc/pacsnode root:pacsnode 750", f"{CONFIGURATION} root:root 644"]
    assert rows == installed.access.splitlines()


def test_upgrade(upgraded: Upgraded) -> None:
    """The newer program runs in a new process, started by the package, and nothing of the older one is left."""
    version, status = upgraded.version.split(" ", 1)

    assert package.OLDER_VERSION != version
    assert "install ok installed" == status
    assert "did not start" not in upgraded.said
    assert ("active", "active") == (upgraded.before["ActiveState"], upgraded.after["ActiveState"])
    assert upgraded.after["MainPID"] not in ("0", upgraded.before["MainPID"])
    assert "" == upgraded.stranded


def test_upgrade_keeps_the_configuration(upgraded: Upgraded) -> None:
    """Where both the administrator and the package changed it, dpkg asks, and Enter keeps the administrator's."""
    assert f"Configuration file '{CONFIGURATION}'" in upgraded.said
    assert LISTENS in upgraded.configuration.splitlines()
    assert peer(MODALITY) in upgraded.configuration + "\n"


def test_image_outlives_the_upgrade(upgraded: Upgraded, came_back: Digests, sample: Sample) -> None:
    """It is sound, and comes back to who asks over the network, bit for bit."""
    assert "1 objects checked, 0 findings" in upgraded.verified
    assert [material.digest(sample.path)] == came_back


def test_doctor_unit(examined: Examined) -> None:
    """What the doctor finds makes its unit fail and is in the journal; its sandbox denies it nothing that it needs."""
    assert examined.code
    assert {"Result": "exit-code", "ExecMainStatus": "3"} == examined.result
    assert "clock: " in examined.told
    assert "no_backup: " in examined.told
    assert "findings" in examined.told
    wrong = ("Traceback", "not permitted", "ermission denied", "Read-only file system", "Failed at step")
    assert [] == [word for word in wrong if word in examined.told]


def test_purge(purged: Purged) -> None:
    """The service is stopped cleanly, program and configuration are gone, the data stays byte for byte, as is said."""
    assert "active" == purged.running
    assert "inactive" == purged.service
    assert "event=stopped" in purged.ended
    assert f"{DATA} stays, with all data" in purged.purged
    assert "" == purged.left
    assert "/etc/pacsnode stays" not in purged.purged
    assert purged.objects[0]
    assert purged.objects[0] == purged.objects[1]
    assert purged.data[0] == purged.data[1]


def test_installed_again(debian: Machine, purged: Purged, sample: Sample, tmp_path: Path) -> None:
    """Installed as docs/install.md says, the newer package's service finds the data that the purge left."""
    for command in package.INSTALL:
        debian.do(command)
    package.configure(debian)

    assert [material.digest(sample.path)] == [
        material.digest(path) for path in fetch(debian, sample, MODALITY, tmp_path / "got")
    ]
