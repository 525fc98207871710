"""Whatever fails at the target is one clear error; the node goes on, and so does the next run. With kills anywhere."""

from __future__ import annotations

import contextlib
import errno
import io
import multiprocessing
import os
import random
import secrets
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pacsnode.backup import bucket, encryption
from pacsnode.backup.backup import NodeBackup, open_target
from pacsnode.backup.bucket import BucketTarget
from pacsnode.backup.folder import FolderTarget
from pacsnode.backup.jobs import BackupJob
from pacsnode.backup.restore import UNFINISHED
from pacsnode.backup.settings import Settings, Sources
from pacsnode.config.jobs import Backup
from pacsnode.errors import BackupFailure, ConfigError
from pacsnode.jobs.budget import RunBudget
from pacsnode.storage.calls import FileSystem
from tests.backup.scene import Scene, contents
from tests.backup.seaweed import Seaweed

KILLS = int(os.environ.get("PACSNODE_BACKUP_KILLS", "12"))


class FailingDisk(FileSystem):
    """Fails with one error from the given write on."""

    def __init__(self, number: int, good_writes: int = 0) -> None:
        self.number = number
        self.left = good_writes

    def write(self, descriptor: int, content: bytes | memoryview) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(descriptor, content)

    def create(self, path: Path) -> int:
        if self.number == errno.EROFS:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return super().create(path)


@pytest.mark.parametrize(
    ("number", "told"), [(errno.ENOSPC, "is full"), (errno.EROFS, "Read-only"), (errno.EIO, "Input/output error")]
)
def test_a_folder_that_fails(scene: Scene, number: int, told: str) -> None:
    """A full, a read-only, a broken disk: a line says so; what was copied before stays, and the next run goes on."""
    scene.receive(5)
    sound = scene.vault
    failing = FolderTarget(scene.place, FailingDisk(number, good_writes=4))
    scene.vault = type(sound)(failing, sound.encryption, sound.scratch)
    with pytest.raises(BackupFailure, match=told) as error:
        scene.run()
    scene.vault = sound
    scene.run()

    assert "\n" not in str(error.value)
    assert [] == scene.verify().findings
    assert [] == list((scene.place / "drafts").iterdir())


class Racing(FileSystem):
    """Somebody else is a moment faster."""

    def link(self, source: Path, target: Path) -> None:
        target.write_bytes(b"theirs")
        super().link(source, target)


class WithoutLinks(FileSystem):
    """Such as FAT on a USB disk."""

    def link(self, source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def test_who_comes_second_writes_nothing(tmp_path: Path) -> None:
    """Two writers of one name at one time: the first one's bytes stay."""
    assert not FolderTarget(tmp_path, Racing()).put("one", io.BytesIO(b"ours"))
    assert b"theirs" == (tmp_path / "one").read_bytes()


def test_a_disk_without_links(tmp_path: Path) -> None:
    """Names are given once there, too."""
    target = FolderTarget(tmp_path, WithoutLinks())
    outcomes = [target.put("one", io.BytesIO(content)) for content in (b"first", b"second")]

    assert [True, False] == outcomes
    assert b"first" == (tmp_path / "one").read_bytes()


def test_a_folder_that_is_away(tmp_path: Path) -> None:
    """A disk that is not mounted is not filled from below."""
    with pytest.raises(BackupFailure, match="is not there; mount it"):
        FolderTarget(tmp_path / "mnt")


@pytest.mark.parametrize(
    "target",
    ["", "mnt/backup", "file://server/mnt", "ftp://server/x", "s3:///x", "file:relative", "http://x/y"],
)
def test_no_target(target: str) -> None:
    """What is no place for a backup is a mistake of the configuration."""
    with pytest.raises(ConfigError, match=r"\[jobs.backup\] target"):
        open_target(Backup(target=target))


@pytest.mark.parametrize("content", ["", "hello", "AGE-SECRET-KEY-1WRONG", "age1wrong", "\xff"])
def test_no_key(tmp_path: Path, content: str) -> None:
    """A file without a key is a mistake of the configuration; so is one that is missing."""
    path = tmp_path / "key"
    with pytest.raises(ConfigError, match="key_file"):
        encryption.load(path)
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError, match="age-keygen"):
        encryption.load(path)


