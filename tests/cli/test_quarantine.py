"""``quarantine``: what was set aside is listed, shown, released when it is sound, and dropped when told so."""

from __future__ import annotations

from tests.audit.schema import told
from tests.cli.folder import Folder
from tests.cli.test_study import damage


def scrubbed(archive: Folder) -> str:
    """Let the scrub find a damaged object: its ID in quarantine."""
    damaged = archive.objects()[0]
    damage(damaged)
    assert 3 == archive.run("job", "run", "integrity").exit_code
    return damaged.name


def test_nothing_in_quarantine(archive: Folder) -> None:
    """Where nothing was set aside the list is empty."""
    assert [] == archive.answer("quarantine", "list")


def test_what_was_set_aside(archive: Folder) -> None:
    """The list tells ID, key and reason; ``show`` tells the instance and its history besides."""
    identifier = scrubbed(archive)
    (listed,) = archive.answer("quarantine", "list")
    shown = archive.answer("quarantine", "show", identifier)

    assert identifier == listed["id"] == listed["key"].rpartition("/")[2]
    assert "SHA-256" in listed["reason"]
    assert ("2.25.3.10", True, False) == (shown["uid"], shown["has_row"], shown["verifies"])
    assert [("damaged", "")] == [(finding["kind"], finding["outcome"]) for finding in shown["findings"]]
    assert "SHA-256" in archive.run("quarantine", "show", identifier).stdout


def test_release(archive: Folder) -> None:
    """Only what is as it was stored goes back; then all is well again."""
    identifier = scrubbed(archive)
    refused = archive.run("quarantine", "release", identifier)
    damage(archive.data / "quarantine" / f"{identifier}.dcm")  # once more: as it was
    released = archive.answer("quarantine", "release", identifier)

    assert 1 == refused.exit_code
    assert "stays in quarantine" in refused.stderr
    assert "in_place" == released["outcome"]
    assert 0 == archive.run("verify").exit_code
    assert [] == archive.answer("status")["degraded"]


def test_drop(archive: Folder) -> None:
    """Nothing is dropped without --yes; what is dropped is gone, and its instance stays a finding."""
    identifier = scrubbed(archive)
    refused = archive.run("quarantine", "drop", identifier)
    listed = archive.answer("quarantine", "list")
    dropped = archive.run("quarantine", "drop", identifier, "--yes")

    assert (2, 1) == (refused.exit_code, len(listed))
    assert "--yes" in refused.stderr
    assert (0, []) == (dropped.exit_code, archive.answer("quarantine", "list"))
    assert 3 == archive.run("verify").exit_code


def test_decisions_are_in_the_audit_trail(archive: Folder) -> None:
    """The damage that was found, and what was dropped, with the key; what was refused is not."""
    identifier = scrubbed(archive)
    trail = archive.data / "audit" / "audit.log"
    assert 1 == trail.read_text().count("Stored Object Damaged")
    archive.run("quarantine", "drop", identifier)
    archive.run("quarantine", "drop", identifier, "--yes")

    assert ["Security Alert"] == [message.event for message in told(trail)][-1:]
    assert 1 == trail.read_text().count("dropped from quarantine")


def test_unknown_ids(archive: Folder) -> None:
    """An ID of nothing is an error in one line that tells where to look."""
    result = archive.run("quarantine", "show", "0" * 32)

    assert 1 == result.exit_code
    assert "pacsnode quarantine list" in result.stderr


def test_status_tells_of_damage(archive: Folder) -> None:
    """What is damaged and not repaired is told by ``status``, with counts, until it is."""
    scrubbed(archive)
    status = archive.answer("status")

    assert {"damaged": 1} == status["integrity"]["open"]
    assert ["1 instance is damaged or missing and not repaired; see: pacsnode quarantine list"] == status["degraded"]
