"""The scrub: all damage is found in one pass, set aside, and repaired where there is a copy."""

from __future__ import annotations

import os
import random
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from pacsnode.archive import Archive
from pacsnode.errors import PeerFailure, StoreError
from pacsnode.integrity.course import LEAST_BYTES
from pacsnode.integrity.findings import Closing, Kind
from pacsnode.integrity.scrub import STRAY_PATIENCE
from pacsnode.integrity.sweep import examined, problem_of
from pacsnode.jobs.budget import RunBudget
from pacsnode.model import Uid
from pacsnode.storage import layout
from tests.cli.folder import data_set
from tests.integrity.scene import FULL_PASS, FolderOfCopies, Items, Scene, Unlimited, flip, flip_anywhere

FLIPS = int(os.environ.get("PACSNODE_FLIPS", "500"))


class Unreachable:
    """A place that does not answer."""

    def fetch(self, uid: Uid, digest: str) -> AbstractContextManager[BinaryIO | None]:
        """See Copies.fetch."""
        raise PeerFailure("does not answer")


class Nowhere(FolderOfCopies):
    """A place without any copy."""

    def __init__(self) -> None:
        self.folder = Path("/nonexistent")


def test_every_flip_is_found_and_repaired(scene: Scene) -> None:
    """Of as many objects with one byte changed, wherever it is, one pass leaves none: all are as they were stored."""
    instances = scene.store_instances(FLIPS)
    scene.copy_everything()
    chance = random.Random(7)
    for instance in instances:
        flip_anywhere(scene.path_of(instance.stored.key), chance)

    report = scene.run()

    assert (FLIPS, FLIPS, 0) == (report.details["found"], report.details["repaired"], report.failed)
    assert [] == scene.problems()
    assert [] == scene.kinds()
    assert [i.stored.digest for i in instances] == [i.stored.digest for i in scene.index.everything()]
    assert FLIPS == len(scene.store.quarantine.entries())


def test_every_byte_of_the_head_counts(scene: Scene) -> None:
    """No bit of preamble and file meta information can change unnoticed, though the digest does not cover them."""
    (instance,) = scene.store_instances(1)
    (holding,) = scene.index.holdings()
    path = scene.path_of(instance.stored.key)
    unnoticed = []
    for at in range(instance.stored.offset):
        flip(path, at, at % 8)
        if scene.archive.problem_of(instance) is None or scene.archive.is_as_stored(holding):
            unnoticed.append(at)
        flip(path, at, at % 8)

    assert [] == unnoticed
    assert scene.archive.problem_of(instance) is None
    assert scene.archive.is_as_stored(holding)


@pytest.mark.parametrize("filling", [400, 2**18 - 2000, 2**18, 2**19])
def test_every_byte_has_its_place(scene: Scene, filling: int) -> None:
    """One byte less or more at the end, or another one, is found in an object of any size."""
    instances = scene.store_instances(4, filling=filling)
    paths = [scene.path_of(instance.stored.key) for instance in instances]
    os.truncate(paths[0], paths[0].stat().st_size - 1)
    with paths[1].open("ab") as longer:
        longer.write(b"\0")
    flip(paths[2], -1)
    found = [seen.key for seen, finding in examined(scene.archive) if finding is not None and finding.is_certain]

    assert [instance.stored.key for instance in instances[:3]] == found


def test_sound_archive(scene: Scene) -> None:
    """Where all is well every object is read once, to its end, and nothing is found."""
    instances = scene.store_instances(5)
    budget = Unlimited()
    report = scene.scrub().run_whole(budget)

    assert (5, 0, True) == (report.done, report.failed, report.finished)
    assert sum(instance.stored.offset + instance.stored.size for instance in instances) == budget.spent


def test_rate(scene: Scene) -> None:
    """A pass takes as long as its bytes at the rate do, within a tenth."""
    scene.store_instances(8, filling=2**20)
    seconds = [0.0]

    def wait(time: float) -> None:
        seconds[0] += time

    budget = RunBudget(rate=2**20, monotonic=lambda: seconds[0], wait=wait)
    report = scene.scrub().run_whole(budget)

    assert report.bytes_before / 2**20 == pytest.approx(seconds[0], rel=0.1)


def test_damage_without_a_copy_is_set_aside(scene: Scene) -> None:
    """The bytes are kept in quarantine, with the reason; the row stays, so that the instance is still found."""
    damaged, _ = scene.store_instances(2)
    path = scene.path_of(damaged.stored.key)
    flip(path, -1)
    content = path.read_bytes()

    report = scene.run(Nowhere())
    (entry,) = scene.store.quarantine.entries()

    assert (1, ["damaged"]) == (report.failed, scene.kinds())
    assert damaged.stored.key == entry.key
    assert "SHA-256" in entry.reason
    with scene.store.quarantine.open(entry) as source:
        assert content == source.read()
    assert damaged.stored.key not in scene.objects()
    assert damaged == scene.index.at(damaged.stored.key)


