"""``study``: list, show, export."""

from __future__ import annotations

from pathlib import Path

from tests.cli.folder import STUDY, Folder, data_set, image


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_studies_are_listed(archive: Folder) -> None:
    """The list has the shape that scripts rely on."""
    common = {"patient_id": "ID1", "study_date": "20240131", "modalities": ["CT"], "series": 1}
    size = 2 * len(data_set("2.25.3.10")) + len(data_set("2.25.3.9"))

    assert [
        {"study_uid": STUDY, **common, "instances": 3, "bytes": size},
        {
            "study_uid": "2.25.9",
            **common,
            "instances": 1,
            "bytes": len(data_set("2.25.4.1", study="2.25.9", filling=100)),
        },
    ] == archive.answer("study", "list")


def test_studies_are_listed_for_people(archive: Folder) -> None:
    """The list has a line for each study."""
    lines = archive.run("study", "list").stdout.splitlines()

    assert ["STUDY", STUDY, "2.25.9"] == [line.split()[0] for line in lines]


def test_nothing_stored_is_an_empty_list(folder: Folder) -> None:
    """Before anything was stored the list is empty, and nothing is created."""
    assert [] == folder.answer("study", "list")
    assert not folder.data.exists()


def test_study_is_shown_with_versions(archive: Folder) -> None:
    """Series and instances come in the order of their numbers, versions from the newest."""
    path = archive.path / "source/10.dcm"
    path.write_bytes(image("2.25.3.10", filling=16))
    archive.run("import", path)

    study = archive.answer("study", "show", STUDY)
    (series,) = study["series"]
    versions = {one["instance_uid"]: [version["bytes"] for version in one["versions"]] for one in series["instances"]}

    assert (STUDY, "ID1", "20240131", "CT") == (
        study["study_uid"],
        study["patient_id"],
        study["study_date"],
        series["modality"],
    )
    assert ["2.25.3.9", "2.25.3.10", "2.25.3.11"] == list(versions)
    assert [len(data_set("2.25.3.10", filling=16)), len(data_set("2.25.3.10"))] == versions["2.25.3.10"]
    assert 4 == len(archive.run("study", "show", STUDY).stdout.splitlines())


def test_unknown_study_is_an_error(archive: Folder) -> None:
    """What is not here cannot be shown, exported or verified."""
    message = "pacsnode: no study 1.2 is stored here; see: pacsnode study list\n"
    results = [
        archive.run("study", "show", "1.2"),
        archive.run("study", "export", "1.2", archive.path / "out"),
        archive.run("verify", "--study", "1.2"),
    ]

    assert [(1, message)] * 3 == [(result.exit_code, result.stderr) for result in results]


def test_export_gives_files_that_import_to_the_same(archive: Folder, tmp_path: Path) -> None:
    """Exported files have names of ours, in order, and the very data sets that were stored."""
    out = archive.path / "out"

    answer = archive.answer("study", "export", STUDY, out)
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.dcm"))
    first = (out / "series-001/instance-0001.dcm").read_bytes()

    assert (3, []) == (answer["files"], answer["findings"])
    assert [f"series-001/instance-000{number}.dcm" for number in (1, 2, 3)] == files
    assert first.endswith(data_set("2.25.3.9"))
    assert answer["bytes"] == sum(path.stat().st_size for path in out.rglob("*.dcm"))
    assert 3 == archive.answer("import", out)["already_there"]


def test_export_refuses_a_folder_with_something_in_it(archive: Folder) -> None:
    """Nothing is mixed with what is there."""
    result = archive.run("study", "export", STUDY, archive.path / "source")

    assert 1 == result.exit_code
    assert "is not empty; choose an empty folder, or one that is not there yet" in result.stderr


def test_export_checks_every_digest(archive: Folder) -> None:
    """A damaged or missing object is listed and not written; the others are."""
    gone, damaged, *_ = archive.objects()
    gone.unlink()
    damage(damaged)

    result = archive.run("study", "export", STUDY, archive.path / "out")

    assert 3 == result.exit_code
    assert result.stdout.splitlines()[-1].endswith("2 findings")
    assert 1 == len(list((archive.path / "out").rglob("*.dcm")))
