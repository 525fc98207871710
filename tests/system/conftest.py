"""What the system tests share: a node with a few synthetic studies in it, and DCMTK's receiver beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system import dcmtk, material
from tests.system.live import LiveNode
from tests.system.material import Sample

STUDIES = 3
IMAGES = 5


@dataclass(frozen=True)
class Ward:
    """A node that holds the samples, and a receiver it may send to."""

    node: LiveNode
    samples: list[Sample]
    receiver_folder: Path

    @property
    def digests(self) -> list[str]:
        """Of the samples' data sets, sorted."""
        return sorted(material.digest(sample.path) for sample in self.samples)


@pytest.fixture(scope="package", autouse=True)
def _tools() -> None:
    if missing := dcmtk.missing():
        pytest.skip(f"DCMTK's {', '.join(missing)} missing; run: apt-get install dcmtk")


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("ward")
    samples: list[Sample] = []
    for number in range(1, STUDIES + 1):
        samples += material.series(IMAGES, folder / "samples", number=number)
    with dcmtk.receiver(folder / "received") as port:
        tables = (
            f'[peers.RECEIVER]\nhost = "127.0.0.1"\nport = {port}\n'
            f'[peers.DEAD]\nhost = "127.0.0.1"\nport = {dcmtk.free_port()}\n'
            '[peers.READER]\nhost = "127.0.0.1"\nport = 104\nallow = ["echo", "find"]\n'
        )
        with LiveNode(folder / "node", tables) as node:
            dcmtk.run("storescu", *dcmtk.address(node.port), *(str(sample.path) for sample in samples))
            yield Ward(node, samples, folder / "received")
