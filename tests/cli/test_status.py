"""``pacsnode status`` for people and for Nagios."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pacsnode import app
from pacsnode.cli import console, nagios
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
    "backup": {"lag_seconds": 90.4, "is_stale": False, "failure": ""},
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
        (
            {"backup": {"lag_seconds": 90.4, "is_stale": False, "failure": "away"}},
            1,
            "the last run of the backup failed",
        ),
        ({"jobs": {"backup": {"last_result": "failed"}}}, 1, "PACSNODE WARNING - job backup failed |"),
    ],
)
def test_nagios(change: dict[str, Any], code: int, words: str) -> None:
    """One line with performance data, and the code that goes with it."""
    verdict = nagios.verdict({**STATUS, **change}, min_free=100)

    assert code == verdict.code
    assert words in verdict.line
    assert 1 == len(verdict.line.splitlines()) == verdict.line.count("|")
    assert re.search(
        r"\| free=\d+B;300:;100: stored=1000B instances=5 associations=2 commitments=0 backup_age=90s$", verdict.line
    )


def test_backup_for_people_and_nagios(archive: Folder, tmp_path: Path) -> None:
    """None, never done, up to date, stale: on a line of its own, and critical where it is stale."""
    told = [_backup_line(archive)]
    (tmp_path / "place").mkdir()
    with archive.file.open("a") as file:
        file.write(f'[jobs.backup]\nenabled = true\ntarget = "file://{tmp_path}/place"\nstale_after = "1 h"\n')
    told.append(_backup_line(archive))
    never = archive.run("status", "--nagios")
    assert 0 == archive.run("backup", "run").exit_code
    told.append(_backup_line(archive))
    with closing(app.backup(archive.config).knowledge()) as knowledge:
        knowledge.keep(as_of=(app.system_clock() - timedelta(days=3, hours=1)).isoformat())
    told.append(_backup_line(archive))
    with control.answering(archive.data, {"status": lambda _: {"jobs": {}}}):
        stale = archive.run("status", "--nagios")

    assert ["none: this node has no backup", "never done, STALE", "0 s old", "3 d old, STALE"] == [
        re.sub(r"^\d s", "0 s", line) for line in told
    ]
    assert [2, 2] == [never.exit_code, stale.exit_code]
    assert "the backup is missing" in never.stdout
    assert "CRITICAL - the backup is 3 d old |" in stale.stdout
    assert re.search(r" backup_age=2\d{5}s$", stale.stdout.strip())


def _backup_line(folder: Folder) -> str:
    """What the first line of the group says."""
    _, _, rest = folder.run("status").stdout.partition("\nbackup\n  state:")
    return rest.splitlines()[0].strip()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (100_000, "27 h"), (172_800, "2 d")],
)
def test_spans(seconds: float, words: str) -> None:
    """In the largest unit of which there are two."""
    assert words == console.span(seconds)


def test_nagios_by_the_command(archive: Folder) -> None:
    """0 beside a running node, 2 without one, 3 where the configuration cannot be read."""
    with control.answering(archive.data, {"status": lambda _: {"jobs": {}}}):
        running = archive.run("status", "--nagios")
    stopped = archive.run("status", "--nagios")
    archive.file.write_text("[nod]")
    unknown = archive.run("status", "--nagios")

    assert [0, 2, 3] == [running.exit_code, stopped.exit_code, unknown.exit_code]
    assert ["OK", "CRITICAL", "UNKNOWN"] == [one.stdout.split()[1] for one in (running, stopped, unknown)]
