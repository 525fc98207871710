"""What ``pacsnode status`` tells of compression."""

from __future__ import annotations

import re

import pytest

from pacsnode.cli import console
from tests.cli.folder import Folder
from tests.compression.scene import KINDS, image


@pytest.fixture
def compressed(folder: Folder) -> Folder:
    """Two images that were compressed, and one that was not."""
    folder.file.write_text(folder.file.read_text() + '[jobs.compression]\nolder_than = "0 s"\n')
    for number, kind in enumerate((KINDS[0], KINDS[0], KINDS[14]), 1):
        path = folder.path / f"{number}.dcm"
        path.write_bytes(image(kind, number))
        assert 0 == folder.run("import", path).exit_code
    return folder


def test_nothing_was_compressed(folder: Folder) -> None:
    """Before the first run there are zeros, and nothing is created."""
    told = folder.answer("status")["compression"]

    assert (0, 0, 0, [], {}) == tuple(
        told[key] for key in ("instances", "bytes_before", "bytes_after", "by_codec_and_modality", "left_alone")
    )
    assert not folder.data.exists()


def test_what_was_gained(compressed: Folder) -> None:
    """The job's report and the status tell bytes before and after, by codec and modality, and what was left and why."""
    rehearsed = compressed.answer("job", "run", "compression", "--dry-run")
    report = compressed.answer("job", "run", "compression")
    told = compressed.answer("status")["compression"]

    assert (2, 1, 0, True) == tuple(report[key] for key in ("done", "skipped", "failed", "finished"))
    assert (2, 1) == (rehearsed["done"], rehearsed["skipped"])
    assert rehearsed["bytes_before"] - rehearsed["bytes_after"] == rehearsed["details"]["estimated bytes saved"]
    assert (2, report["bytes_before"], report["bytes_after"]) == tuple(
        told[key] for key in ("instances", "bytes_before", "bytes_after")
    )
    (kind,) = told["by_codec_and_modality"]
    assert ("htj2k", "CT", 2) == (kind["codec"], kind["modality"], kind["instances"])
    assert {"1 bit to a pixel": 1} == told["left_alone"]
    before, after = console.size(report["bytes_before"]), console.size(report["bytes_after"])
    line = re.compile(f"^  htj2k CT: +2 instances, {before} before, {after} after, ratio", re.MULTILINE)
    assert line.search(compressed.run("status").stdout)
    assert {"checked": 3, "findings": []} == compressed.answer("verify")
