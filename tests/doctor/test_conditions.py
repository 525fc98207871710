"""What the doctor finds: each condition, made for real where that can be, else given as the value it looks at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pacsnode import app
from pacsnode.doctor import growth, installation
from pacsnode.doctor.examination import examine
from pacsnode.doctor.finding import Finding
from pacsnode.index import connection
from pacsnode.integrity.findings import Kind
from pacsnode.jobs.record import Result
from pacsnode.model import Key
from pacsnode.service import control
from tests.backup.scene import flip
from tests.certificates import Trust
from tests.cli.folder import Folder, image

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
OF_THIS_MACHINE = {"clock", "file_system"}
"""What is so or not wherever the tests run."""
PEER = '[peers.CT01]\nhost = "127.0.0.1"\nport = 104\nexpected_every = "1 d"\n'


def found(folder: Folder, code: int = 3) -> dict[str, dict[str, Any]]:
    """The findings of ``pacsnode doctor`` by name, without those of this machine."""
    findings = folder.answer("doctor")["findings"]
    assert code == folder.run("doctor").exit_code
    return {one["name"]: one for one in findings if one["name"] not in OF_THIS_MACHINE}


def examined(folder: Folder, now: datetime) -> list[dict[str, Any]]:
    """The findings at another time."""
    findings = [asdict(one) for one in examine(folder.config, now)]
    return [one for one in findings if one["name"] not in OF_THIS_MACHINE]


def names(findings: Iterator[Finding]) -> list[str]:
    """Of these findings; each has its sentences."""
    kept = list(findings)
    assert all(finding.problem and finding.remedy for finding in kept)
    return [finding.name for finding in kept]


def made(path: Path, tables: str) -> Folder:
    """A node with these tables and one instance, which came a moment ago."""
    folder = Folder(path, tables)
    (path / "one.dcm").write_bytes(image())
    assert 0 == folder.run("import", path / "one.dcm").exit_code
    return folder


def test_a_sound_node(archive: Folder) -> None:
    """Of a new installation on loopback there is only to say that it has no backup."""
    assert {"no_backup"} == set(found(archive))


def test_before_anything_was_stored(folder: Folder) -> None:
    """It works without a data folder, and creates nothing."""
    assert {"no_backup"} == set(found(folder))
    assert not folder.data.exists()


@pytest.mark.parametrize(
    ("listen", "unknown", "expected"),
    [
        ("0.0.0.0:104", "accept", True),
        ("0.0.0.0:104", "auto", False),
        ("127.0.0.1:104", "accept", False),
    ],
)
def test_unsafe_listener(tmp_path: Path, listen: str, unknown: str, expected: bool) -> None:
    """A plain port beyond this machine that takes anybody."""
    folder = Folder(tmp_path, f'[access]\nunknown_peers = "{unknown}"\n')
    folder.file.write_text(folder.file.read_text().replace("[node]\n", f'[node]\nlisten = "{listen}"\n'))

    assert expected == ("unsafe_listener" in found(folder))


def test_unknown_callers_and_what_the_node_says(archive: Folder) -> None:
    """Who knocks, who speaks plain text, and why the disk is not trusted: the running node knows."""
    row = {"ae_title": "CT\x1b9", "address": "10.0.0.9"}
    status: dict[str, object] = {"degraded": ["fsync of a file failed"], "plain_text": ["OLD at 10.0.0.8"]}
    answers: control.Answers = {"status": lambda _: status, "pending": lambda _: {"pending": [row]}}
    with control.answering(archive.data, answers):
        findings, text = found(archive), archive.run("doctor").stdout

    assert {"no_backup", "unknown_caller", "plain_text", "degraded"} == set(findings)
    assert "CT?9 at 10.0.0.9" in text
    assert "    see who they are: pacsnode peer pending" in text


def test_certificate(tmp_path: Path) -> None:
    """One that ends soon."""
    trust = Trust.made(tmp_path / "tls")
    trust.issue("node", now=datetime.now(UTC) - timedelta(days=800))
    (tmp_path / "node").mkdir()

    assert "expires in 24 days" in found(Folder(tmp_path / "node", trust.tables()))["certificate"]["problem"]


def test_silent_peer(tmp_path: Path) -> None:
    """A modality that has sent nothing for longer than it may; one that has is not named."""
    folder = made(tmp_path, PEER)
    silent = found(folder)
    with app.open_archive(folder.config, read_only=True) as archive:
        (sender,) = archive.index.senders("")
    folder.file.write_text(f'{folder.file.read_text()}ae_title = "{sender}"\n')

    assert "nothing has come from CT01 for 1 d" == silent["silent_peer"]["problem"]
    assert "silent_peer" not in found(folder)


def test_failed_and_unfinished_jobs(archive: Folder) -> None:
    """A job whose last run failed, and one that was begun and never ended."""
    with (
        app.open_archive(archive.config, read_only=False) as opened,
        app.engaged_jobs(archive.config, opened) as (jobs, _),
    ):
        run = jobs.ledger.begin_by_hand("housekeeping", NOW)
        jobs.ledger.finish(run, Result.FAILED, NOW, report=None, reason="the disk is gone")
        jobs.ledger.begin_by_hand("integrity", NOW)
    findings = found(archive)

    assert "the last run of job housekeeping failed: the disk is gone" == findings["failed_job"]["problem"]
    assert "job integrity was begun on 2026-05-04" in findings["unfinished_job"]["problem"]


def test_open_findings_of_the_scrub(archive: Folder) -> None:
    """An object that is damaged and not repaired."""
    with app.open_integrity(archive.config) as ledger:
        ledger.findings.enter(Kind.DAMAGED, Key("2026/01/01/00/" + "0" * 32), "gone", NOW)

    assert "1 instance is damaged or missing" in found(archive)["integrity"]["problem"]


def test_file_modes(archive: Folder) -> None:
    """A data folder that everybody may enter."""
    archive.data.chmod(0o755)

    assert f"chmod o-rwx {archive.data}" == found(archive)["file_mode"]["remedy"]


def test_secrets(tmp_path: Path) -> None:
    """A private key that the group may write, or others read."""
    trust = Trust.made(tmp_path / "tls")
    trust.issue("node")
    (tmp_path / "node").mkdir()
    (trust.folder / "node.key").chmod(0o644)

    assert "is a secret" in found(Folder(tmp_path / "node", trust.tables()))["file_mode"]["problem"]


def test_index_that_is_missing(archive: Folder) -> None:
    """Objects without an index."""
    (archive.data / "index.db").unlink()

    assert "pacsnode reindex" in found(archive)["index"]["remedy"]


def test_little_space(archive: Folder) -> None:
    """Less than three times the mark is free."""
    archive.file.write_text(archive.file.read_text().replace('"0 B"', '"900000 TiB"'))

    assert "bytes are free" in found(archive)["space"]["problem"]


def test_full_soon() -> None:
    """The disk is full within two weeks as things come; not said where they come slowly, or not at all."""
    said = [names(installation.little_space(10**9, 10**6, days)) for days in (5.0, 60.0, None)]

    assert [["space"], [], []] == said


def test_growth(archive: Folder) -> None:
    """Of real arrivals: what came in the last 30 days, by the day."""
    with app.open_archive(archive.config, read_only=True) as opened:
        now = opened.clock()
        size = opened.index.totals().stored_bytes
        rate, later = (growth.bytes_per_day(opened.index, now + timedelta(days=days)) for days in (0, 40))
        left = growth.days_left(opened.index, size, now)
        newest = opened.index.arrivals("", 1)

    assert size / 30 == pytest.approx(rate)
    assert 0.0 == later
    assert 30 == pytest.approx(left)
    assert 1 == newest[0]


@pytest.mark.parametrize(("version", "expected"), [("3.40.1", ["sqlite"]), ("3.51.2", ["sqlite"]), ("3.51.3", [])])
def test_vulnerable_sqlite(version: str, expected: list[str]) -> None:
    """Those with the WAL-reset bug; not the one that is used."""
    assert expected == names(installation.library(version))
    assert [] == names(installation.library(connection.library_version()))


@pytest.mark.parametrize(("kind", "expected"), [("nfs4", True), ("tmpfs", True), ("ext4", False), ("", False)])
def test_file_system(kind: str, expected: bool) -> None:
    """A network's, or one that a restart empties."""
    assert expected == ("file_system" in names(installation.file_system(Path("/data"), kind)))