def test_a_failed_job_waits(scene: Scene) -> None:
    """After a failure the schedule asks in vain for a while; then it is tried again. Figures tell of it."""
    scene.receive(2)
    table = Backup(enabled=True, target=f"file://{scene.root}/away", stale_after=3600.0)
    backup = NodeBackup(table, scene.data, sources=Sources(scene.data / "index.db"), verify_pass=1e6, drill_objects=9)
    seconds = [0.0]
    with scene.archive() as archive:
        job = BackupJob(backup, archive, monotonic=lambda: seconds[0])
        with pytest.raises(BackupFailure, match="mount it"):
            job.run(RunBudget())
        waited = job.run(RunBudget())
        before = backup.figures(scene.clock())
        (scene.root / "away").mkdir()
        seconds[0] = 61.0
        done = job.run(RunBudget())
    after = backup.figures(scene.clock())
    late = backup.figures(scene.clock() + timedelta(hours=2))

    assert (1, 0, 2) == (waited.skipped, waited.done, done.done)
    assert before.is_stale
    assert "mount it" in before.failure
    assert ("", False, True) == (after.failure, after.is_stale, late.is_stale)


def in_bucket(seaweed: Seaweed, folder: Path, *, secret: str | None = None, seconds: float = 20.0) -> BucketTarget:
    """A prefix of its own, with good credentials, or with this secret."""
    folder.mkdir(exist_ok=True)
    credentials = seaweed.credentials(folder, secret) if secret else seaweed.credentials(folder)
    options = bucket.options("s3", endpoint=seaweed.endpoint, region="us-east-1", credentials=credentials)
    return BucketTarget(f"s3://backup/{secrets.token_hex(8)}", options, retry_seconds=seconds)


def test_from_a_bucket_and_back(seaweed: Seaweed, tmp_path: Path) -> None:
    """Run, verify, restore with a real S3 server: everything is back, and nothing is found wrong."""
    scene = Scene(tmp_path, target=in_bucket(seaweed, tmp_path / "s3"))
    scene.receive(30)
    first = scene.run()
    scene.receive(3)
    second = scene.run()
    findings = scene.verify().findings
    done = scene.restore(tmp_path / "back")

    assert (30, 3) == (first.copied, second.copied)
    assert ([], []) == (findings, done.findings)
    assert contents(scene.data) == contents(tmp_path / "back")


def test_wrong_credentials(seaweed: Seaweed, tmp_path: Path) -> None:
    """A line that says whose they are and where to look."""
    scene = Scene(tmp_path, target=in_bucket(seaweed, tmp_path / "s3", secret="wrong"))
    scene.receive(1)

    with pytest.raises(BackupFailure, match=r"refuses our credentials.*credentials_file") as error:
        scene.run()
    assert "\n" not in str(error.value)


def test_nobody_listens(tmp_path: Path) -> None:
    """A store that cannot be reached is told after a while, in a line."""
    options = bucket.options("s3", endpoint="http://127.0.0.1:1", region="us-east-1", credentials=None)
    options |= {"access_key_id": "x", "secret_access_key": "x"}
    scene = Scene(tmp_path, target=BucketTarget("s3://backup/x", options, retry_seconds=0.5))
    scene.receive(1)

    with pytest.raises(BackupFailure, match=r"s3://backup/x failed") as error:
        scene.run()
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_the_server_is_killed(tmp_path: Path) -> None:
    """The S3 server dies in the middle of a run and comes back: that run or the next one completes, all is sound."""
    with Seaweed(tmp_path / "server") as server:
        scene = Scene(tmp_path / "node", target=in_bucket(server, tmp_path / "s3"))
        scene.receive(200, rows=32)
        killed = threading.Event()

        def told(done: int, total: int | None) -> None:
            if done >= 64 and not killed.is_set():
                server.kill()
                killed.set()
                again.start()

        again = threading.Thread(target=server.start)
        with contextlib.suppress(BackupFailure):
            scene.run(RunBudget(told=told))
        again.join()
        scene.run()
        findings = scene.verify().findings
        scene.restore(tmp_path / "back")

    assert killed.is_set()
    assert [] == findings
    assert contents(scene.data) == contents(tmp_path / "back")


