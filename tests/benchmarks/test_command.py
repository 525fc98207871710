"""The command line of the benchmarks."""

from __future__ import annotations

import click
import pytest

from benchmarks.__main__ import BENCHMARKS, chosen
from benchmarks.targets import targets


def test_names_by_comma_or_space() -> None:
    """make bench BENCH=retrieve,receive picks these two, in the order of all."""
    assert ["receive", "retrieve"] == chosen(["retrieve,receive"]) == chosen(["retrieve", "receive"])


def test_all_but_those_on_request() -> None:
    """Without names everything runs but what takes very long."""
    assert [name for name in BENCHMARKS if name != "scale"] == chosen([])


def test_unknown_names_are_told() -> None:
    """A typing mistake is an error that names what there is."""
    with pytest.raises(click.UsageError, match="no benchmark recieve; there are receive"):
        chosen(["recieve"])


def test_every_target_names_a_benchmark() -> None:
    """No target waits for a benchmark that does not exist."""
    assert {target.benchmark for target in targets()} <= set(BENCHMARKS)
