"""The shipped units in a machine with Debian's systemd, as docs/operations.md installs them: socket and sandbox.

Each test leaves the node running, so that the order of the tests does not matter.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from tests.dimse.raw_peer import VERIFICATION, Offer, RawPeer, Rejected, associate_rq
from tests.system import material
from tests.system.material import Sample
from tests.vm.machine import Machine
from tests.vm.service import CONFIGURATION, MODALITY, add_peer, echoes, fetch, show, store

EXPOSURE = 1.4
REQUEST = associate_rq([Offer(1, VERIFICATION)], calling=MODALITY.encode())
ACTIVE = "systemctl is-active pacsnode.service"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif("PACSNODE_VM" not in os.environ, reason="takes some minutes; run: make vmtest"),
]


def came_back(machine: Machine, sample: Sample, folder: Path) -> list[str]:
    """Digests of the data sets that the node has of the sample."""
    return [material.digest(path) for path in fetch(machine, sample, MODALITY, folder)]


def test_listens_on_104_as_its_own_user(machine: Machine) -> None:
    """The service is ready, with no root and no capability, and answers on port 104, which systemd holds for it."""
    pid = show(machine, "MainPID")["MainPID"]
    process = dict(re.findall(r"^(\w+):\s+(.*)$", machine.do(f"cat /proc/{pid}/status"), re.MULTILINE))
    user = machine.do("id -u pacsnode")

    assert [user] * 4 == process["Uid"].split()
    assert {0} == {int(process[kind], 16) for kind in ("CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert echoes(machine, MODALITY)
    assert "socket_unused" not in machine.journal(400)


def test_sandbox_is_in_force(machine: Machine) -> None:
    """Seen from the node's own mounts, all but its data is read-only or not there, and the kernel filters its calls."""
    pid = show(machine, "MainPID")["MainPID"]
    process = dict(re.findall(r"^(\w+):\s+(.*)$", machine.do(f"cat /proc/{pid}/status"), re.MULTILINE))

    def within(command: str) -> tuple[int, str]:
        return machine.run(f"nsenter --target {pid} --mount -- sh -c '{command}' 2>&1")

    for path in ("/etc/pacsnode/x", "/usr/bin/x", "/var/x", "/opt/x"):
        code, said = within(f"touch {path}")
        assert code
        assert "Read-only file system" in said
    assert within("echo x > /proc/sys/kernel/domainname")[0]
    assert (0, "") == within("ls /home /root | grep -v : | grep .; true")
    assert within("test -e /dev/vda")[0]
    assert (0, "") == within("touch /var/lib/pacsnode/x && rm /var/lib/pacsnode/x")
    assert ("2", "1") == (process["Seccomp"], process["NoNewPrivs"])
    assert "mount" not in show(machine, "SystemCallFilter")["SystemCallFilter"].split()


def test_stored_image_comes_back(machine: Machine, tmp_path: Path) -> None:
    """Within its sandbox the node stores an image and sends it back, bit for bit."""
    (sample,) = material.series(1, tmp_path, number=3)
    store(machine, sample, MODALITY)

    assert [material.digest(sample.path)] == came_back(machine, sample, tmp_path / "got")


def test_decodes_within_the_sandbox(machine: Machine, tmp_path: Path) -> None:
    """A compressed image is decoded for who takes native ones: the processes that do it get what they need."""
    (sample,) = material.series(1, tmp_path, number=4)
    data_set = dcmread(sample.path)
    pixels = data_set.PixelData
    data_set.compress(RLELossless, generate_instance_uid=False)
    data_set.save_as(sample.path)
    store(machine, sample, MODALITY, "-xr")
    (got,) = fetch(machine, sample, MODALITY, tmp_path / "got")

    assert ExplicitVRLittleEndian == dcmread(got).file_meta.TransferSyntaxUID
    assert pixels == dcmread(got).PixelData


def test_exposure_as_it_runs(machine: Machine) -> None:
    """systemd itself says so of the loaded unit, with its drop-in."""
    said = machine.do("systemd-analyze security --no-pager pacsnode.service")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)

    assert found
    assert float(found[1]) <= EXPOSURE