def test_clock() -> None:
    """Not synchronised; where nobody can tell, nothing is said. The kernel gives an answer or none."""
    assert [["clock"], [], []] == [names(installation.clock(state)) for state in (False, True, None)]
    assert installation.clock_is_synchronised() in (True, False, None)


@pytest.fixture
def backed_up(archive: Folder, tmp_path: Path) -> Folder:
    """A node whose backup is complete, but was never restored."""
    (tmp_path / "place").mkdir()
    with archive.file.open("a") as file:
        file.write(f'[jobs.backup]\nenabled = true\ntarget = "file://{tmp_path}/place"\n')
    assert 0 == archive.run("backup", "run").exit_code
    return archive


def test_no_backup(archive: Folder) -> None:
    """The remedy names the table."""
    assert "[jobs.backup]" in found(archive)["no_backup"]["remedy"]


def test_backup_without_a_drill(backed_up: Folder) -> None:
    """Until a drill has brought it back well; then all is well."""
    before = found(backed_up)
    assert 0 == backed_up.run("backup", "drill").exit_code

    assert {"no_drill"} == set(before)
    assert {} == {one["name"]: one for one in examined(backed_up, app.system_clock())}


def test_stale_backup(backed_up: Folder, tmp_path: Path) -> None:
    """One that is older than stale_after, or was never made; and why, where that is known."""
    assert 0 == backed_up.run("backup", "drill").exit_code
    (tmp_path / "place").rename(tmp_path / "elsewhere")
    (tmp_path / "place").touch()
    assert 0 != backed_up.run("backup", "run").exit_code
    failed = examined(backed_up, app.system_clock())
    later = examined(backed_up, app.system_clock() + timedelta(days=2))
    (backed_up.data / "backup.db").unlink()

    assert ["failed_backup"] == [one["name"] for one in failed]
    assert "stale_backup" in [one["name"] for one in later]
    assert "no backup was made yet" in found(backed_up)["stale_backup"]["problem"]


