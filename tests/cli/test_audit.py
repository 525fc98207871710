"""``pacsnode audit``: what commands leave on record, how it is checked and shown."""

from __future__ import annotations

from pathlib import Path

from tests.audit.schema import events, told
from tests.cli import folder as files
from tests.cli.folder import Folder


def trail(folder: Folder) -> Path:
    """The file of a folder's trail."""
    return folder.data / "audit" / "audit.log"


def filled(tmp_path: Path) -> Folder:
    """A folder with one imported image."""
    folder = Folder(tmp_path)
    (tmp_path / "one.dcm").write_bytes(files.image())
    folder.run("import", tmp_path / "one.dcm")
    return folder


def test_sound_trail(tmp_path: Path) -> None:
    """A sound trail has exit code 0; JSON tells what was checked."""
    folder = filled(tmp_path)

    assert 0 == folder.run("audit", "verify").exit_code
    answer = folder.answer("audit", "verify")
    assert (2, 1, 1, []) == (answer["records"], answer["messages"], answer["sealed"], answer["findings"])


def test_changed_trail(tmp_path: Path) -> None:
    """A changed byte has exit code 3, and the record is named."""
    folder = filled(tmp_path)
    trail(folder).write_bytes(trail(folder).read_bytes().replace(b"Import", b"Export", 1))

    result = folder.run("audit", "verify")
    assert 3 == result.exit_code
    assert "record 1  altered" in result.stdout
    assert 1 == folder.answer("audit", "verify")["findings"][0]["sequence"]


def test_no_trail(tmp_path: Path) -> None:
    """Where nothing was ever recorded that is said in one line."""
    result = Folder(tmp_path).run("audit", "verify")

    assert 1 == result.exit_code
    assert "signing.pub: cannot be read: No such file or directory" in result.stderr


def test_tail_shows_and_is_recorded(tmp_path: Path) -> None:
    """The last messages are shown, and that somebody looked is on record."""
    folder = filled(tmp_path)

    assert "Import" in folder.run("audit", "tail").stdout
    shown = folder.answer("audit", "tail", "-n", "1")
    assert ["Audit Log Used"] == [word for word in ("Audit Log Used",) if word in shown[0]["message"]]
    assert 1 == len(shown)
    assert {"Import": 1, "Audit Log Used": 2} == events(trail(folder))
    assert 0 == folder.run("audit", "verify").exit_code


def test_what_cannot_be_imported(tmp_path: Path) -> None:
    """What was imported and what was not have a message each."""
    folder = Folder(tmp_path)
    (tmp_path / "good.dcm").write_bytes(files.image())
    (tmp_path / "bad.dcm").write_bytes(b"nonsense" * 100)
    folder.run("import", tmp_path / "good.dcm", tmp_path / "bad.dcm")

    assert [("Import", "0"), ("Import", "4")] == [(one.event, one.outcome) for one in told(trail(folder))]


def test_export_is_recorded(tmp_path: Path) -> None:
    """An export tells of the study and how many instances there were; one that is refused, of nothing."""
    folder = filled(tmp_path)
    folder.run("study", "export", files.STUDY, tmp_path / "out")
    folder.run("study", "export", files.STUDY, tmp_path / "out")

    _, exported = told(trail(folder))
    assert ("Export", files.STUDY, 1) == (exported.event, exported.subjects[0], exported.instances)


def test_no_export_without_a_record(tmp_path: Path) -> None:
    """Where the trail cannot be written nothing is exported."""
    folder = filled(tmp_path)
    (folder.data / "audit" / "signing.key").write_text("no key")

    result = folder.run("study", "export", files.STUDY, tmp_path / "out")
    assert 1 == result.exit_code
    assert "not a private key" in result.stderr
    assert not (tmp_path / "out").exists()
