"""``verify``, ``reindex``, ``db`` and ``status``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pacsnode import app
from pacsnode.model import Arrival, Key, Uid
from pacsnode.service import control
from pacsnode.storage import layout
from tests.cli.folder import CT, STUDY, Folder, data_set
from tests.cli.test_study import damage


def key_of(folder: Folder, path: Path) -> str:
    return path.relative_to(folder.data / "objects").as_posix()


def store_without_row(folder: Folder, received_at: datetime) -> Key:
    arrival = Arrival(Uid(CT), Uid("2.25.77"), Uid("1.2.840.10008.1.2.1"), "CT01", "PACSNODE", received_at)
    upload = app.open_store(folder.config, read_only=False).begin(arrival)
    upload.write(data_set("2.25.77"))
    return upload.commit(layout.new_key(received_at, bytes(layout.RANDOM_BYTES))).key


def test_sound_archive_has_no_findings(archive: Folder) -> None:
    """Where all is well the exit code is 0 and the count is that of the objects."""
    result = archive.run("verify")

    assert (0, "4 objects checked, 0 findings\n") == (result.exit_code, result.stdout)
    assert {"checked": 4, "findings": []} == archive.answer("verify", "--all")
    assert {"checked": 3, "findings": []} == archive.answer("verify", "--study", STUDY)


def test_nothing_stored_is_sound(folder: Folder) -> None:
    """Before anything was stored there is nothing to find, and nothing is created."""
    assert {"checked": 0, "findings": []} == folder.answer("verify")
    assert not folder.data.exists()


def test_damage_and_loss_are_found(archive: Folder) -> None:
    """An altered object and a missing one are listed with UID, key and problem; exit code 3."""
    altered, missing = archive.objects()[:2]
    damage(altered)
    missing.unlink()

    result = archive.run("verify")
    answer = archive.answer("verify")
    found = {finding["key"]: finding for finding in answer["findings"]}

    assert (3, 4) == (result.exit_code, answer["checked"])
    assert {key_of(archive, altered), key_of(archive, missing)} == found.keys()
    assert "2.25.3.10" == found[key_of(archive, altered)]["uid"]
    assert "SHA-256" in found[key_of(archive, altered)]["problem"]
    assert "no object" in found[key_of(archive, missing)]["problem"]


def test_verify_changes_nothing(archive: Folder) -> None:
    """What is damaged stays, for people to look at."""
    damage(archive.objects()[0])
    before = [path.read_bytes() for path in archive.objects()]
    archive.run("verify")

    assert before == [path.read_bytes() for path in archive.objects()]


def test_orphan_is_found_when_it_is_old(archive: Folder) -> None:
    """An object without a row is a finding, unless it may just have arrived at a running node."""
    now = datetime.now(UTC)
    store_without_row(archive, now)
    orphan = store_without_row(archive, now - timedelta(hours=1))

    findings = archive.answer("verify")["findings"]

    assert [("2.25.77", orphan)] == [(finding["uid"], finding["key"]) for finding in findings]
    assert findings[0]["problem"].startswith("orphan: ")


def test_second_copy_of_an_indexed_instance_is_told_apart(archive: Folder) -> None:
    """Stored again after a crash lost its row, an instance has two objects: the one without a row is harmless."""
    now = datetime.now(UTC)
    for age in (timedelta(hours=2), timedelta(hours=1)):
        store_without_row(archive, now - age)
    archive.run("reindex")

    (finding,) = archive.answer("verify")["findings"]

    assert "second copy" in finding["problem"]


def test_works_beside_a_running_node(archive: Folder) -> None:
    """What only reads does not ask for the lock."""
    with app.open_archive(archive.config, read_only=False):
        codes = [archive.run(*command).exit_code for command in (("verify",), ("study", "list"), ("status",))]

    assert [0, 0, 0] == codes


def test_reindex_brings_back_a_lost_index(archive: Folder) -> None:
    """Without its index the archive says what to do; the index comes back from the objects alone."""
    before = archive.answer("study", "list")
    (archive.data / "index.db").unlink()

    lost = archive.run("study", "list")
    answer = archive.answer("reindex")

    assert 1 == lost.exit_code
    assert "rebuild it by: pacsnode reindex" in lost.stderr
    assert {"indexed": 4, "findings": []} == answer
    assert before == archive.answer("study", "list")


def test_reindex_keeps_the_old_index(archive: Folder) -> None:
    """The index that was is kept beside the new one."""
    before = (archive.data / "index.db").read_bytes()

    result = archive.run("reindex")

    assert (0, "4 objects indexed, 0 findings\n") == (result.exit_code, result.stdout)
    assert before == (archive.data / "index.db.old").read_bytes()
    assert {"checked": 4, "findings": []} == archive.answer("verify")


def test_reindex_lists_what_cannot_be_read(archive: Folder) -> None:
    """An object that was cut is a finding, and the others are indexed."""
    cut = archive.objects()[0]
    cut.write_bytes(cut.read_bytes()[:-4])

    assert 3 == archive.run("reindex").exit_code
    assert (3, [key_of(archive, archive.objects()[0])]) == (
        (answer := archive.answer("reindex"))["indexed"],
        [finding["key"] for finding in answer["findings"]],
    )


def test_reindex_of_a_ruined_index(archive: Folder) -> None:
    """An index that is no database any more, with a log that fits nothing, is replaced all the same."""
    (archive.data / "index.db").write_bytes(b"ruined" * 1000)
    (archive.data / "index.db-wal").write_bytes(b"stale" * 1000)

    answer = archive.answer("reindex")

    assert {"indexed": 4, "findings": []} == answer
    assert 2 == len(archive.answer("study", "list"))


def test_upgrade_tells_when_there_is_nothing_to_do(archive: Folder) -> None:
    """An index of this version is left as it is."""
    result = archive.run("db", "upgrade")

    assert (0, "the index is up to date\n") == (result.exit_code, result.stdout)


def test_status_counts(archive: Folder) -> None:
    """Status has the shape that scripts rely on."""
    status = archive.answer("status")
    size = sum(study["bytes"] for study in archive.answer("study", "list"))

    never = {name: {"last_success": None, "last_result": None} for name in archive.config.jobs.tables}
    assert (4, 2, size, 0, never, [], False) == tuple(
        status[name] for name in ("instances", "studies", "stored_bytes", "associations", "jobs", "degraded", "running")
    )
    assert status["free_bytes"] > 0


def test_status_before_anything_was_stored(folder: Folder) -> None:
    """Without a data folder all counts are zero, and nothing is created."""
    status = folder.answer("status")

    assert (0, 0, 0) == (status["instances"], status["studies"], status["stored_bytes"])
    assert not folder.data.exists()


@pytest.mark.parametrize("as_json", [True, False])
def test_status_asks_the_running_node(archive: Folder, as_json: bool) -> None:
    """What only the running node knows is its answer."""
    report: dict[str, object] = {"associations": 7, "degraded": ["the disk \x1bis slow"]}
    with control.answering(archive.data, {"status": lambda _: report}):
        output = " ".join(archive.run("status", *["--json"] * as_json).stdout.split())

    assert ('"associations": 7' if as_json else "associations: 7") in output
    assert ('"running": true' if as_json else "running: yes") in output
    assert ("the disk \\u001bis slow" if as_json else "degraded: the disk ?is slow") in output