def test_reload_takes_a_new_peer(machine: Machine) -> None:
    """``systemctl reload`` lets in a peer that was refused until then; no process is started for it."""
    before = show(machine, "MainPID")
    assert not echoes(machine, "NEWCT")
    add_peer(machine, "NEWCT")
    machine.do("systemctl reload pacsnode.service")

    assert echoes(machine, "NEWCT")
    assert before == show(machine, "MainPID")


def test_bad_configuration_fails_the_reload(machine: Machine) -> None:
    """``systemctl reload`` fails, the journal says where the mistake is, and the node goes on as it was."""
    before = show(machine, "MainPID")
    machine.do(f"cp {CONFIGURATION} /tmp/right.toml && sed -i 's/^ae_title = .*/ae_titel = \"X\"/' {CONFIGURATION}")
    code, said = machine.run("systemctl reload pacsnode.service 2>&1")
    told = machine.journal(10)
    machine.do(f"cp /tmp/right.toml {CONFIGURATION} && systemctl reload pacsnode.service")

    assert code
    assert "failed" in said
    assert re.search(rf"{CONFIGURATION}.*ae_titel", told)
    assert before == show(machine, "MainPID")
    assert echoes(machine, MODALITY)


def test_stop_drains(machine: Machine) -> None:
    """At ``systemctl stop`` an open association is served to its end, a new one is told to come again, and the exit is
    clean; started again, the node serves."""
    with RawPeer(machine.port) as open_one:
        open_one.associate(request=REQUEST)
        machine.do("systemctl stop --no-block pacsnode.socket pacsnode.service")
        machine.wait_until("journalctl -u pacsnode.service -n 5 | grep event=stopping")
        with pytest.raises(Rejected) as refusal, RawPeer(machine.port) as late:
            late.associate(request=REQUEST)
        answer = open_one.echo()
        open_one.release()
    machine.wait_until(f"test $({ACTIVE}) = inactive")
    end = show(machine, "Result", "ExecMainStatus", "ExecMainCode")
    machine.do("systemctl start pacsnode.socket pacsnode.service")

    assert (2, 3, 1) == refusal.value.triple
    assert 0 == answer
    assert {"Result": "success", "ExecMainStatus": "0", "ExecMainCode": "1"} == end
    assert echoes(machine, MODALITY)


def test_hung_node_is_started_again(machine: Machine, tmp_path: Path) -> None:
    """A node that hangs is killed by the watchdog and started again; who connected meanwhile is served by the new one,
    and what was acknowledged is there."""
    (sample,) = material.series(1, tmp_path, number=1)
    store(machine, sample, MODALITY)
    before = show(machine, "MainPID", "NRestarts")
    machine.do(f"kill -STOP {before['MainPID']}")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(echoes, machine, MODALITY)
        machine.wait_until(f"test $(systemctl show -P MainPID pacsnode.service) != {before['MainPID']} && {ACTIVE}")
        served = waiting.result()

    assert served
    assert int(before["NRestarts"]) + 1 == int(show(machine, "NRestarts")["NRestarts"])
    assert "Watchdog timeout" in machine.journal()
    assert [material.digest(sample.path)] == came_back(machine, sample, tmp_path / "got")


def test_data_survives_a_reboot(machine: Machine, tmp_path: Path) -> None:
    """After a reboot the node serves with nobody's help, with what it had, in a clean start."""
    (sample,) = material.series(1, tmp_path, number=2)
    store(machine, sample, MODALITY)
    boot = machine.do("cat /proc/sys/kernel/random/boot_id")
    machine.order("systemctl reboot")
    machine.wait_for_shell()

    assert boot != machine.do("cat /proc/sys/kernel/random/boot_id")
    assert "active" == machine.do(ACTIVE)
    assert [material.digest(sample.path)] == came_back(machine, sample, tmp_path / "got")
    assert "event=stopped" in machine.do("journalctl --no-pager -b -1 -u pacsnode.service | tail -n 20")
