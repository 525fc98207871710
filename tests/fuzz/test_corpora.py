"""The seeds of the fuzz targets, without a fuzzer: each is read or refused, and together they reach the parsers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz.run import CORPORA, NAMES, ROOT
from tests.fuzz.targets import LARGEST_INPUT_BYTES, TARGETS

LEAST_PERCENT = 90
LONGEST_SECONDS = 5.0  # for one input: hundreds of times what any takes, however busy the machine is
LARGEST_CORPUS_BYTES = 400_000


def seeds(name: str) -> list[Path]:
    return sorted((CORPORA / name).iterdir())


def replay(name: str) -> None:
    """Run a target on its seeds; the whole of a measured process."""
    for seed in seeds(name):
        TARGETS[name](seed.read_bytes())


def test_every_target_has_seeds() -> None:
    """A folder for each target, and a target for each folder."""
    assert sorted(TARGETS) == sorted(NAMES)
    assert all(seeds(name) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_seeds_raise_nothing_else(name: str) -> None:
    """Each seed is read, or refused by a declared error, in no time; what once found a defect is among them."""
    for seed in seeds(name):
        began = time.monotonic()
        try:
            TARGETS[name](seed.read_bytes())
        except Exception as error:
            raise AssertionError(f"{seed} raises {type(error).__name__}: {error}") from error

        assert time.monotonic() - began < LONGEST_SECONDS, seed


@pytest.mark.parametrize("name", NAMES)
def test_corpora_are_small(name: str) -> None:
    """No seed is longer than an input may be, and the whole stays fit for a repository."""
    sizes = [seed.stat().st_size for seed in seeds(name)]

    assert max(sizes) <= LARGEST_INPUT_BYTES
    assert sum(sizes) <= LARGEST_CORPUS_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_seeds_reach_the_parsers(name: str, tmp_path: Path) -> None:
    """The seeds of a target alone run 90 % of the lines of the parsers it is there for."""
    environment = {**os.environ, "COVERAGE_FILE": str(tmp_path / "coverage")}
    measure = ["run", "--data-file", str(tmp_path / "coverage"), "--include", "pacsnode/*"]
    program = f"from tests.fuzz.test_corpora import replay; replay({name!r})"
    (tmp_path / "replay.py").write_text(program)
    environment["PYTHONPATH"] = str(ROOT)
    subprocess.run(
        [sys.executable, "-m", "coverage", *measure, str(tmp_path / "replay.py")],
        cwd=ROOT,
        env=environment,
        check=True,
        timeout=100,
    )
    for step in (["combine", "-q"], ["json", "-q", "-o", str(tmp_path / "report.json")]):
        subprocess.run([sys.executable, "-m", "coverage", *step], cwd=ROOT, env=environment, check=True, timeout=60)
    files = json.loads((tmp_path / "report.json").read_text())["files"]
    percents = {parser: _percent(files[f"pacsnode/{parser}"]["summary"]) for parser in TARGETS[name].parsers}

    assert {} == {parser: percent for parser, percent in percents.items() if percent < LEAST_PERCENT}


def _percent(summary: dict[str, int]) -> float:
    """Of lines; a report counts branches, too."""
    return 100 * summary["covered_lines"] / summary["num_statements"]