def test_drill_that_is_long_ago(backed_up: Folder) -> None:
    """A weekly drill that was missed twice."""
    assert 0 == backed_up.run("backup", "drill").exit_code
    names_at = [
        {one["name"] for one in examined(backed_up, app.system_clock() + timedelta(days=days))} for days in (6, 15)
    ]

    assert [False, True] == ["no_drill" in names for names in names_at]


def test_failed_drill(backed_up: Folder, tmp_path: Path) -> None:
    """A drill that brought back something else."""
    for file in (tmp_path / "place").rglob("*"):
        if file.is_file() and "objects" in file.parts:
            flip(file)
    backed_up.run("job", "run", "backup_drill")

    assert "the last drill found" in found(backed_up)["failed_drill"]["problem"]


def test_damaged_trail(archive: Folder) -> None:
    """A record of the audit trail that was changed."""
    path = archive.data / "audit" / "audit.log"
    path.write_bytes(path.read_bytes().replace(b"Import", b"Export", 1))

    assert "altered" in found(archive)["audit_damaged"]["problem"]


def test_trail_that_cannot_be_written(archive: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of another user: who runs the tests may be root, whom nothing is refused, so the answer is given."""
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)

    assert "cannot be written" in found(archive)["audit_not_writable"]["problem"]


@pytest.mark.parametrize(("requires", "words"), [("true", "delete nothing"), ("false", "delete the only copy")])
def test_rules_without_a_backup(tmp_path: Path, requires: str, words: str) -> None:
    """Rules that delete where there is no backup."""
    folder = Folder(tmp_path, f'[jobs.retention]\nrules = ["older_than=10 y"]\nrequire_backup = {requires}\n')

    assert words in found(folder)["retention"]["problem"]
