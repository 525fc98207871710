"""What compression replaced is kept until the backup has the new object for sure, as the jobs are put together."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pacsnode import app, config
from pacsnode.archive import Archive
from pacsnode.dicom import part10
from pacsnode.jobs.runner import Runner
from pacsnode.model import Arrival, Key, Uid
from tests.cli.folder import Folder
from tests.compression.scene import KINDS, image

COUNT = 3


@dataclass
class Stage:
    """A node's archive and its jobs."""

    archive: Archive
    jobs: Runner

    def run(self, *names: str) -> None:
        """Run these jobs, one after the other."""
        for name in names:
            assert 0 == self.jobs.run_by_hand(name, lambda done, total: None).failed

    def receive(self) -> set[Key]:
        """Store images; the keys of their objects."""
        for number in range(COUNT):
            data = image(KINDS[0], number + 1)
            head = part10.read_foreign_head(io.BytesIO(data))
            uids = head.sop_class_uid, Uid(head.sop_instance_uid), Uid(head.transfer_syntax_uid)
            with self.archive.receive(Arrival(*uids, "CT01", "PACSNODE", self.archive.clock())) as ingest:
                ingest.write(data[head.offset :])
                ingest.commit()
        return set(self.archive.store.keys())

    @property
    def current(self) -> set[Key]:
        """The keys that the index has."""
        return set(self.archive.index.keys())


@contextmanager
def stage(tmp_path: Path, tables: str) -> Iterator[Stage]:
    folder = Folder(tmp_path, f'[jobs.compression]\nolder_than = "0 s"\n{tables}')
    loaded = config.load(folder.file)
    with app.open_archive(loaded, read_only=False) as archive, app.engaged_jobs(loaded, archive) as (jobs, _):
        yield Stage(archive, jobs)


@pytest.fixture
def backed_up(tmp_path: Path) -> Iterator[Stage]:
    (tmp_path / "target").mkdir()
    with stage(tmp_path, f'[jobs.backup]\nenabled = true\ntarget = "file://{tmp_path / "target"}"\n') as made:
        yield made


def test_kept_until_the_backup_has_read_it_again(backed_up: Stage) -> None:
    """Copied is not enough: the next run after the copy was read again removes the original, and no run before."""
    originals = backed_up.receive()
    backed_up.run("backup", "compression", "compression")
    assert originals.isdisjoint(backed_up.current)
    assert originals | backed_up.current == set(backed_up.archive.store.keys())

    backed_up.run("backup", "compression")
    assert originals < set(backed_up.archive.store.keys())
    backed_up.run("backup_verify", "compression")
    assert backed_up.current == set(backed_up.archive.store.keys())


def test_a_damaged_copy_does_not_count(backed_up: Stage, tmp_path: Path) -> None:
    """The original stays while the copy is not what was put there, and goes when it was made and read anew."""
    originals = backed_up.receive()
    backed_up.run("compression", "backup")
    for path in (tmp_path / "target" / "objects").rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[:-1] + b"?")
    backed_up.jobs.run_by_hand("backup_verify", lambda done, total: None)
    backed_up.run("compression")
    assert originals < set(backed_up.archive.store.keys())

    backed_up.run("backup", "compression")
    assert originals < set(backed_up.archive.store.keys())
    backed_up.run("backup_verify", "compression")
    assert backed_up.current == set(backed_up.archive.store.keys())


def test_kept_while_the_target_is_away(backed_up: Stage, tmp_path: Path) -> None:
    """What was in the backup need not be there any more when its disk is not."""
    originals = backed_up.receive()
    backed_up.run("compression", "backup", "backup_verify")
    (tmp_path / "target").rename(tmp_path / "away")
    backed_up.run("compression")
    assert originals < set(backed_up.archive.store.keys())

    (tmp_path / "away").rename(tmp_path / "target")
    backed_up.run("compression")
    assert backed_up.current == set(backed_up.archive.store.keys())


def test_without_a_backup_they_go_at_once(tmp_path: Path) -> None:
    """There is nothing to wait for."""
    with stage(tmp_path, "") as alone:
        alone.receive()
        alone.run("compression")
        assert alone.current == set(alone.archive.store.keys())


@pytest.mark.parametrize(
    ("tables", "note"),
    [
        ("", ""),
        ('[jobs.compression]\nkeep_original = "none"\n', ""),
        ('[jobs.compression]\nkeep_original = "until-backup"\n', "originals go at once"),
        ('[jobs.compression]\nkeep_original = "until-backup"\n[jobs.backup]\ntarget = "file:///mnt"\n', "not enabled"),
        (
            '[jobs.compression]\nkeep_original = "until-backup"\n[jobs.backup]\ntarget = "file:///mnt"\nenabled = true',
            "",
        ),
    ],
)
def test_config_check_tells_what_has_no_effect(tables: str, note: str, tmp_path: Path) -> None:
    """Who asks for originals to be kept hears where no backup will ever have the new ones."""
    result = Folder(tmp_path, tables).run("config", "check")

    assert 0 == result.exit_code
    assert note in result.stderr
    assert bool(note) == bool(result.stderr)
