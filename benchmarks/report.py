"""Results: as tables on a terminal, and as JSON from which docs/benchmarks.md is made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure, Quantity, find, main_ratio
from benchmarks.stage import Settings
from benchmarks.targets import Verdict, judge

LATEST = Path(__file__).parent / "results" / "latest.json"
_RATIO = "pacsnode is … as good"


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark of a run."""

    name: str
    date: str  # when it began, UTC
    seconds: float
    settings: Settings
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A run."""

    date: str  # when it began, UTC
    machine: dict[str, str]
    versions: dict[str, str]
    load_before: float  # load average before the run: above 0.5, others were at work
    stolen_percent: float  # of the processor time, by the hypervisor
    results: tuple[Result, ...]

    def verdicts(self) -> list[Verdict]:
        """All targets, measured or not."""
        figures = {result.name: result.figures for result in self.results}
        return judge(figures, {result.name: result.settings for result in self.results})


_ADAPTER = TypeAdapter(Report)


def save(report: Report, path: Path = LATEST) -> None:
    """Write the report, with values, ratios and verdicts beside the values they come from."""
    content = asdict(report)
    for result, written in zip(report.results, content["results"], strict=True):
        for figure, entry in zip(result.figures, written["figures"], strict=True):
            ratio = main_ratio(result.figures, figure.cell, figure.subject)
            entry |= {"quantity": figure.quantity.value, "value": figure.value, "pacsnode_times_better": ratio}
    content["targets"] = [
        {
            "promise": verdict.target.promise,
            "demand": verdict.target.demand,
            "measured": verdict.measured,
            "met": verdict.is_met,
            "full_size": verdict.is_full_size,
        }
        for verdict in report.verdicts()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def load(path: Path = LATEST) -> Report:
    """Read what ``save`` wrote."""
    return _ADAPTER.validate_json(path.read_text())


def rows(figures: Sequence[Figure]) -> list[list[str]]:
    """A header and a row for each cell and subject: every quantity's value, and the ratio of the first quantity."""
    quantities = list(dict.fromkeys(figure.quantity for figure in figures))
    lines = [["", "", *(quantity.value for quantity in quantities), _RATIO]]
    for cell, subject in dict.fromkeys((figure.cell, figure.subject) for figure in figures):
        values = [_value(find(figures, cell, subject, quantity)) for quantity in quantities]
        ratio = main_ratio(figures, cell, subject)
        lines.append([cell, subject, *values, "" if ratio is None else f"{ratio:.2f}x"])
    return lines


def verdict_rows(verdicts: Sequence[Verdict]) -> list[list[str]]:
    """A header and a row for each target."""
    lines = [["target", "demand", "measured", ""]]
    lines += [[verdict.target.promise, verdict.target.demand, verdict.value, verdict.word] for verdict in verdicts]
    return lines


def show(report: Report, console: Console) -> None:
    """Print a table for each benchmark, then the targets."""
    for result in report.results:
        console.print(_table(result.name, rows(result.figures)))
    console.print(_table("targets", verdict_rows(report.verdicts())))


def _table(title: str, lines: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title)
    for position, heading in enumerate(lines[0]):
        table.add_column(heading, justify="left" if position == 0 else "right")
    previous = ""
    for line in lines[1:]:
        table.add_row("" if line[0] == previous else line[0], *line[1:])
        previous = line[0]
    return table


def _value(figure: Figure | None) -> str:
    if figure is None:
        return ""
    is_count = figure.quantity.is_failure or figure.quantity is Quantity.MATCHES
    return f"{figure.value:,.0f}" if is_count or figure.value >= 100 else f"{figure.value:.2f}"
