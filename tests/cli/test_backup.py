"""``backup run``, ``list``, ``verify``, ``drill`` and ``restore``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pacsnode.service import control
from tests.backup.scene import contents, flip
from tests.cli.folder import Folder, image, run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "place"
    path.mkdir()
    return path


@pytest.fixture
def backed_up(archive: Folder, place: Path) -> Folder:
    """Four instances, in the backup."""
    with archive.file.open("a") as file:
        file.write(f'[jobs.backup]\nenabled = true\ntarget = "file://{place}"\n')
    assert 0 == archive.run("backup", "run").exit_code
    return archive


def test_run(archive: Folder, place: Path) -> None:
    """Run tells what was copied, and which state that is, in the shape that scripts rely on."""
    with archive.file.open("a") as file:
        file.write(f'[jobs.backup]\ntarget = "file://{place}"\n')
    size = sum(path.stat().st_size for path in archive.objects())
    first = archive.answer("backup", "run")
    second = archive.answer("backup", "run")

    assert {"snapshot": "0000000001", "objects_copied": 4, "bytes_copied": size, "failed": 0} == first
    assert {"snapshot": "0000000001", "objects_copied": 0, "bytes_copied": 0, "failed": 0} == second


def test_damaged_here(backed_up: Folder) -> None:
    """An object that is damaged here is a finding: exit code 3."""
    (backed_up.path / "new.dcm").write_bytes(image("2.25.5.1", study="2.25.5"))
    before = set(backed_up.objects())
    backed_up.run("import", backed_up.path / "new.dcm")
    (new,) = set(backed_up.objects()) - before
    new.write_bytes(new.read_bytes()[:-1] + b"\1")

    assert 3 == backed_up.run("backup", "run").exit_code


def test_list(backed_up: Folder) -> None:
    """List tells each state with its time."""
    (state,) = backed_up.answer("backup", "list")

    assert ("0000000001", True, 0) == (state["snapshot"], state["has_snapshot"], state["pending"])
    assert "0000000001" in backed_up.run("backup", "list").stdout


def test_verify_and_drill(backed_up: Folder, place: Path) -> None:
    """A sound backup has no findings; with a flipped bit the exit code is 3, and the file is named."""
    sound = [backed_up.run("backup", verb).exit_code for verb in ("verify", "drill")]
    (index,) = place.glob("snapshots/*index.db.gz")
    flip(index)
    verified, drilled = backed_up.run("backup", "verify", "--all", "--json"), backed_up.run("backup", "drill")

    assert [0, 0] == sound
    assert (3, 3) == (verified.exit_code, drilled.exit_code)
    assert index.name in verified.stdout


def test_restore_from_nothing(backed_up: Folder, place: Path, tmp_path: Path) -> None:
    """With nothing but the target there is a whole node, with its configuration, under any configuration or none."""
    before = contents(backed_up.data)
    shutil.rmtree(backed_up.data)
    (tmp_path / "none.toml").write_text("")
    back = tmp_path / "back"
    restored = run("--config", tmp_path / "none.toml", "backup", "restore", "--to", back, "--target", f"file://{place}")
    verified = run("--config", back / "pacsnode.toml", "verify")
    gone_on = run("--config", back / "pacsnode.toml", "backup", "run")

    assert 0 == restored.exit_code
    assert before == contents(back)
    assert (0, "4 objects checked, 0 findings\n") == (verified.exit_code, verified.stdout)
    assert (0, "0 objects copied, 0.0 MiB; 0 damaged\n") == (gone_on.exit_code, gone_on.stdout)


def test_not_over_anything(backed_up: Folder) -> None:
    """A folder that holds something is refused in one line and left as it is; a time that is none is a usage error."""
    before = contents(backed_up.data)
    refused = backed_up.run("backup", "restore", "--to", backed_up.data)
    wrong = backed_up.run("backup", "restore", "--to", backed_up.path / "new", "--at", "yesterday")
    early = backed_up.run("backup", "restore", "--to", backed_up.path / "new", "--at", "2001-01-01")

    assert (1, 2, 1) == (refused.exit_code, wrong.exit_code, early.exit_code)
    assert "is not empty" in refused.stderr
    assert 1 == refused.stderr.count("\n")
    assert "no snapshot from before" in early.stderr
    assert before == contents(backed_up.data)


def test_no_target(archive: Folder) -> None:
    """Without a target every verb says which key is missing: exit code 78."""
    results = [
        archive.run("backup", *verb) for verb in (["run"], ["list"], ["verify"], ["drill"], ["restore", "--to", "x"])
    ]

    assert [78] * 5 == [result.exit_code for result in results]
    assert all("[jobs.backup] target" in result.stderr for result in results)


def test_adopt(backed_up: Folder) -> None:
    """A node that has lost backup.db is told what to run; after that it goes on."""
    for path in backed_up.data.glob("backup.db*"):
        path.unlink()
    refused = backed_up.run("backup", "run")

    assert (1, True) == (refused.exit_code, "--adopt" in refused.stderr)
    assert 0 == backed_up.run("backup", "run", "--adopt").exit_code


def test_status(backed_up: Folder, place: Path) -> None:
    """Status tells how the backup stands; one that is stale degrades the node."""
    fresh = backed_up.answer("status")
    backed_up.file.write_text(backed_up.file.read_text() + 'stale_after = "1 ms"\n')
    stale = backed_up.answer("status")
    place.rename(place.with_name("away"))
    backed_up.run("backup", "run")
    failed = backed_up.answer("status")

    assert ([], "") == (fresh["degraded"], fresh["backup"]["failure"])
    assert 1 == len(stale["degraded"])
    assert "mount it" in failed["backup"]["failure"]
    assert "mount it" in backed_up.run("status").stdout


def test_jobs(backed_up: Folder) -> None:
    """The jobs do the same by name, and report."""
    (backed_up.path / "new.dcm").write_bytes(image("2.25.5.1", study="2.25.5"))
    backed_up.run("import", backed_up.path / "new.dcm")
    assert None is control.ask(backed_up.data)
    reports = {name: backed_up.answer("job", "run", name) for name in ("backup", "backup_verify", "backup_drill")}

    assert [1, 0] == [reports["backup"][key] for key in ("done", "failed")]
    assert 0 == reports["backup_verify"]["failed"]
    assert reports["backup_verify"]["done"] > 0
    assert (4, 0) == (reports["backup_drill"]["done"], reports["backup_drill"]["failed"])
