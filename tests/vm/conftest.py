"""The machine that the tests share: booted once, and pacsnode installed in it as docs/operations.md says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import dcmtk
from tests.vm import guest
from tests.vm.machine import Machine, running
from tests.vm.service import MODALITY, add_peer

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"

_FENCED = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INSTEAD = 1  # the second block tells what comes instead of the last line of the first


def documented() -> list[str]:
    """The commands that install the units with the socket, line by line."""
    section = OPERATIONS.read_text("utf-8").split("\n## systemd\n")[1].split("\n## ")[0]
    alone, sockets = (block.splitlines() for block in _FENCED.findall(section)[:2])
    return [*alone[:-_INSTEAD], *sockets]


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine whose node is ready, on port 104. Skips where it cannot be built: nothing is fetched by a test."""
    if lacks := [*guest.missing(), *dcmtk.missing()]:
        pytest.skip(f"the machine lacks {', '.join(lacks)}; run: make vmtest")
    folder = tmp_path_factory.mktemp("vm")
    with running(guest.build(folder, guest.checkout), folder / "console") as made:
        made.wait_for_shell()
        made.do("ln -s /opt/pacsnode/bin/pacsnode /usr/bin/pacsnode")
        for command in documented():
            made.do(command)
        add_peer(made, MODALITY)
        made.do("systemctl reload pacsnode.service")
        yield made