def test_repair_is_tried_again(scene: Scene) -> None:
    """What no copy was found of is repaired by a later run, when there is one; in between the pauses grow."""
    instance, _ = scene.store_instances(2)
    scene.copy_everything()
    flip(scene.path_of(instance.stored.key), -1)
    scene.run(Unreachable())
    scene.run(Unreachable())
    early = scene.scrub().run(Unlimited())
    scene.clock.pass_by(timedelta(minutes=21))

    assert 1 == early.failed
    assert 0 == scene.scrub().run(Unlimited()).failed
    (record,) = scene.ledger.findings.of_key(instance.stored.key)
    assert (Kind.DAMAGED, Closing.REPAIRED, "folder", 2) == (
        record.kind,
        record.closing,
        record.note,
        record.attempts,
    )


def test_the_second_place_is_asked(scene: Scene) -> None:
    """A place that does not answer, or has nothing or something else, leaves it to the next one."""
    (instance,) = scene.store_instances(1)
    scene.copy_everything()
    wrong = FolderOfCopies(scene.folder / "wrong")
    (wrong.folder / instance.stored.digest).write_bytes(b"\0" * 128 + b"DICM")
    flip(scene.path_of(instance.stored.key), -1)

    assert 0 == scene.run(Unreachable(), Nowhere(), wrong, scene.copies).failed
    assert [] == scene.problems()


def test_damaged_copies_are_not_taken(scene: Scene) -> None:
    """A copy is taken for its digest alone: one that is damaged, too, changes nothing and leaves nothing."""
    instance, other = scene.store_instances(2)
    scene.copy_everything()
    flip(scene.copies.folder / instance.stored.digest, -1)
    flip(scene.path_of(instance.stored.key), -2)

    assert 1 == scene.run().failed
    assert [other.stored.key] == scene.objects()


def test_a_data_set_alone_is_a_copy(scene: Scene) -> None:
    """A place may keep data sets without a head of ours."""
    (instance,) = scene.store_instances(1)
    path = scene.path_of(instance.stored.key)
    (scene.copies.folder / instance.stored.digest).write_bytes(path.read_bytes()[instance.stored.offset :])
    flip(path, 200)

    assert 0 == scene.run().failed
    assert [] == scene.problems()


def test_missing_objects_come_back(scene: Scene) -> None:
    """A row without an object is a finding, and is repaired as damage is."""
    instances = scene.store_instances(3)
    scene.copy_everything()
    scene.path_of(instances[1].stored.key).unlink()
    without = scene.run(Nowhere())
    kinds = scene.kinds()
    report = scene.run()

    assert (1, ["missing"]) == (without.failed, kinds)
    assert (0, 1, []) == (report.failed, report.details["repaired"], scene.problems())
    assert 3 == len(scene.objects())


def test_strays_are_adopted_later(scene: Scene) -> None:
    """An object without a row is a finding at once, and gets its row when nobody else has seen to it meanwhile."""
    _, stray = scene.store_instances(2)
    scene.index.strike(stray.stored.key)
    found = scene.run()
    kinds = scene.kinds()
    scene.clock.pass_by(STRAY_PATIENCE)
    report = scene.run()

    assert (1, ["stray"]) == (found.failed, kinds)
    assert (0, 1) == (report.failed, report.details["adopted"])
    assert stray == scene.index.at(stray.stored.key)


def test_what_has_just_arrived_is_no_stray(scene: Scene) -> None:
    """An object whose row is about to be written is none of the scrub's business."""
    scene.store_instances(1)
    scene.receive(data_set("2.25.3.9"), "2.25.3.9")
    scene.index.strike(scene.objects()[-1])

    assert 0 == scene.run().details["found"]


def test_damaged_strays_are_set_aside(scene: Scene) -> None:
    """An object without a row that is damaged goes out of the way."""
    _, stray = scene.store_instances(2)
    scene.index.strike(stray.stored.key)
    flip(scene.path_of(stray.stored.key), -1)
    scene.run()
    scene.clock.pass_by(STRAY_PATIENCE)

    assert 0 == scene.run().failed
    assert [stray.stored.key] == [entry.key for entry in scene.store.quarantine.entries()]


def test_unreadable_objects_are_left_where_they_are(scene: Scene) -> None:
    """What the disk does not give back is reported, not moved, and looked at again; a cable may be loose."""
    first, _ = scene.store_instances(2)
    path = scene.path_of(first.stored.key)
    content = path.read_bytes()
    path.unlink()
    path.mkdir()  # whose reads fail
    report = scene.run()
    kinds = scene.kinds()
    path.rmdir()
    path.write_bytes(content)
    scene.run()

    assert (1, ["unreadable"]) == (report.failed, kinds)
    assert [] == scene.kinds()
    assert [] == scene.store.quarantine.entries()


def test_sent_again_while_in_quarantine(scene: Scene) -> None:
    """The instance that comes again takes the place of what was set aside; the finding is closed."""
    (instance,) = scene.store_instances(1)
    flip(scene.path_of(instance.stored.key), -1)
    scene.run(Nowhere())
    scene.receive(data_set("2.25.3.0", filling=400), "2.25.3.0")
    scene.run(Nowhere())

    (record,) = scene.ledger.findings.of_key(instance.stored.key)
    assert Closing.REPAIRED is record.closing
    assert [] == scene.problems()


