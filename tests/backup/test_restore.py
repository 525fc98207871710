"""A node comes back from its backup alone, as it was."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pyrage
import pytest

from pacsnode.archive import Archive
from pacsnode.backup import encryption
from pacsnode.backup.backup import NodeBackup, NodeCopies
from pacsnode.backup.database import Knowledge
from pacsnode.backup.restore import UNFINISHED, Restore
from pacsnode.backup.settings import Sources
from pacsnode.backup.vault import Vault
from pacsnode.config.jobs import Backup
from pacsnode.errors import BackupDamaged, BackupFailure, NotInBackup
from pacsnode.index import schema
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.storage.filesystem import FilesystemStore
from tests.backup.scene import Scene, contents, flip


def sealed(scene: Scene, root: Path, text: str) -> Vault:
    """The vault of a scene with another key."""
    key = root / "key.txt"
    key.write_text(f"# created by a test\n{text}\n")
    return Vault(scene.target, encryption.load(key), scene.vault.scratch)


def test_everything_is_back(scene: Scene) -> None:
    """Objects byte by byte, the index row by row: what came after the snapshot, too, and without what went."""
    keys = scene.receive(8)
    scene.run()
    scene.receive(4)
    with scene.archive() as archive:
        archive.index.strike(keys[2])
        archive.store.delete(keys[2])
    scene.run()
    back = scene.root / "back"
    done = scene.restore(back)

    with closing(SqliteIndex(back / "index.db")) as index, scene.archive() as archive:
        assert archive.index.here().identity != index.here().identity
    assert [] == done.findings
    assert (11, 2) == (done.objects, done.point)
    assert contents(scene.data) == contents(back)
    assert not (back / UNFINISHED).exists()


def test_what_the_objects_do_not_tell(scene: Scene) -> None:
    """Other databases come back, too, and the configuration, with the folder where it is now."""
    scene.receive(1)
    with closing(Knowledge(scene.data / "jobs.db")) as some:
        some.keep(what="only here")
    scene.config = '[node]\nae_title = "HERE"\ndata = "/old"\nindex = "/fast"\n[peers.A]\nhost = "data = "\n'
    scene.run()
    back = scene.root / "back"
    scene.restore(back)
    with closing(Knowledge(back / "jobs.db")) as some:
        kept = some.fact("what")

    assert "only here" == kept
    expected = f'[node]\nae_title = "HERE"\ndata = "{back}"\nindex = ""\n[peers.A]\nhost = "data = "\n'
    assert expected == (back / "pacsnode.toml").read_text()
    assert ["lock"] == [path.name for path in scene.vault.scratch.iterdir()]


def test_as_it_was_then(scene: Scene) -> None:
    """With a time, everything that was stored before the run then, and nothing that came later."""
    keys = scene.receive(3)
    scene.run()
    then = contents(scene.data)
    moment = scene.clock()
    scene.clock.ahead = timedelta(hours=1)
    scene.receive(3)
    with scene.archive() as archive:
        archive.index.strike(keys[0])
        archive.store.delete(keys[0])
    scene.run()
    scene.restore(scene.root / "back", moment)

    assert then == contents(scene.root / "back")
    with pytest.raises(NotInBackup, match="no snapshot from before"):
        scene.restore(scene.root / "never", moment - timedelta(days=1))


def test_the_restored_node_goes_on(scene: Scene) -> None:
    """The next run of a restored node copies what is new, and nothing again."""
    scene.receive(3)
    scene.run()
    shutil.rmtree(scene.data / "objects")
    scene.restore(scene.root / "back")
    scene.data = scene.root / "back"
    (scene.data / "backup").mkdir()
    scene.vault = Vault(scene.target, scene.vault.encryption, scene.data / "backup")
    scene.receive(2)
    done = scene.run()

    assert (2, 2) == (done.copied, done.point)
    assert [] == scene.verify().findings


def test_index_before_objects(scene: Scene) -> None:
    """Queries are answered when the index is back, while the objects are still to come."""
    scene.receive(6)
    scene.run()
    back = scene.root / "back"
    made = Restore(Vault(scene.target, scene.vault.encryption, scene.root), back, clock=scene.clock)
    made.index()
    with closing(SqliteIndex(back / "index.db", read_only=True)) as index:
        instances = index.totals().instances

    assert 6 == instances
    assert [] == [path for path in (back / "objects").rglob("*") if path.is_file()]


def test_stopped_and_gone_on(scene: Scene) -> None:
    """A restore that was stopped goes on with what is missing; of another place it refuses the folder."""
    scene.receive(6)
    scene.run()
    back = scene.root / "back"
    Restore(Vault(scene.target, scene.vault.encryption, scene.root), back, clock=scene.clock).index()
    scene.receive(1)
    scene.run()
    done = scene.restore(back)

    assert (6, 1) == (done.objects, done.point)
    with pytest.raises(BackupFailure, match="not empty"):
        scene.restore(back)


def test_killed_before_it_had_begun(scene: Scene) -> None:
    """What a restore leaves that was killed while it wrote its note is in nobody's way, and goes in the end."""
    scene.receive(1)
    scene.run()
    back = scene.root / "back"
    back.mkdir()
    (back / f".{UNFINISHED}.0123456789abcdef.part").write_bytes(b"{")
    scene.restore(back)

    assert [] == [path.name for path in back.iterdir() if path.name.startswith(".")]


