"""The ceilings of receiving: nodes that do not sync, and two nodes instead of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import ceilings
from benchmarks.ceilings import INDEX, STORE
from benchmarks.stage import Settings, Stage


def test_every_contender_in_every_cell(tmp_path: Path) -> None:
    """One association cannot be shared by two nodes; else all have their row, the node as it is with the ratio 1."""
    table = ceilings.measure(Stage(Settings(rounds=1, ct_instances=8, mr_instances=8), tmp_path))
    cells, names, rates, ratios = (list(column.cells) for column in table.columns)

    assert {"CT, 1 association", "CT, 4 associations", "MR, 1 association", "MR, 4 associations"} == set(cells)
    assert ["CT, 4 associations", "MR, 4 associations"] == [
        cell for cell, name in zip(cells, names, strict=True) if name == "two nodes"
    ]
    assert {"1.00 (1.00, 1.00)"} == {ratio for name, ratio in zip(names, ratios, strict=True) if name == "pacsnode"}
    assert all(float(str(rate).replace(",", "")) > 0 for rate in rates)


_TELL = """
from pathlib import Path
from benchmarks import ceilings
from pacsnode import cli
from pacsnode.index.connection import connection_of, open_writer, pragma
from pacsnode.storage.calls import FileSystem

def tell():
    try:
        FileSystem().sync(-1)
    except ValueError:  # that is no descriptor
        print("store", end=" ")
    if pragma(connection_of(open_writer(Path("index.db"))), "synchronous"):
        print("index")

cli.main = tell
ceilings.serve()
"""


@pytest.mark.parametrize(("left_out", "synced"), [("", ["store", "index"]), (STORE, ["index"]), (INDEX, ["store"])])
def test_what_is_not_synced(tmp_path: Path, left_out: str, synced: list[str]) -> None:
    """Such a node leaves out the syncs it is told to, and no others."""
    environment = {**os.environ, ceilings.UNSYNCED: left_out, "PYTHONPATH": str(Path(__file__).parents[2])}
    told = subprocess.run(
        [sys.executable, "-c", _TELL], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )

    assert synced == told.stdout.split()
