"""A short run of each fuzz target; ``make fuzz`` has the long one. ``PACSNODE_FUZZ_SECONDS`` is for each (10)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fuzz.run import NAMES, ROOT, command

SECONDS = float(os.environ.get("PACSNODE_FUZZ_SECONDS", "10"))
AT_A_TIME = 2
# libFuzzer limits the peak of the process, and a child begins with the peak of who starts it: a shell's is small.
IN_A_SHELL = ("sh", "-c", '"$@"; exit $?', "sh")
START_SECONDS = 100.0  # to import everything instrumented, on a busy machine

Runs = dict[str, Future[subprocess.CompletedProcess[str]]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """All targets, two at a time."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not here; there are wheels of it for CPython on Linux, on x86-64 and aarch64")
    folder = tmp_path_factory.mktemp("fuzz")
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {name: pool.submit(_run, name, folder / name) for name in NAMES}
        pool.shutdown(cancel_futures=True)


def _run(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*IN_A_SHELL, *command(name, folder, SECONDS)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS + START_SECONDS,
    )


@pytest.mark.slow
@pytest.mark.timeout(len(NAMES) * (SECONDS + START_SECONDS))
@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_declared_errors(runs: Runs, name: str) -> None:
    """Mutated inputs are read or refused by a declared error, within seconds and a gibibyte."""
    done = runs[name].result()

    assert 0 == done.returncode, done.stdout[-6000:]
    assert "stat::number_of_executed_units" in done.stdout
