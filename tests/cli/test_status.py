"""``pacsnode status`` for people and for Nagios."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pacsnode.cli import nagios
from pacsnode.service import control
from tests.cli.folder import Folder

STATUS: dict[str, Any] = {
    "running": True,
    "instances": 5,
    "stored_bytes": 1000,
    "free_bytes": 10**9,
    "associations": 2,
    "open_commitments": 0,
    "degraded": [],
    "days_until_full": None,
    "jobs": {"integrity": {"last_result": "done"}},
}


def test_for_people(archive: Folder) -> None:
    """Four groups, aligned, no longer than a screen; sizes and days that a person reads."""
    lines = archive.run("status").stdout.splitlines()
    archive_lines = {line.split(":")[0].strip(): line for line in lines if line.startswith("  ")}

    assert ["node", "archive", "backup", "jobs"] == [line for line in lines if not line.startswith(" ")]
    assert len(lines) < 30
    assert all(" " == line[21] != line[22] for line in lines if line.startswith("  ") and len(line.split(":")[0]) < 20)
    assert re.search(r"free: +[0-9.]+ [TGMK]iB, full in [0-9]+ days at [0-9]+ B a day", archive_lines["free"])
    assert re.search(r"instances: +4$", archive_lines["instances"])


def test_growth_in_json(archive: Folder) -> None:
    """Bytes by the day, from what came in the last 30, and the days until the mark."""
    status = archive.answer("status")

    assert round(status["stored_bytes"] / 30) == status["bytes_per_day"]
    assert status["free_bytes"] / (status["stored_bytes"] / 30) == pytest.approx(status["days_until_full"], rel=0.1)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({}, 0, "PACSNODE OK - 5 instances, 2 associations | free=1000000000B;"),
        ({"running": False}, 2, "the node does not run"),
        ({"degraded": ["a|b\nc"]}, 2, "PACSNODE CRITICAL - a/b c |"),
        ({"free_bytes": 99}, 2, "99 bytes are free, nothing is stored"),
        ({"free_bytes": 250}, 1, "250 bytes are free"),
        ({"days_until_full": 3.2}, 1, "full in 3 days"),
        ({"jobs": {"backup": {"last_result": "failed"}}}, 1, "PACSNODE WARNING - job backup failed |"),
    ],
)
def test_nagios(change: dict[str, Any], code: int, words: str) -> None:
    """One line with performance data, and the code that goes with it."""
    verdict = nagios.verdict({**STATUS, **change}, min_free=100)

    assert code == verdict.code
    assert words in verdict.line
    assert 1 == len(verdict.line.splitlines()) == verdict.line.count("|")
    assert re.search(r"\| free=\d+B;300:;100: stored=1000B instances=5 associations=2 commitments=0$", verdict.line)


def test_nagios_by_the_command(archive: Folder) -> None:
    """0 beside a running node, 2 without one, 3 where the configuration cannot be read."""
    with control.answering(archive.data, {"status": lambda _: {"jobs": {}}}):
        running = archive.run("status", "--nagios")
    stopped = archive.run("status", "--nagios")
    archive.file.write_text("[nod]")
    unknown = archive.run("status", "--nagios")

    assert [0, 2, 3] == [running.exit_code, stopped.exit_code, unknown.exit_code]
    assert ["OK", "CRITICAL", "UNKNOWN"] == [one.stdout.split()[1] for one in (running, stopped, unknown)]
