"""The service in the machine, as its administrator and its peers see it."""

from __future__ import annotations

from pathlib import Path

from tests.system import dcmtk
from tests.system.material import Sample
from tests.vm.machine import Machine

CONFIGURATION = "/etc/pacsnode/pacsnode.toml"
MODALITY = "CT01"  # a peer of the machine's configuration
_PATIENT = ("-ta", "150", "-td", "150")  # a client that waits, as a modality does, while the node starts again


def show(machine: Machine, *properties: str) -> dict[str, str]:
    """Properties of the service, as systemd tells them."""
    told = machine.do(f"systemctl show pacsnode.service -p {','.join(properties)}")
    return dict(line.split("=", 1) for line in told.splitlines())


def peer(name: str) -> str:
    """The table of a peer that is outside of the machine."""
    return f'[peers.{name}]\nhost = "10.0.2.2"\nport = 11112\n'


def add_peer(machine: Machine, name: str) -> None:
    """To the configuration file."""
    machine.do(f"cat >> {CONFIGURATION} <<'END'\n{peer(name)}END")


def echoes(machine: Machine, calling: str) -> bool:
    """Whether this peer is served."""
    said = dcmtk.run("echoscu", "-v", *_PATIENT, *dcmtk.address(machine.port, calling=calling), expect=None)
    return "Received Echo Response (Success)" in said


def store(machine: Machine, sample: Sample, calling: str, *options: str) -> None:
    """Have it acknowledged. Raises AssertionError."""
    dcmtk.run("storescu", *_PATIENT, *options, *dcmtk.address(machine.port, calling=calling), str(sample.path))


def fetch(machine: Machine, sample: Sample, calling: str, folder: Path) -> list[Path]:
    """The files of what the node sends back for the sample."""
    folder.mkdir()
    keys = dcmtk.keys(
        (
            "QueryRetrieveLevel=IMAGE",
            f"StudyInstanceUID={sample.study_uid}",
            f"SeriesInstanceUID={sample.study_uid.removesuffix('1')}2",
            f"SOPInstanceUID={sample.sop_instance_uid}",
        )
    )
    dcmtk.run("getscu", "-S", "+B", *_PATIENT, "-od", str(folder), *dcmtk.address(machine.port, calling=calling), *keys)
    return list(folder.iterdir())