def test_without_objects_nothing_is_done(scene: Scene) -> None:
    """A file system that is not mounted is an error, not a million findings."""
    (instance,) = scene.store_instances(1)
    scene.path_of(instance.stored.key).unlink()

    with pytest.raises(StoreError, match="mount"):
        scene.run()
    assert [] == scene.kinds()


def test_runs_go_on_where_the_last_one_was(scene: Scene) -> None:
    """The pass is rolling: a run that its budget ends is continued by the next, the oldest first."""
    instances = scene.store_instances(10)
    first = scene.scrub().run(Items(4))
    second = scene.scrub().run(Items(4))
    third = scene.scrub().run(Unlimited())

    assert (False, False, True) == (first.finished, second.finished, third.finished)
    assert 10 == first.done + second.done + third.done
    course = scene.ledger.course.read()
    assert course is not None
    assert ("", 0) == (course.cursor, course.objects)
    assert instances


def test_a_run_reads_what_is_due(scene: Scene) -> None:
    """A run reads no more than takes the pass to its plan; so a large archive is read evenly over the time."""
    scene.store_instances(12, filling=4 * 1024 * 1024)
    first = scene.scrub().run(Unlimited())
    scene.clock.pass_by(FULL_PASS * 0.7)
    second = scene.scrub().run(Unlimited())

    assert LEAST_BYTES <= first.bytes_before < LEAST_BYTES + 5 * 1024 * 1024
    assert (12 * 0.7 / 0.9) * 4 <= (first.bytes_before + second.bytes_before) / 2**20 < 12 * 4


def test_versions_keep_their_order(scene: Scene) -> None:
    """A repaired older version stays the older one, after a reindex, too."""
    scene.receive(data_set("2.25.3.0", filling=100), "2.25.3.0")
    scene.receive(data_set("2.25.3.0", filling=200), "2.25.3.0")
    scene.clock.pass_by(timedelta(hours=1))
    old, new = scene.index.everything()
    scene.copy_everything()
    flip(scene.path_of(old.stored.key), -1)
    scene.run()

    repaired, current = scene.index.everything()
    assert (old.stored.digest, new) == (repaired.stored.digest, current)
    assert layout.new_key(old.received_at, bytes(9))[:-18] == repaired.stored.key[:-18]
    assert current == scene.index.current(Uid("2.25.3.0"))


def test_rehearsal_changes_nothing(scene: Scene) -> None:
    """What would be done is told; nothing is read, moved or kept."""
    (instance,) = scene.store_instances(1)
    flip(scene.path_of(instance.stored.key), -1)
    report = scene.scrub().rehearse(Unlimited())

    assert instance.stored.size == report.details["due_bytes"]
    assert [] == scene.kinds()
    assert [instance.stored.key] == scene.objects()


def test_a_failing_read_in_between(scene: Scene) -> None:
    """What the page cache has wrong and the disk right is no damage."""
    (instance,) = scene.store_instances(1)

    class Wavering(Archive):
        """Reads wrong once."""

        reads = 0

        def holds_as_stored(self, *arguments: object) -> bool:
            self.reads += 1
            return self.reads > 1

    finding = Wavering(scene.store, scene.index, scene.clock).problem_of(instance)

    assert finding is not None
    assert not finding.is_certain


def test_a_first_read_that_fails(scene: Scene) -> None:
    """What a pass reads wrong, and right when it looks again, is told of, but not taken for damage."""
    scene.store_instances(1)

    class Wavering(Archive):
        """Reads wrong at first."""

        def is_as_stored(self, *arguments: object) -> bool:
            return False

    ((_, finding),) = examined(Wavering(scene.store, scene.index, scene.clock))

    assert finding is not None
    assert not finding.is_certain


def test_a_pass_that_takes_too_long(scene: Scene) -> None:
    """A scrub that cannot keep to ``full_pass`` is complained of."""
    scene.store_instances(2)
    scene.scrub().run(Items(1))
    in_time = scene.ledger.complaints(scene.clock(), full_pass=FULL_PASS)
    scene.clock.pass_by(FULL_PASS)
    (late,) = scene.ledger.complaints(scene.clock(), full_pass=FULL_PASS)

    assert [] == in_time
    assert "30 days ago" in late


def test_what_goes_meanwhile_is_no_finding(scene: Scene) -> None:
    """An instance that is removed while its object is looked for, its row first, is not missing."""
    gone, _ = scene.store_instances(2)
    scene.index.strike(gone.stored.key)
    scene.store.delete(gone.stored.key)

    assert problem_of(scene.archive, gone) is None


def test_everything_is_damaged(scene: Scene) -> None:
    """An archive whose every object is in quarantine is not taken for one that is not mounted: it can be repaired."""
    (instance,) = scene.store_instances(1)
    scene.copy_everything()
    flip(scene.path_of(instance.stored.key), -1)
    without = scene.run(Nowhere())

    assert 1 == without.failed
    assert 0 == scene.run().failed
