"""The Debian package: what is in it, and what installing, upgrading, removing and purging do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.machine import Machine
from tests.system.material import series

ENABLED = "/etc/systemd/system/multi-user.target.wants/pacsnode.service"
INSTALL = "dpkg --install /run/packages/current.deb"
DATA = "mkdir -p /var/lib/pacsnode/objects; echo pixels > /var/lib/pacsnode/objects/one"

STORE = "storescu -aec PACSNODE 127.0.0.1 11112 /run/packages/mr/*"
# As the unit does, but for systemd: the command runs beside a node that is ready, and the node ends with exit code 0.
SERVE = """
setpriv --reuid pacsnode --regid pacsnode --clear-groups \\
    /usr/bin/pacsnode serve --config /etc/pacsnode/pacsnode.toml 2> /tmp/log & node=$!
until grep -q event=ready /tmp/log; do kill -0 $node || {{ cat /tmp/log; exit 1; }}; sleep 0.1; done
{do}
kill $node; wait $node
"""


def said(package: Path, *arguments: str) -> str:
    """What dpkg-deb tells of a package."""
    return subprocess.run(
        ["dpkg-deb", *arguments[:1], package, *arguments[1:]], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def contents(package: Path) -> dict[str, str]:
    """Mode and owner of all that is in it, by path."""
    rows = [line.split(maxsplit=5) for line in said(package, "--contents").splitlines()]
    return {row[5].split(" -> ")[0].removeprefix("."): f"{row[0]} {row[1]}" for row in rows}


@pytest.fixture
def current(packages: Path) -> Path:
    """The package under test."""
    return packages / "current.deb"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/pacsnode/pacsnode.toml",
        "/usr/lib/systemd/system/pacsnode.service",
        "/usr/lib/systemd/system/pacsnode.socket",
        "/usr/lib/sysusers.d/pacsnode.conf",
        "/usr/lib/tmpfiles.d/pacsnode.conf",
        "/usr/share/man/man1/pacsnode.1.gz",
        "/usr/share/man/man5/pacsnode.toml.5.gz",
        "/usr/share/bash-completion/completions/pacsnode",
        "/usr/share/pacsnode/pacsnode.service.d/socket.conf",
        "/usr/share/doc/pacsnode/copyright",
    ],
)
def test_files_are_where_debian_has_them(current: Path, path: str) -> None:
    """Each is root's, and for all to read."""
    assert "-rw-r--r-- root/root" == contents(current).get(path)


def test_nothing_where_it_does_not_belong(current: Path) -> None:
    """No data folder, which removing would take away, and no drop-in that changes the unit before anybody asked."""
    programs = ("/etc/pacsnode/", "/usr/bin/", "/usr/lib/pacsnode/", "/usr/lib/systemd/system/", "/usr/lib/sysusers.d/")
    data = ("/usr/lib/tmpfiles.d/", "/usr/share/")
    files = [path for path in contents(current) if not path.endswith("/")]

    assert [] == [
        path for path in files if not path.startswith(programs + data) or "/system/pacsnode.service.d" in path
    ]


def test_all_is_for_all_to_read(current: Path) -> None:
    """Whatever modes came out of wheels, or the umask of who built: nothing that is written by others, or hidden."""
    modes = {entry for path, entry in contents(current).items() if not entry.startswith("l")}

    assert modes <= {"-rw-r--r-- root/root", "-rwxr-xr-x root/root", "drwxr-xr-x root/root"}


def test_control(current: Path) -> None:
    """It needs the Python it was built with, and its one conffile is the configuration."""
    assert "/etc/pacsnode/pacsnode.toml\n" == said(current, "--info", "conffiles")
    assert f"python3.{sys.version_info.minor}" in said(current, "--field", "Depends").strip().split(", ")


def test_no_trace_of_the_building_machine(packages: Path, tmp_path: Path) -> None:
    """Neither scripts nor compiled modules name the folder that they were built in."""
    subprocess.run(["dpkg-deb", "--extract", packages / "current.deb", tmp_path], check=True, timeout=100)
    found = subprocess.run(["grep", "-rlF", "pacsnode-deb-", tmp_path], capture_output=True, text=True, timeout=100)

    assert "" == found.stdout


def test_install(system: Machine) -> None:
    """The program runs, the service is enabled under a user of its own, and others do not see configuration or data."""
    system.run(INSTALL)

    assert "pacsnode 0." in system.run("pacsnode --version")
    assert "/etc/pacsnode/pacsnode.toml: ok" in system.run("pacsnode config check")
    assert "pacsnode:pacsnode 750\n" == system.run("stat -c '%U:%G %a' /var/lib/pacsnode")
    assert "root:pacsnode 750\n" == system.run("stat -c '%U:%G %a' /etc/pacsnode")
    system.run(f"test -L {ENABLED}; runuser -u pacsnode -- test -r /etc/pacsnode/pacsnode.toml")
    assert 0 != system.attempt("runuser -u nobody -- ls /var/lib/pacsnode")[0]


