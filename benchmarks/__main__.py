"""``python -m benchmarks [receive,retrieve,…]``: measure pacsnode beside Orthanc and dcmqrscp, in turn."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from benchmarks import (
    associations,
    codec,
    compression,
    flat,
    hostile,
    large_move,
    machine,
    memory,
    query,
    receive,
    report,
    retrieve,
    scale,
    scrub,
    secured,
)
from benchmarks.figures import Figure
from benchmarks.report import Report, Result
from benchmarks.stage import QUICK, Settings, Stage

Benchmark = Callable[[Stage], list[Figure]]

BENCHMARKS: Mapping[str, Benchmark] = {
    "receive": receive.run,
    "tls": secured.run,
    "flat": flat.run,
    "retrieve": retrieve.run,
    "query": query.run,
    "associations": associations.run,
    "memory": memory.run,
    "move": large_move.run,
    "hostile": hostile.run,
    "codec": codec.run,
    "scrub": scrub.run,
    "scale": scale.run,
    "compression": compression.run,
}
_ON_REQUEST = ("scale",)


def chosen(words: Sequence[str]) -> list[str]:
    """The benchmarks named, by words or by commas; without any all but those on request. Raises UsageError."""
    names = [name for word in words for name in word.split(",") if name]
    if unknown := sorted(set(names) - set(BENCHMARKS)):
        raise click.UsageError(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    return [name for name in BENCHMARKS if (name in names if names else name not in _ON_REQUEST)]


@click.command()
@click.argument("names", nargs=-1)
@click.option("--quick", is_flag=True, help="Few instances: proves that it works; the figures say little.")
@click.option("--rounds", type=click.IntRange(1), help="Rounds, in which all servers have their turn.")
@click.option("--flat-instances", type=click.IntRange(100), help="How far the index grows, e.g. 1000000.")
@click.option("--studies", type=click.IntRange(10), help="Studies of the query benchmark, e.g. 20000.")
@click.option("--instances-per-study", type=click.IntRange(2), help="Instances of each of these studies.")
@click.option("--scale-studies", type=click.IntRange(1_000), help="Studies of the scale benchmark.")
@click.option("--hostile-seconds", type=click.IntRange(1), help="How long hostile peers attack each server.")
@click.option("--large-senders", type=click.IntRange(1), help="Senders of the memory benchmark, e.g. 4.")
@click.option(
    "--scratch", type=click.Path(path_type=Path, file_okay=False), default=Path("/var/tmp"), help="Which disk."
)
@click.option("--output", type=click.Path(path_type=Path), default=report.LATEST, help="Where the JSON goes.")
@click.option("--add", is_flag=True, help="Keep the output's results of benchmarks that are not run now.")
def main(names: tuple[str, ...], *, quick: bool, scratch: Path, output: Path, add: bool, **sizes: int | None) -> None:
    """Run the benchmarks named (receive,retrieve,… without names all but scale); print tables, write JSON."""
    picked = chosen(names)
    given = {key: value for key, value in sizes.items() if value is not None}
    settings = replace(QUICK if quick else Settings(), **given)
    kept = report.load(output) if add and output.exists() else None
    progress = Console(stderr=True)
    folder = Path(tempfile.mkdtemp(prefix="pacsnode-bench-", dir=scratch))
    try:
        made = run(picked, Stage(settings, folder, lambda text: progress.print(text, highlight=False)), kept)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.save(made, output)
    report.show(made, Console(width=None if sys.stdout.isatty() else 140))


def run(names: Sequence[str], stage: Stage, kept: Report | None) -> Report:
    """Run one benchmark after the other; together with what is kept of an earlier run.

    Raises UsageError where that was made on another machine or with other versions.
    """
    where, what = machine.describe(stage.folder), machine.versions()
    if kept and (kept.machine, kept.versions) != (where, what):
        raise click.UsageError("the results there are of another machine or other versions; run without --add")
    load, begin = machine.load_average(), machine.CpuTimes.now()
    results = {result.name: result for result in kept.results} if kept else {}
    for name in names:
        results[name] = _measure(name, stage)
    stolen = machine.CpuTimes.now().stolen_percent_since(begin)
    if kept:
        load, stolen = max(load, kept.load_before), max(stolen, kept.stolen_percent)
    return Report(_now(), where, what, load, stolen, tuple(results[name] for name in BENCHMARKS if name in results))


def _measure(name: str, stage: Stage) -> Result:
    date, begin = _now(), time.monotonic()
    figures = BENCHMARKS[name](stage)
    return Result(name, date, time.monotonic() - begin, stage.settings, tuple(figures))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M")


if __name__ == "__main__":
    main()
