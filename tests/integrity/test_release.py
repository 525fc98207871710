"""What people do about objects in quarantine: only what is as it was stored goes back."""

from __future__ import annotations

import shutil
from datetime import timedelta

import pytest

from pacsnode.errors import ObjectDamaged, ObjectNotFound
from pacsnode.integrity.findings import Closing, Kind
from pacsnode.integrity.release import Released, drop, release
from pacsnode.integrity.scrub import STRAY_PATIENCE
from pacsnode.model import Instance
from pacsnode.storage.quarantine import SetAside
from tests.integrity.scene import Scene, flip
from tests.integrity.test_scrub import Nowhere


def set_aside(scene: Scene) -> tuple[Instance, SetAside]:
    """A damaged instance that the scrub has set aside."""
    (instance,) = scene.store_instances(1)
    scene.receive_other()
    flip(scene.path_of(instance.stored.key), -1)
    scene.run(Nowhere())
    (entry,) = scene.store.quarantine.entries()
    return instance, entry


def test_damage_is_not_released(scene: Scene) -> None:
    """What is damaged stays in quarantine, and out of the archive."""
    instance, entry = set_aside(scene)

    with pytest.raises(ObjectDamaged, match="stays in quarantine"):
        release(scene.archive, scene.store.quarantine, scene.ledger.findings, entry)
    assert [entry] == scene.store.quarantine.entries()
    assert instance.stored.key not in scene.objects()


def test_what_was_healed_by_hand_is_released(scene: Scene) -> None:
    """An object that is as it was stored goes back under its key, and the finding is closed."""
    instance, entry = set_aside(scene)
    flip(scene.folder / "quarantine" / f"{entry.id}.dcm", -1)

    assert Released.IN_PLACE is release(scene.archive, scene.store.quarantine, scene.ledger.findings, entry)
    assert [] == scene.problems()
    assert [] == scene.store.quarantine.entries()
    (record,) = scene.ledger.findings.of_key(instance.stored.key)
    assert Closing.SOUND is record.closing


def test_an_object_without_a_row_gets_one(scene: Scene) -> None:
    """A sound object that the index does not know goes back among the objects, and the job adopts it."""
    _, instance = scene.store_instances(2)
    scene.index.strike(instance.stored.key)
    scene.store.set_aside(instance.stored.key, "by hand")
    (entry,) = scene.store.quarantine.entries()
    released = release(scene.archive, scene.store.quarantine, scene.ledger.findings, entry)
    scene.clock.pass_by(STRAY_PATIENCE)
    scene.run()

    assert Released.AWAITS_ROW is released
    assert instance == scene.index.at(instance.stored.key)


def test_a_second_copy_is_not_released(scene: Scene) -> None:
    """What the archive has elsewhere is not put back beside it."""
    instance, entry = set_aside(scene)
    scene.copies.folder.joinpath(instance.stored.digest).write_bytes(b"")
    flip(scene.folder / "quarantine" / f"{entry.id}.dcm", -1)
    shutil.copy(scene.folder / "quarantine" / f"{entry.id}.dcm", scene.copies.folder / instance.stored.digest)
    scene.clock.pass_by(timedelta(days=1))
    scene.run()

    with pytest.raises(ObjectDamaged, match="elsewhere"):
        release(scene.archive, scene.store.quarantine, scene.ledger.findings, entry)


def test_dropping(scene: Scene) -> None:
    """What is dropped is gone; that the instance has no object any more stays an open finding."""
    instance, entry = set_aside(scene)
    drop(scene.archive, scene.store.quarantine, scene.ledger.findings, entry)

    (record,) = scene.ledger.findings.of_key(instance.stored.key)
    assert (Kind.MISSING, None) == (record.kind, record.closing)
    with pytest.raises(ObjectNotFound):
        scene.store.quarantine.entry(entry.id)


@pytest.mark.parametrize("identifier", ["0", "../../etc/passwd", "0" * 32])
def test_unknown_ids(scene: Scene, identifier: str) -> None:
    """What is no ID, or one of nothing, is told apart from everything else."""
    with pytest.raises(ObjectNotFound, match="quarantine list"):
        scene.store.quarantine.entry(identifier)