def test_configure_may_be_repeated(system: Machine) -> None:
    """Once more changes nothing."""
    state = f"stat -c '%n %U %a' /etc/pacsnode /var/lib/pacsnode {ENABLED}; getent passwd pacsnode"
    before = system.run(f"{INSTALL}; {state}").splitlines()[-4:]
    again = system.run(f"/var/lib/dpkg/info/pacsnode.postinst configure; {state}").splitlines()

    assert before == again[-4:]


def test_upgrade_keeps_what_is_the_administrators(system: Machine) -> None:
    """Data, a changed configuration and a disabled service stay as they are."""
    system.run(f"dpkg --install /run/packages/previous.deb; {DATA}")
    system.run("sed -i 's/^ae_title = .*/ae_title = \"OURS\"/' /etc/pacsnode/pacsnode.toml")
    system.run("systemctl disable pacsnode.service")
    system.run(INSTALL)

    assert "pixels\n" == system.run("cat /var/lib/pacsnode/objects/one")
    assert 'ae_title = "OURS"' in system.run("pacsnode config show")
    system.run(f"test ! -e {ENABLED}")


def test_upgrade_leaves_no_old_modules(system: Machine) -> None:
    """What the previous package had and this one has not is gone, and what runs writes nothing beside the program."""
    system.run("dpkg --install /run/packages/previous.deb")
    system.run("ls /usr/lib/pacsnode/lib/python3*/site-packages/gone.py")
    system.run(f"{INSTALL}; pacsnode config check")
    system.run("find /usr/lib/pacsnode | sort > /tmp/there; dpkg --listfiles pacsnode | sort > /tmp/known")

    assert "" == system.run("comm -23 /tmp/there /tmp/known")


def test_purge_leaves_data(system: Machine) -> None:
    """Removing and purging take program, units and configuration, and say that the data stays."""
    system.run(f"{INSTALL}; {DATA}")
    system.run("mkdir /etc/pacsnode/tls; echo secret > /etc/pacsnode/tls/node.key")
    removed = system.run("dpkg --remove pacsnode; cat /etc/pacsnode/pacsnode.toml > /dev/null")
    purged = system.run("dpkg --purge pacsnode")

    assert "warning" not in removed
    assert "/var/lib/pacsnode stays, with all data" in purged
    assert "/etc/pacsnode stays" in purged
    assert "pixels\n" == system.run("cat /var/lib/pacsnode/objects/one")
    assert "secret\n" == system.run("cat /etc/pacsnode/tls/node.key")
    gone = ("/usr/lib/pacsnode", "/usr/bin/pacsnode", "/etc/pacsnode/pacsnode.toml", ENABLED)
    system.run(f"for path in {' '.join(gone)}; do test ! -e $path && test ! -L $path; done; getent passwd pacsnode")


def test_purge_leaves_no_empty_folder(system: Machine) -> None:
    """Where nobody put a file beside the configuration, its folder is gone, and nothing is said of it."""
    purged = system.run(f"{INSTALL}; dpkg --purge pacsnode")

    assert "/etc/pacsnode stays" not in purged
    system.run("test ! -e /etc/pacsnode")


def test_install_again_after_purge(system: Machine) -> None:
    """The data that stayed is the new installation's."""
    system.run(f"{INSTALL}; {DATA}; chown -R pacsnode: /var/lib/pacsnode; dpkg --purge pacsnode")
    system.run(INSTALL)

    assert "pacsnode\n" == system.run("stat -c %U /var/lib/pacsnode/objects/one")
    system.run(f"test -L {ENABLED}")


def test_images_outlive_upgrade_and_purge(system: Machine, packages: Path) -> None:
    """Stored by the service's user under the previous package, sound under this one, and there when all is purged."""
    if shutil.which("storescu") is None:
        pytest.skip("DCMTK is missing; run: apt-get install dcmtk")
    if not (packages / "mr").exists():
        series(3, packages / "mr")
    count = "find /var/lib/pacsnode/objects -type f | wc -l"
    system.run(f"dpkg --install /run/packages/previous.deb; {SERVE.format(do=STORE)}")
    before = system.run(count)
    upgraded = system.run(f"{INSTALL}; {SERVE.format(do='runuser -u pacsnode -- pacsnode verify')}")
    system.run("dpkg --purge pacsnode")

    assert "3 objects checked, 0 findings" in upgraded
    assert int(before) >= 3
    assert before == system.run(count)
