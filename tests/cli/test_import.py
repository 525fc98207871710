"""``import``: what is taken in, what is not, and why."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from pacsnode import app
from tests.cli.folder import DICOMDIR, MR, Folder, data_set, image, part10
from tests.dicom.dataset_bytes import REAL_FILES, needs_real_files

NOTE = "the file meta names other UIDs than the data set; the data set's were taken"


def reasons(answer: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {Path(row["path"]).name: row["reason"] for row in answer["not_imported"]}


@pytest.fixture
def source(folder: Folder) -> Path:
    path = folder.path / "source"
    path.mkdir()
    return path


def test_file_is_stored_bit_for_bit(folder: Folder, source: Path) -> None:
    """The data set comes to the store as it is, under a head of ours."""
    (source / "a.dcm").write_bytes(image())

    result = folder.run("import", source / "a.dcm")

    assert (0, "") == (result.exit_code, result.stderr)
    assert "1 stored, 0 already there, 0 repaired, 0 new version, 0 kept first, 0 refused\n" == result.stdout
    assert [True] == [path.read_bytes().endswith(data_set()) for path in folder.objects()]


def test_origin_is_kept(folder: Folder, source: Path) -> None:
    """An imported instance says that it came by import."""
    (source / "a.dcm").write_bytes(image())
    folder.run("import", source)

    with app.open_archive(folder.config, read_only=True) as archive:
        origins = [(one.calling_ae, one.called_ae) for one in archive.index.everything()]

    assert [("IMPORT", "PACSNODE")] == origins


def test_import_again_changes_nothing(archive: Folder) -> None:
    """What is there already is counted, not stored again."""
    before = archive.objects()

    answer = archive.answer("import", archive.path / "source")

    assert (0, 4) == (answer["stored"], answer["already_there"])
    assert before == archive.objects()


def test_other_content_is_a_new_version(archive: Folder) -> None:
    """Other content under a known UID is kept beside the old."""
    path = archive.path / "source/10.dcm"
    path.write_bytes(image("2.25.3.10", filling=16))

    answer = archive.answer("import", path)

    assert (0, 1) == (answer["stored"], answer["new_version"])


@pytest.mark.parametrize(("policy", "outcome"), [("first", "kept_first"), ("reject", "refused")])
def test_other_content_by_policy(tmp_path: Path, policy: str, outcome: str) -> None:
    """The policy for duplicates counts for imports, too."""
    folder = Folder(tmp_path, f'duplicates = "{policy}"\n')
    path = tmp_path / "a.dcm"
    path.write_bytes(image())
    folder.run("import", path)
    path.write_bytes(image(filling=16))

    assert 1 == folder.answer("import", path)[outcome]
    assert 1 == len(folder.objects())


def test_folder_is_walked(folder: Folder, source: Path) -> None:
    """Files of all depths are taken, and links are not followed, so that nothing is read twice or from elsewhere."""
    (source / "deep/er").mkdir(parents=True)
    (source / "deep/er/a").write_bytes(image("2.25.3.1"))
    (source / "b").write_bytes(image("2.25.3.2"))
    (source / "loop").symlink_to(source)
    (source / "link").symlink_to(source / "b")

    answer = folder.answer("import", source)

    assert 2 == answer["stored"]
    assert dict.fromkeys(("link", "loop"), "a symbolic link is not followed") == reasons(answer)


def test_what_is_no_image_is_listed_with_the_reason(folder: Folder, source: Path) -> None:
    """The rest is imported all the same; the exit code says that there are findings."""
    (source / "good.dcm").write_bytes(image())
    (source / "note.txt").write_text("no DICOM")
    (source / "empty").write_bytes(b"")
    (source / "cut.dcm").write_bytes(image()[:-1])
    (source / "mr_presentation.dcm").write_bytes(part10(data_set(sop_class="1.2.3"), sop_class="1.2.3"))

    result = folder.run("import", source)
    answer = folder.answer("import", source)

    assert 3 == result.exit_code
    assert f"{source}/note.txt: no Part 10 file" in result.stdout
    assert {"note.txt", "empty", "cut.dcm", "mr_presentation.dcm"} == reasons(answer).keys()
    assert reasons(answer)["cut.dcm"].startswith("truncated: ")
    assert (
        "SOP class 1.2.3 is not stored here; see [storage] private_sop_classes"
        == reasons(answer)["mr_presentation.dcm"]
    )
    assert 1 == len(folder.objects())


def test_private_class_is_taken_when_configured(tmp_path: Path) -> None:
    """The same SOP classes as for a C-STORE are taken, configured private ones included."""
    folder = Folder(tmp_path, 'private_sop_classes = ["1.2.3"]\n')
    (tmp_path / "a.dcm").write_bytes(part10(data_set(sop_class="1.2.3"), sop_class="1.2.3"))

    assert 1 == folder.answer("import", tmp_path / "a.dcm")["stored"]


@pytest.mark.parametrize(
    ("meta_class", "meta_instance"), [(MR, "2.25.3"), ("1.2.3", "2.25.3"), ("", "2.25.3"), (MR, "2.25.99"), (MR, "x")]
)
def test_data_set_is_right_where_its_file_meta_is_not(
    folder: Folder, source: Path, meta_class: str, meta_instance: str
) -> None:
    """A file whose meta has other UIDs, or none, is stored under those of the data set, with a note."""
    (source / "a.dcm").write_bytes(part10(data_set(), sop_class=meta_class, instance_uid=meta_instance))

    answer = folder.answer("import", source)
    (study,) = folder.answer("study", "list")
    (series,) = folder.answer("study", "show", study["study_uid"])["series"]

    assert (1, [{"path": str(source / "a.dcm"), "note": NOTE}]) == (answer["stored"], answer["notes"])
    assert ["2.25.3"] == [instance["instance_uid"] for instance in series["instances"]]


def test_dicomdir_is_passed_over(folder: Folder, source: Path) -> None:
    """Of a file set the images count; its directory is neither stored nor a finding."""
    (source / "DICOMDIR").write_bytes(part10(b"\x04\0\x00\x12US\x02\0\0\0", sop_class=DICOMDIR))
    (source / "IMG1").write_bytes(image())

    result = folder.run("import", source)

    assert 0 == result.exit_code
    assert 1 == len(folder.objects())


def test_zip_is_read_without_unpacking(folder: Folder, source: Path) -> None:
    """Members of a zip are imported whatever their names are; nothing is written under those names."""
    with zipfile.ZipFile(source / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escaped.dcm", image("2.25.3.1"))
        archive.writestr("folder/", b"")
        archive.writestr("folder/b\x1b.dcm", image("2.25.3.2"))
        archive.writestr("readme", "no DICOM")

    result = folder.run("import", source)

    assert 3 == result.exit_code
    assert "2 stored" in result.stdout
    assert f"{source}/a.zip!readme: no Part 10 file" in result.stdout
    assert ["a.zip"] == [path.name for path in source.iterdir()]
    assert not (folder.path / "escaped.dcm").exists()


def test_damaged_zip_is_a_finding(folder: Folder, source: Path) -> None:
    """A broken zip, or a broken member, costs itself alone."""
    with zipfile.ZipFile(source / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", image("2.25.3.1", filling=1000))
        archive.writestr("b", image("2.25.3.2"))
    content = bytearray((source / "a.zip").read_bytes())
    content[100] ^= 0xFF
    (source / "a.zip").write_bytes(content)
    (source / "b.zip").write_bytes(content[:200])

    answer = folder.answer("import", source)

    assert 1 == answer["stored"]
    assert {"a.zip!a", "b.zip"} == reasons(answer).keys()
    assert all(reason.startswith("cannot be read: ") for reason in reasons(answer).values())


def test_image_that_begins_like_a_zip_is_an_image(folder: Folder, source: Path) -> None:
    """What a preamble holds does not matter where DICM follows it, and it is not stored."""
    (source / "a.dcm").write_bytes(part10(data_set(), preamble=b"PK\x03\x04".ljust(128, b"x")))

    assert 1 == folder.answer("import", source)["stored"]
    assert [bytes(128)] == [path.read_bytes()[:128] for path in folder.objects()]


def test_bomb_ends_at_the_limit(tmp_path: Path) -> None:
    """A zip's member may not be larger than a data set may be, however little it weighs."""
    folder = Folder(tmp_path, '[limits]\ndataset = "1 MiB"\n')
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", image(filling=3 * 2**20))

    answer = folder.answer("import", tmp_path / "bomb.zip")

    assert {"bomb.zip!a": "larger than 1048576 bytes; see [limits] dataset"} == reasons(answer)
    assert [] == folder.objects()
    assert [] == list((folder.data / "spool").rglob("*.part"))


def test_fifo_is_not_waited_for(folder: Folder, source: Path) -> None:
    """Special files are passed over."""
    os.mkfifo(source / "fifo")

    assert {"fifo": "not a regular file"} == reasons(folder.answer("import", source))


def test_running_node_is_to_be_sent_to(folder: Folder, source: Path) -> None:
    """While a node runs, the message says how to get the files in all the same."""
    with app.hold(folder.data):
        result = folder.run("import", source)

    assert 75 == result.exit_code
    assert result.stderr.endswith("stop it or wait, or send to the running node by C-STORE instead\n")


@needs_real_files
def test_real_files_are_imported_or_listed(folder: Folder) -> None:
    """Of real files every one is stored, known already, a directory, or listed with its reason."""
    source = REAL_FILES / "pydicom-bundled"
    count = sum(path.is_file() for path in source.rglob("*"))

    answer = folder.answer("import", source)
    kinds = ("stored", "already_there", "new_version", "refused")

    assert 120 < answer["stored"]
    assert 6 <= len(answer["notes"])
    assert count - 10 <= sum(answer[kind] for kind in kinds) <= count
    assert {"checked": len(folder.objects()), "findings": []} == folder.answer("verify")