def killed_within(work: Callable[[], object], seconds: float) -> bool:
    """Do it in a process that ends at once after so many seconds: was it still at work?"""

    def doomed() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process as SIGKILL does: nothing of ours runs
        signal.setitimer(signal.ITIMER_REAL, seconds)
        work()
        os._exit(0)

    process = multiprocessing.get_context("fork").Process(target=doomed)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGALRM)
    return process.exitcode != 0


@pytest.mark.timeout(60 + 10 * KILLS)
def test_runs_that_are_killed(tmp_path: Path) -> None:
    """Killed at any point, with instances coming and going between: the next run completes, and nothing is lost."""
    scene = Scene(tmp_path)
    chance = random.Random(1)
    began = time.monotonic()
    scene.receive(40)
    scene.run()
    within = time.monotonic() - began
    killed = cycle = 0
    while killed < KILLS:
        keys = scene.receive(chance.randrange(5, 30))
        scene.clock.ahead = timedelta(hours=13 * cycle)  # every other run makes a snapshot
        was_killed = killed_within(scene.run, chance.uniform(0.001, within))
        within *= 1.1 if was_killed else 0.8  # some 7 in 10 are caught at work, at any point, however quick the machine
        killed, cycle = killed + was_killed, cycle + 1
        with scene.archive() as archive:
            archive.index.strike(keys[0])
            archive.store.delete(keys[0])
        if chance.random() < 0.5:
            scene.run()
            assert [] == scene.verify().findings
    scene.run()
    findings = scene.verify().findings
    done = scene.restore(tmp_path / "back")

    assert ([], []) == (findings, done.findings)
    assert contents(scene.data)[0] == contents(tmp_path / "back")[0]


@pytest.mark.timeout(60 + 10 * KILLS)
def test_restores_that_are_killed(tmp_path: Path) -> None:
    """Killed at any point, again and again: the next call goes on, and in the end everything is there."""
    scene = Scene(tmp_path)
    scene.receive(60)
    scene.run()
    scene.receive(20)
    scene.run()
    began = time.monotonic()
    scene.restore(tmp_path / "first")
    within = time.monotonic() - began
    chance = random.Random(2)
    killed = cycle = 0
    while killed < KILLS:
        back = tmp_path / f"back{cycle}"
        while not (back / "index.db").exists() or (back / UNFINISHED).exists():
            was_killed = killed_within(lambda back=back: scene.restore(back), chance.uniform(0.001, within))  # type: ignore[misc]
            within *= 1.1 if was_killed else 0.8
            killed += was_killed

        assert contents(scene.data) == contents(back)
        cycle += 1


class AppendOnly(FileSystem):
    """What has its name can be removed no more."""

    def unlink(self, path: Path) -> None:
        if path.parent.name != "drafts":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        super().unlink(path)


def test_an_append_only_target(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What may not be removed stays, which is told, but is no error; it is tried again a day later."""
    place = tmp_path / "append"
    place.mkdir()
    scene = Scene(tmp_path, target=FolderTarget(place, AppendOnly()), settings=Settings(deletion_grace=3600.0))
    keys = scene.receive(2)
    scene.run()
    with scene.archive() as archive:
        archive.index.strike(keys[0])
        archive.store.delete(keys[0])
    scene.run()
    scene.clock.ahead = timedelta(hours=2)
    first = scene.run()
    scene.clock.ahead = timedelta(hours=4)
    second = scene.run()

    assert (0, 1, 0) == (first.dropped, first.refused, second.refused)
    assert 1 == caplog.text.count("event=backup_kept")
    assert 2 == len(list(place.rglob("objects/*/*")))
    assert [] == scene.verify().findings
