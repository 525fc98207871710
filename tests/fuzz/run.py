"""``make fuzz``: libFuzzer, by atheris, on one target or on all of them, two at a time.

What is new goes to a folder for each target, which the next run begins with, beside the seeds in ``corpora``. An input
that finds a defect is written there, too, as ``crash-…``, ``timeout-…`` or ``oom-…``.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CORPORA = Path(__file__).parent / "corpora"
ROOT = Path(__file__).parents[2]
NAMES = tuple(sorted(folder.name for folder in CORPORA.iterdir() if folder.is_dir()))
_AT_A_TIME = 2
_LONGEST_SECONDS = 5  # for one input; what takes a hundredth of that is worth a look already
_MOST_MIB = 1024
_INSTRUMENTED = ("pacsnode.wire", "pacsnode.dicom", "pacsnode.config", "pacsnode.dimse.negotiation", "tomllib")


def command(name: str, folder: Path, seconds: float) -> Sequence[str]:
    """The command that fuzzes one target; it exits 0 when no defect was found."""
    folder.mkdir(parents=True, exist_ok=True)
    return (sys.executable, "-m", "tests.fuzz.run", name, "--folder", str(folder), "--seconds", str(seconds))


def _fuzz(name: str, folder: Path, seconds: int) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=list(_INSTRUMENTED)):
        targets = importlib.import_module("tests.fuzz.targets")
    settings = {
        "max_total_time": seconds,
        "max_len": targets.LARGEST_INPUT_BYTES,
        "timeout": _LONGEST_SECONDS,
        "rss_limit_mb": _MOST_MIB,
        "artifact_prefix": f"{folder}/",
        "print_final_stats": 1,
    }
    arguments = [f"-{key}={value}" for key, value in settings.items()]
    atheris.Setup([name, str(folder), str(CORPORA / name), *arguments], targets.TARGETS[name])
    atheris.Fuzz()


def _fuzz_all(folder: Path, seconds: float) -> int:
    """Report one line for each target: how many found a defect."""

    def one(name: str) -> bool:
        done = subprocess.run(
            command(name, folder / name, seconds), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        runs = [line for line in done.stdout.splitlines() if line.startswith("stat::number_of_executed_units")]
        print(f"{name}: {done.stdout if done.returncode else ''.join(runs)}", flush=True)
        return done.returncode != 0

    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return sum(pool.map(one, NAMES))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="?", choices=NAMES, help="all, when none is named")
    parser.add_argument("--seconds", type=float, default=600.0, help="for each target")
    parser.add_argument("--folder", type=Path, default=ROOT / ".fuzz", help="where to keep what is found")
    chosen = parser.parse_args()
    if chosen.target:
        _fuzz(chosen.target, chosen.folder, int(chosen.seconds))
    sys.exit(1 if _fuzz_all(chosen.folder, chosen.seconds) else 0)
