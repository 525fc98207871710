"""Studies that are deleted, brought back, held and gone for good."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from pacsnode.archive import Archive
from pacsnode.errors import StoreError, StudyHeld, StudyNotKept
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import DuplicatePolicy, Key, Level, OneOf, Query, Uid
from pacsnode.recovery import Mark, recover
from pacsnode.retention.deletions import Deletions
from pacsnode.retention.records import Item, State
from tests.integrity.scene import Scene as ScrubScene
from tests.retention.scene import GRACE, A, B, C, Scene


def test_deleted_and_brought_back(scene: Scene) -> None:
    """Rows and objects are out of the archive, and back afterwards, older versions too, to the byte."""
    content, dump = scene.content(), scene.dump()
    place = scene.index.here()
    gone = {row.stored.key for row in scene.index.of_study(A)}

    done = scene.deletions.delete(A, "sent twice", "admin")

    assert (4, State.DELETED, done.at + GRACE) == (done.versions, done.state, done.due)
    assert {B, C} == scene.studies()
    assert 0 == scene.index.count_instances(Query(Level.STUDY, {"study_instance_uid": OneOf((A,))}))
    assert set(content) - gone == set(scene.content())
    changes = scene.index.changes(place)
    assert changes is not None
    assert gone == set(changes.gone)
    assert scene.rebuilt() == scene.dump()
    assert 4 == scene.store.trash.count(done.name)
    assert (1, done.size) == scene.ledger.trash()

    restored = scene.deletions.undelete(A)

    assert (4, 0, 0, 0) == (restored.versions, restored.second_copies, restored.damaged, restored.missing)
    assert (content, dump) == (scene.content(), scene.dump())
    assert scene.store.trash.is_empty()
    with pytest.raises(StudyNotKept):
        scene.deletions.undelete(A)


def test_nobody_resurrects_or_complains(scene: Scene) -> None:
    """Recovery and scrub find nothing about a study in the trash."""
    scene.deletions.delete(A, "test", "admin")

    done = recover(scene.archive, Mark())
    scrub = ScrubScene(scene.folder)
    with closing(scrub):
        scrub.clock.now = scene.clock.now + timedelta(days=1)
        scrub.run()
        assert [] == scrub.kinds()

    assert (0, 0, 0, 0) == (done.adopted, done.removed, done.set_aside, done.lost)
    assert {B, C} == scene.studies()


def test_the_note_tells_of_no_patient(scene: Scene) -> None:
    """Beside the objects lies what they were, why and until when."""
    done = scene.deletions.delete(A, "test", "admin")

    note = json.loads((scene.folder / "trash" / done.name / "deletion.json").read_text())

    assert {"study_uid", "reason", "who", "at", "due", "keys"} == set(note)
    assert (A, "test", "admin", 4) == (note["study_uid"], note["reason"], note["who"], len(note["keys"]))


def test_sent_again_while_in_the_trash(scene: Scene) -> None:
    """It is stored anew; the same content is there once after an undelete, other content is a version."""
    scene.deletions.delete(A, "test", "admin")
    scene.receive(A, 0)
    scene.receive(A, 1, filling=60)

    restored = scene.deletions.undelete(A)

    assert (3, 1) == (restored.versions, restored.second_copies)
    assert 1 == len(scene.index.versions(Uid(f"{A}.0")))
    assert 2 == len(scene.index.versions(Uid(f"{A}.1")))
    assert 2 == len(scene.index.versions(Uid(f"{A}.2")))
    assert scene.rebuilt() == scene.dump()


def test_duplicates_refused_now(scene: Scene, tmp_path: Path) -> None:
    """Versions come back whatever the policy for duplicates has become."""
    dump = scene.dump()
    scene.deletions.delete(A, "test", "admin")
    with closing(SqliteIndex(tmp_path / "index.db", duplicates=DuplicatePolicy.REJECT)) as index:
        archive = Archive(scene.store, index, scene.clock)
        Deletions(archive, scene.store.trash, scene.ledger, scene.folder, grace=GRACE).undelete(A)

    assert dump == scene.dump()


def test_damaged_and_missing_in_the_trash(scene: Scene) -> None:
    """What is damaged goes to quarantine, what is not there is counted, and the rest comes back."""
    done = scene.deletions.delete(A, "test", "admin")
    first, second, *_ = sorted((scene.folder / "trash" / done.name).glob("*.dcm"))
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    second.unlink()

    restored = scene.deletions.undelete(A)

    assert (2, 1, 1) == (restored.versions, restored.damaged, restored.missing)
    assert [first.stem] == [entry.id for entry in scene.store.quarantine.entries()]
    assert scene.rebuilt() == scene.dump()


def test_held(scene: Scene) -> None:
    """A held study is not deleted; one in the trash stays there while the hold lasts."""
    deleted = scene.deletions.delete(B, "test", "admin")
    scene.deletions.hold(A, "case 7", "counsel")
    scene.deletions.hold(B, "case 7", "counsel")
    scene.clock.pass_by(GRACE * 2)

    with pytest.raises(StudyHeld, match="case 7"):
        scene.deletions.delete(A, "test", "admin")
    assert 0 == scene.run().done
    assert not scene.deletions.purge(deleted)
    assert 4 == scene.store.trash.count(deleted.name)

    scene.deletions.unhold(A, "counsel")
    scene.deletions.unhold(B, "counsel")
    with pytest.raises(StudyNotKept):
        scene.deletions.unhold(B, "counsel")
    scene.deletions.delete(A, "test", "admin")
    assert 1 == scene.run().done


def test_gone_after_the_grace(scene: Scene) -> None:
    """Not before; then the objects are gone and a tombstone stays."""
    done = scene.deletions.delete(A, "test", "admin")
    assert 0 == scene.run().done

    scene.clock.pass_by(GRACE)
    report = scene.run()

    (tombstone,) = scene.ledger.deletions()
    assert (1, done.size) == (report.done, report.details["purged_bytes"])
    assert (State.PURGED, 4, done.digest) == (tombstone.state, tombstone.versions, tombstone.digest)
    assert [] == scene.ledger.items(done.name)
    assert scene.store.trash.is_empty()
    assert [(State.DELETED, 4), (State.PURGED, 0)] == scene.told
    with pytest.raises(StudyNotKept):
        scene.deletions.undelete(A)


def test_unmounted_trash_is_not_taken_for_gone(scene: Scene) -> None:
    """Where no object and no trash is to be seen, nothing goes for good."""
    done = scene.deletions.delete(A, "test", "admin")
    for name in ("objects", "trash"):
        (scene.folder / name).rename(scene.folder / f"{name}.away")

    with pytest.raises(StoreError, match="mount"):
        scene.deletions.purge(done)
    assert State.DELETED is scene.ledger.deletion(done.name).state


def test_kept_originals_go_and_come_along(scene: Scene) -> None:
    """What compression keeps beside an object goes to the trash with it, and is no version afterwards."""
    stray = scene.index.of_study(B)[0].stored.key
    scene.index.strike(stray)  # as an original has no row
    kept = scene.index.of_study(A)[0].stored.key

    def original_of(key: Key) -> Key | None:
        return stray if key == kept else None

    deletions = Deletions(
        scene.archive, scene.store.trash, scene.ledger, scene.folder, grace=GRACE, original_of=original_of
    )
    done = deletions.delete(A, "test", "admin")

    assert (4, 5) == (done.versions, scene.store.trash.count(done.name))
    assert [Item(stray, Uid(f"{A}.0"), "", 0, is_original=True)] == [
        item for item in scene.ledger.items(done.name) if item.is_original
    ]


def test_what_was_judged_is_what_goes(scene: Scene) -> None:
    """Where more of the study has come since it was judged, nothing of it is deleted."""
    known = {row.stored.key for row in scene.index.of_study(A)}
    scene.receive(A, 7)

    with pytest.raises(StudyNotKept):
        scene.deletions.delete(A, "test", "admin", known)
    assert {A, B, C} == scene.studies()