def test_a_folder_with_something_in_it(scene: Scene) -> None:
    """Nothing is ever restored over anything."""
    scene.receive(1)
    scene.run()

    with pytest.raises(BackupFailure, match="is not empty"):
        scene.restore(scene.data)
    with pytest.raises(NotInBackup, match="there is no backup"):
        Scene(scene.root / "empty").restore(scene.root / "nowhere")


def test_newer_schema(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup of a newer program is refused with the version that is needed."""
    scene.receive(1)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + 1)
    with pytest.raises(Exception, match="older than this program"):
        scene.run()
    monkeypatch.undo()
    with monkeypatch.context() as patched:
        patched.setattr("pacsnode.backup.snapshot.schema.SCHEMA_VERSION", schema.SCHEMA_VERSION)
        scene.run()
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION - 1)

    with pytest.raises(BackupFailure, match=r"schema 4, this program knows 3; use pacsnode .* or newer"):
        scene.restore(scene.root / "back")


@pytest.mark.parametrize("lost", ["damaged", "missing"])
def test_lost_index(scene: Scene, lost: str) -> None:
    """Where the backup's index is damaged or missing, it is built anew from the objects; a finding tells."""
    scene.receive(5)
    scene.run()
    (packed,) = scene.place.glob("snapshots/*.index.db.gz")
    if lost == "damaged":
        flip(packed)
    else:
        packed.unlink()
    done = scene.restore(scene.root / "back")

    assert 1 == len(done.findings)
    assert contents(scene.data) == contents(scene.root / "back")


def test_lost_objects(scene: Scene) -> None:
    """What is damaged or missing in the backup is told; all the rest comes back."""
    scene.receive(5)
    scene.run()
    first, second = sorted(scene.place.rglob("objects/*/*"))[:2]
    flip(first)
    second.unlink()
    done = scene.restore(scene.root / "back")

    assert (3, 2) == (done.objects, len(done.findings))
    assert 3 == len(contents(scene.root / "back")[0])


def test_damaged_manifest(scene: Scene) -> None:
    """Where the newest manifest or its list is damaged, the state before it is restored."""
    scene.receive(3)
    scene.run()
    then = contents(scene.data)
    scene.receive(1)
    scene.run()
    scene.receive(1)
    scene.run()
    flip(scene.place / "manifests" / "0000000003.json")
    lists = sorted(scene.place.glob("lists/*"), key=lambda path: path.stat().st_mtime)
    flip(lists[-2])
    done = scene.restore(scene.root / "back")

    assert 1 == done.point
    assert then == contents(scene.root / "back")


def test_sealed(scene: Scene, tmp_path: Path) -> None:
    """What is sealed tells nothing to who lacks the identity, and comes back with it."""
    identity = pyrage.x25519.Identity.generate()
    scene.vault = sealed(scene, tmp_path, str(identity.to_public()))
    keys = scene.receive(4)
    scene.run()
    content = b"".join(path.read_bytes() for path in scene.files())
    findings = scene.verify().findings
    with pytest.raises(BackupFailure, match="recipient only"):
        scene.restore(scene.root / "without")
    scene.vault = sealed(scene, tmp_path, str(pyrage.x25519.Identity.generate()))
    with pytest.raises(BackupFailure, match="another key"):
        scene.restore(scene.root / "wrong")
    scene.vault = sealed(scene, tmp_path, str(identity))
    scene.restore(scene.root / "back")

    assert [] == findings
    assert b"Test^Patient" not in content
    assert contents(scene.data) == contents(scene.root / "back")
    assert len(keys) == len(list(scene.place.rglob("objects/*/*.age")))


def test_sealed_files_open_without_us(scene: Scene, tmp_path: Path) -> None:
    """An object in the backup is an age file: any program for that format gives the DICOM file back."""
    identity = pyrage.x25519.Identity.generate()
    scene.vault = sealed(scene, tmp_path, str(identity))
    (key,) = scene.receive(1)
    scene.run()
    (path,) = scene.place.rglob("objects/*/*.age")
    opened = pyrage.decrypt(path.read_bytes(), [identity])

    assert (scene.data / "objects" / key).read_bytes() == opened
    assert path.name == f"{hashlib.sha256(opened).hexdigest()}.age"
    assert path.read_bytes().startswith(b"age-encryption.org/v1\n")


def test_copies_for_a_repair(scene: Scene) -> None:
    """A damaged object is had again by UID and digest of its data set; a damaged copy is none."""
    from pacsnode.backup.copies import BackupCopies

    (key, other) = scene.receive(2)
    scene.run()
    with closing(SqliteIndex(scene.data / "index.db", read_only=True)) as index:
        archive = Archive(FilesystemStore(scene.data, read_only=True), index, scene.clock)
        wanted, damaged = archive.index.at(key), archive.index.at(other)
    assert wanted is not None
    assert damaged is not None
    flip(scene.place / _object(scene, other))
    with scene.knowledge() as knowledge:
        copies = BackupCopies(knowledge, scene.vault)
        with copies.fetch(wanted.header.sop_instance_uid, wanted.stored.digest) as found:
            content = found.read() if found else b""
        with copies.fetch(damaged.header.sop_instance_uid, damaged.stored.digest) as nothing:
            assert None is nothing
        with copies.fetch(wanted.header.sop_instance_uid, "00" * 32) as nothing:
            assert None is nothing

    assert (scene.data / "objects" / key).read_bytes() == content


def test_copies_of_a_configured_backup(scene: Scene) -> None:
    """Opened when they are asked for: a target that is away is an error then; without a backup there is no copy."""
    (key,) = scene.receive(1)
    scene.run()
    with scene.archive() as archive:
        wanted = archive.index.at(key)
    assert wanted is not None
    found = {}
    for target in ("", f"file://{scene.place}"):
        sources = Sources(scene.data / "index.db")
        table = Backup(target=target)
        backup = NodeBackup(table, scene.data, sources=sources, verify_pass=1e6, drill_objects=9)
        with NodeCopies(backup).fetch(wanted.header.sop_instance_uid, wanted.stored.digest) as copy:
            found[target] = copy.read() if copy else None
    scene.place.rename(scene.root / "away")
    with (
        pytest.raises(BackupFailure, match="mount it"),
        NodeCopies(backup).fetch(wanted.header.sop_instance_uid, wanted.stored.digest),
    ):
        pass

    assert [None, (scene.data / "objects" / key).read_bytes()] == list(found.values())


def _object(scene: Scene, key: str) -> str:
    with scene.knowledge() as knowledge:
        return next(entry.piece.name for entry in knowledge.objects() if entry.key == key)


def test_what_fetch_gives_was_compared(scene: Scene) -> None:
    """A flipped byte never leaves the vault unnoticed."""
    import io

    (key,) = scene.receive(1)
    scene.run()
    with scene.knowledge() as knowledge:
        (entry,) = knowledge.objects()
    flip(scene.place / entry.piece.name)

    with pytest.raises(BackupDamaged):
        scene.vault.fetch(entry.piece, io.BytesIO())
    assert key == entry.key
