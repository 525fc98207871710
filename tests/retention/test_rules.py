"""What the rules delete by themselves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from pacsnode.config.rules import Rule, parse
from pacsnode.model import Instance, Uid
from tests.integrity.scene import Items, Unlimited
from tests.retention.scene import GRACE, STUDIES, A, B, C, Scene

YEAR = timedelta(days=366)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("older_than=10 y", Rule(timedelta(days=3652.5))),
        ("older_than=90d modality=CT,SR", Rule(timedelta(days=90), frozenset({"CT", "SR"}))),
        ("peer=CT 1,MR2 older_than=1 d", Rule(timedelta(days=1), frozenset(), frozenset({"CT 1", "MR2"}))),
    ],
)
def test_rules_are_read(text: str, expected: Rule) -> None:
    """Conditions come in any order, lists by commas."""
    assert expected == parse(text)


@pytest.mark.parametrize(
    "text",
    ["", "CT", "modality=CT", "older_than=10", "older_than=1 y older_than=2 y", "older_than=1 y age=3",
     "older_than=1 y modality=", "older_than=1 y modality=CT,,MR", "x older_than=1 y"],
)  # fmt: skip
def test_what_is_no_rule_is_refused(text: str) -> None:
    """Nothing is deleted by a misunderstanding."""
    with pytest.raises(ValueError, match="older_than"):
        parse(text)


def test_by_age(scene: Scene) -> None:
    """A study goes when its newest instance is old enough, and not before."""
    scene.clock.pass_by(YEAR)
    scene.receive(B, 9)

    rehearsed = scene.job("older_than=1 y").rehearse(Unlimited())
    report = scene.run("older_than=1 y")

    assert {B} == scene.studies()
    assert (2, 8) == (report.details["deleted_studies"], report.details["deleted_instances"])
    assert "4 instances" in str(rehearsed.details[f"study {A}"])
    assert report.details["deleted_bytes"] == rehearsed.details["deleted_bytes"]


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ("older_than=1 y modality=MR", set(STUDIES)),
        ("older_than=1 y modality=CT,MR", set()),
        ("older_than=1 y peer=OTHER", set(STUDIES)),
        ("older_than=1 y peer=CT01", {C}),
        ("older_than=2 y", set(STUDIES)),
    ],
)
def test_every_instance_has_to_match(scene: Scene, rule: str, left: set[Uid]) -> None:
    """Age, modality and peer; a study of which one instance came from elsewhere stays."""
    scene.receive(C, 8, peer="CT02")
    scene.clock.pass_by(YEAR)

    scene.run(rule)

    assert left == scene.studies()


def test_held_studies_stay(scene: Scene) -> None:
    """They are counted, and nothing else keeps the rest."""
    scene.deletions.hold(A, "case 7", "counsel")
    scene.clock.pass_by(YEAR)

    report = scene.run("older_than=1 d")

    assert ({A}, 1) == (scene.studies(), report.details["held_studies"])


def test_never_the_only_copy(scene: Scene) -> None:
    """With a backup required, only studies of which it has every object go; without any backup, none."""

    def has_all_but(lost: str) -> Callable[[Instance, Callable[[int], None]], bool]:
        return lambda instance, told: instance.header.sop_instance_uid != lost

    scene.clock.pass_by(YEAR)

    alone = scene.run("older_than=1 d", requires_backup=True)
    assert (0, set(STUDIES)) == (alone.done, scene.studies())
    assert "no backup" in str(alone.details["note"])

    report = scene.run("older_than=1 d", requires_backup=True, is_safe=has_all_but(f"{B}.1"))
    assert ({B}, 1) == (scene.studies(), report.details["studies_not_in_backup"])


def test_goes_on_where_it_was(scene: Scene) -> None:
    """A run that its budget ends is continued by the next one."""
    scene.clock.pass_by(YEAR)
    job = scene.job("older_than=1 d")

    first = job.run(Items(3))
    assert not first.finished
    while not job.run(Unlimited()).finished:
        pass

    assert set() == scene.studies()


def test_rules_and_trash_together(scene: Scene) -> None:
    """What a rule deletes can be brought back within the grace, and is gone after it."""
    scene.clock.pass_by(YEAR)
    scene.run("older_than=1 y")
    scene.deletions.undelete(A)
    scene.clock.pass_by(GRACE)

    report = scene.run()

    assert (2, {A}) == (report.details["purged_studies"], scene.studies())
