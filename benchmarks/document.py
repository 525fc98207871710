"""``python -m benchmarks.document``: writes docs/benchmarks.md from the latest results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from benchmarks import report
from benchmarks.report import Report, Result, rows, verdict_rows
from benchmarks.stage import Settings
from benchmarks.targets import NOT_MEASURED

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_UNREACHED = Path(__file__).parent / "unreached.md"
_BUSY_LOAD = 0.5
_BUSY_STOLEN_PERCENT = 1.0

_TITLES = {
    "receive": "Receiving (C-STORE)",
    "tls": "Receiving by TLS 1.3, beside plain text",
    "flat": "Receiving while the index grows",
    "retrieve": "Retrieving (C-GET, C-MOVE)",
    "query": "Querying (C-FIND)",
    "associations": "Associations",
    "memory": "Memory",
    "move": "A very large C-MOVE",
    "hostile": "Beside hostile peers",
    "codec": "Codecs, with verification",
    "scrub": "Integrity scrub, beside SHA-256 alone",
    "compression": "Compression",
    "scale": "Querying a million studies",
}

_METHOD = """\
Everything runs on loopback of one machine, load generator included. The servers of a benchmark run side by side,
with data folders of their own on the same disk, and have their turn one after the other in every round; a figure is
the median of the rounds, and how many times as good pacsnode is the median of the ratios within each round.
Absolute figures move by a factor of two from day to day; the ratios are what counts. The peers run as Debian
packages them, with the largest PDU they allow; pacsnode runs with its defaults. `make bench` repeats this,
`benchmarks/servers.py` holds every setting.

What a Success means differs: pacsnode has synced the file, its directory and the index by then; Orthanc the file
only; dcmqrscp nothing. What is retrieved was stored just before and is in the page cache, but for the CT instances of
pacsnode, which writes past it: they come from the disk in the first round.

CT is 512x512x16 bit (525 kB), MR 128x128x16 bit (34 kB), of noise, in studies of 400 and series of 100. Senders set
TCP_NODELAY, hand a message over in one call and acknowledge at once (TCP_QUICKACK), so that the server is measured
and not the kernel's 40 ms for a late acknowledgement; rows that say "default socket options" do none of this, as
many modalities do. The raw limit is write, fdatasync, rename and directory fsync of as many bytes without network,
digest and index.

Hostile peers: 500 connections that send half a PDU header, 50 that announce PDUs of up to 4 GiB, 20 that vanish at
every stage, 100 TCP clients that are silent on the TLS port (on the plain one, where a server has one port only), each
back after half a second. Beside them modalities echo and store, an association for each, and give up after 10 s. The
servers are attacked one after the other; pynetdicom is its storage SCP as its documentation has it, with 8 GiB of
address space at most."""


def page(made: Report) -> str:
    """The whole page."""
    parts = [
        "# Benchmarks",
        "This page is the output of `python -m benchmarks.document`, made from the results of `make bench`.",
        _METHOD,
        "## Where and when",
        _facts(made),
        "## Targets",
        _markdown(verdict_rows(made.verdicts())),
        "## What is missed, and why",
        _UNREACHED.read_text().strip(),
        "Not measured by any benchmark yet:",
        "\n".join(f"- {promise}" for promise in NOT_MEASURED),
        *(_section(result) for result in made.results),
    ]
    return "\n\n".join(parts) + "\n"


def _facts(made: Report) -> str:
    machine = ", ".join(f"{key} {value}" for key, value in made.machine.items())
    versions = ", ".join(f"{key} {value}" for key, value in made.versions.items())
    is_shared = made.load_before > _BUSY_LOAD or made.stolen_percent > _BUSY_STOLEN_PERCENT
    sharing = "The machine was shared with other work" if is_shared else "The machine did nothing else"
    return "\n".join(
        [
            f"- {made.date} UTC",
            f"- Machine: {machine}",
            f"- Versions: {versions}",
            f"- {sharing}: load average before the run {made.load_before:.2f}, "
            f"time given to other virtual machines {made.stolen_percent:.1f} %.",
        ]
    )


def _section(result: Result) -> str:
    changed = [
        f"{field.name} = {getattr(result.settings, field.name):,}"
        for field in fields(Settings)
        if getattr(result.settings, field.name) != field.default
    ]
    note = f"{result.date} UTC, {result.seconds:.0f} s, {result.settings.rounds} rounds."
    if changed:
        note += f" Other than by default: {', '.join(changed)}."
    return f"## {_TITLES[result.name]}\n\n{note}\n\n{_markdown(rows(result.figures))}"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    header, *body = lines
    rule = ["---", *(["--:"] * (len(header) - 1))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *body))


if __name__ == "__main__":
    PAGE.write_text(page(report.load()))
