"""``study delete``, ``undelete``, ``hold``, ``unhold``, ``deletions``, and the job with a backup, without a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from pacsnode import app
from pacsnode.config import Config
from pacsnode.model import Uid
from pacsnode.retention.records import Deletion, Item, State
from tests.audit.schema import Told, told
from tests.cli.folder import STUDY, Folder, image


def test_delete_and_undelete(archive: Folder) -> None:
    """The study is out of the archive and of a reindex, then back to the byte; what was done is listed."""
    before = {path: path.read_bytes() for path in archive.objects()}
    done = archive.answer("study", "delete", STUDY, "--reason", "sent twice")
    listed = [row["study_uid"] for row in archive.answer("study", "list")]
    reindexed = archive.run("reindex").exit_code
    after = [row["study_uid"] for row in archive.answer("study", "list")]
    verified = archive.answer("verify")
    back = archive.answer("study", "undelete", STUDY)

    assert ("deleted", 3, "sent twice") == (done["state"], done["instances"], done["reason"])
    assert (["2.25.9"], 0, ["2.25.9"]) == (listed, reindexed, after)
    assert {"checked": 1, "findings": []} == verified
    assert (3, 0) == (back["versions"], back["missing"])
    assert before == {path: path.read_bytes() for path in archive.objects()}
    assert {"checked": 4, "findings": []} == archive.answer("verify")
    (row,) = archive.answer("study", "deletions")
    assert ("restored", STUDY) == (row["state"], row["study_uid"])


def test_told_to_the_audit_trail(archive: Folder) -> None:
    """A deletion, its undoing, and the end of the trash: a message each, with patient, reason and operator."""
    begun = len(trail(archive))
    archive.answer("study", "delete", STUDY, "--reason", "sent twice")
    archive.answer("study", "undelete", STUDY)
    archive.answer("study", "delete", STUDY, "--reason", "again")

    messages = trail(archive)[begun:]
    assert ["DICOM Study Deleted", "Import", "DICOM Study Deleted"] == [message.event for message in messages]
    assert "sent twice" in (archive.data / "audit" / "audit.log").read_text()


def test_rehearsed(archive: Folder) -> None:
    """A dry run counts and changes nothing."""
    told = archive.answer("study", "delete", STUDY, "--reason", "test", "--dry-run")

    assert (3, 3, True) == (told["instances"], told["versions"], told["dry_run"])
    assert told["bytes"] > 0
    assert 2 == len(archive.answer("study", "list"))
    assert [] == archive.answer("study", "deletions")


def test_mistakes(archive: Folder) -> None:
    """No reason, an unknown study, nothing in the trash, no hold: one line, and nothing changed."""
    assert 2 == archive.run("study", "delete", STUDY).exit_code
    assert 2 == archive.run("study", "delete", STUDY, "--reason", "  ").exit_code
    for words in (
        ("delete", "2.25.404", "--reason", "test"),
        ("delete", "2.25.404", "--reason", "test", "--dry-run"),
        ("undelete", STUDY),
        ("unhold", STUDY),
    ):
        refused = archive.run("study", *words)
        assert 1 == refused.exit_code
        assert 1 == len(refused.stderr.splitlines())
    assert 2 == len(archive.answer("study", "list"))


def test_hold(archive: Folder) -> None:
    """It is shown, and keeps the study until it is taken off."""
    archive.answer("study", "hold", STUDY, "--reason", "case 7")
    refused = archive.run("study", "delete", STUDY, "--reason", "test", "--yes")
    shown = archive.answer("study", "show", STUDY)["hold"]
    text = archive.run("study", "show", STUDY).stdout
    assert 1 == archive.run("study", "delete", STUDY, "--reason", "test", "--dry-run").exit_code
    archive.answer("study", "unhold", STUDY)

    assert 1 == refused.exit_code
    assert "case 7" in refused.stderr
    assert "case 7" == shown["reason"]
    assert "case 7" in text
    assert archive.answer("study", "show", STUDY)["hold"] is None
    assert 0 == archive.run("study", "delete", STUDY, "--reason", "test").exit_code


def test_gone_by_the_job(tmp_path: Path) -> None:
    """With no grace the next run of the job empties the trash; the tombstone stays."""
    folder = _stored(tmp_path, '[jobs.retention]\ngrace = "0 s"\n')
    folder.answer("study", "delete", STUDY, "--reason", "test")
    rehearsed = folder.answer("job", "run", "retention", "--dry-run")
    report = folder.answer("job", "run", "retention")

    assert 1 == rehearsed["details"]["purged_studies"] == report["done"]
    assert [] == list((folder.data / "trash").iterdir())
    assert "purged" == folder.answer("study", "deletions")[0]["state"]
    assert 1 == folder.run("study", "undelete", STUDY).exit_code


def test_rules_ask_the_backup(tmp_path: Path) -> None:
    """A study goes by a rule only when its every object is sound in the backup, which then sees that it went."""
    (tmp_path / "backup").mkdir()
    table = f'[jobs.retention]\nrules = ["older_than=0 d"]\n[jobs.backup]\ntarget = "file://{tmp_path / "backup"}"\n'
    folder = _stored(tmp_path, table)
    assert 1 == folder.answer("job", "run", "retention")["details"]["studies_not_in_backup"]
    assert 3 == folder.answer("job", "run", "backup")["done"]
    copies = [path for path in (tmp_path / "backup" / "objects").rglob("*") if path.is_file()]
    content = copies[0].read_bytes()
    copies[0].write_bytes(content[:-1] + b"\1")
    damaged = folder.answer("job", "run", "retention")["details"]
    assert (1, 0) == (damaged["studies_not_in_backup"], damaged["deleted_studies"])
    copies[0].write_bytes(content)
    folder.answer("job", "run", "backup")
    rehearsed = folder.answer("job", "run", "retention", "--dry-run")["details"]
    deleted = folder.answer("job", "run", "retention")["details"]

    assert "3 instances" in rehearsed[f"study {STUDY}"]
    assert (1, 3) == (deleted["deleted_studies"], deleted["deleted_instances"])
    assert [] == folder.answer("study", "list")
    folder.answer("job", "run", "backup")
    assert _gone_in_backup(folder.config, folder.data) == 3
    assert 3 == folder.answer("study", "undelete", STUDY)["versions"]
    assert 3 == folder.answer("job", "run", "backup")["done"]


def test_without_a_backup_no_rule_deletes(tmp_path: Path) -> None:
    """Unless that is said."""
    folder = _stored(tmp_path, '[jobs.retention]\nrules = ["older_than=0 d"]\n')
    told = folder.answer("job", "run", "retention")["details"]
    folder.file.write_text(folder.file.read_text() + "require_backup = false\n")

    assert "no backup" in told["note"]
    assert 1 == folder.answer("job", "run", "retention")["details"]["deleted_studies"]


def test_wrong_rule(tmp_path: Path) -> None:
    """It is told by ``config check``, with what a rule looks like."""
    refused = Folder(tmp_path, '[jobs.retention]\nrules = ["modality=CT"]\n').run("config", "check")

    assert 78 == refused.exit_code
    assert "older_than" in refused.stderr + refused.stdout


def trail(archive: Folder) -> list[Told]:
    """What the audit trail has been told."""
    return told(archive.data / "audit" / "audit.log")


def _gone_in_backup(config: Config, data: Path) -> int:
    import apsw

    assert config.jobs.backup.target
    connection = apsw.Connection(str(data / "backup.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(connection.execute("SELECT count(*) FROM object WHERE gone_at IS NOT NULL").get)
    finally:
        connection.close()


def _stored(path: Path, tables: str) -> Folder:
    folder = Folder(path, tables)
    (path / "source").mkdir()
    for number in (1, 2, 3):
        (path / "source" / f"{number}.dcm").write_bytes(image(f"2.25.3.{number}", filling=400))
    assert 0 == folder.run("import", path / "source").exit_code
    return folder


@pytest.mark.parametrize("first", [("reindex",), ("study", "undelete", STUDY), ("job", "run", "housekeeping")])
def test_cut_short_before_the_objects_went(archive: Folder, first: tuple[str, ...]) -> None:
    """Whatever is run first after a kill between rows and objects, the study stays deleted, and can be brought back."""
    config = archive.config
    with app.open_archive(config, read_only=False) as opened, app.deletions(config, opened) as deletions:
        rows, now = opened.index.of_study(Uid(STUDY)), opened.clock()
        begun = Deletion("00" * 8, Uid(STUDY), "test", "admin", now, now, State.DELETING, 0, 0, "", None)
        items = [Item(row.stored.key, row.header.sop_instance_uid, row.stored.digest, row.stored.size) for row in rows]
        deletions.ledger.begin(begun, items)
        opened.index.strike_many([item.key for item in items])
    assert 4 == len(archive.objects())
    (archive.data / "mark").unlink()  # as after a kill: recovery looks at everything

    assert 0 == archive.run(*first).exit_code
    if first[0] != "study":
        assert 1 == len(archive.objects())
        assert ["2.25.9"] == [row["study_uid"] for row in archive.answer("study", "list")]
        assert 3 == archive.answer("study", "undelete", STUDY)["versions"]
    assert {"checked": 4, "findings": []} == archive.answer("verify")
    assert 1 == [message.event for message in trail(archive)].count("DICOM Study Deleted")
