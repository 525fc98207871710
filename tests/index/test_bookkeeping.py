"""Any order of arrival and any history of removals leave the rows that plain counting gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacsnode.errors import DuplicateRefused
from pacsnode.index.schema import SCHEMA_VERSION
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import DuplicatePolicy, Instance, Key, Level, OneOf, Outcome, Query, Uid
from tests.index.samples import SR, header, instance, key, stored, totals_of

UID = Uid("1.2.3.1")


@contextmanager
def open_index(policy: DuplicatePolicy = DuplicatePolicy.VERSION) -> Iterator[SqliteIndex]:
    with TemporaryDirectory() as folder:
        index = SqliteIndex(Path(folder) / "index.db", duplicates=policy)
        try:
            yield index
        finally:
            index.close()


def dump_after(instances: Sequence[Instance]) -> list[tuple[object, ...]]:
    with open_index() as index:
        index.add_many(instances)
        return list(index.dump())


@st.composite
def arrivals(draw: st.DrawFn, *, patient_by_study: bool = False, contents: int = 0) -> list[Instance]:
    """Few UIDs, so that they meet; ``contents`` limits how many different data sets there are of each."""
    count = draw(st.integers(1, 12))
    result = []
    for number in range(count):
        study = draw(st.sampled_from("12"))
        patient = study if patient_by_study else draw(st.sampled_from("12"))
        found = header(
            draw(st.sampled_from(["1.1", "1.2", "1.3"])),
            study,
            draw(st.sampled_from(["3.1", "3.2"])),
            patient_id=patient,
            patient_name=draw(st.sampled_from(["A", "B"])),
            modality=draw(st.sampled_from(["CT", "SR", "CT\\SR", ""])),
            sop_class_uid=draw(st.sampled_from(["1.2.840.10008.5.1.4.1.1.2", SR])),
        )
        content = str(draw(st.integers(1, contents))) if contents else None
        result.append(instance(number, found, content))
    return result


@settings(max_examples=60, deadline=None)
@given(st.data(), arrivals())
def test_order_of_arrival_does_not_matter(data: st.DataObject, instances: list[Instance]) -> None:
    """Every permutation of the same instances gives the same index, row by row."""
    shuffled = data.draw(st.permutations(instances))

    assert dump_after(instances) == dump_after(shuffled)


@settings(max_examples=60, deadline=None)
@given(st.data(), arrivals(contents=2), st.sampled_from([DuplicatePolicy.VERSION, DuplicatePolicy.FIRST]))
def test_rebuild_gives_an_equal_index(data: st.DataObject, instances: list[Instance], policy: DuplicatePolicy) -> None:
    """Adding what was kept in order of keys gives the same index, whatever was dropped as a duplicate on the way."""
    with open_index(policy) as index:
        for added in data.draw(st.permutations(instances)):
            index.add(added)
        kept = {found.stored.key for found in index.everything()}
        expected = list(index.dump())

    assert expected == dump_after([added for added in instances if added.stored.key in kept])


@settings(max_examples=60, deadline=None)
@given(st.data(), arrivals(patient_by_study=True))
def test_counts_after_removals(data: st.DataObject, instances: list[Instance]) -> None:
    """After any adds and removals, counts and lists are those of the current versions."""
    with open_index() as index:
        versions: dict[Uid, dict[Key, Instance]] = {}
        for added in instances:
            index.add(added)
            versions.setdefault(added.header.sop_instance_uid, {})[added.stored.key] = added
            if data.draw(st.booleans()):
                uid = data.draw(st.sampled_from(sorted(versions)))
                removed = index.remove(uid)
                expected_key = max(versions[uid], default=None)
                assert expected_key == (removed.stored.key if removed else None)
                if expected_key:
                    del versions[uid][expected_key]

        current = [kept[max(kept)] for kept in versions.values() if kept]
        assert totals_of(current) == index.totals()
        assert expected_studies(current) == found_studies(index)
        assert sorted(found.stored.key for found in current) == sorted(
            found.stored.key for found in index.instances(Query(Level.PATIENT))
        )


def expected_studies(current: list[Instance]) -> dict[str, tuple[int, int, str]]:
    result = {}
    for uid in {found.header.study_instance_uid for found in current}:
        below = [found.header for found in current if found.header.study_instance_uid == uid]
        classes = "\\".join(sorted({found.sop_class_uid for found in below}))
        result[str(uid)] = (len({found.series_instance_uid for found in below}), len(below), classes)
    return result


def found_studies(index: SqliteIndex) -> dict[str, tuple[int, int, str]]:
    counted = ("number_of_study_related_series", "number_of_study_related_instances", "sop_classes_in_study")
    found = {}
    for match in index.find(Query(Level.STUDY, {}, ("study_instance_uid", *counted))):
        uid, series, instances, classes = match.values.values()
        found[uid] = (int(series), int(instances), classes)
    return found


def test_policy_first() -> None:
    """By policy FIRST other content is turned away, even if it is the older one."""
    with open_index(DuplicatePolicy.FIRST) as index:
        index.add(instance(2))

        assert Outcome.KEPT_FIRST is index.add(instance(3))
        assert Outcome.KEPT_FIRST is index.add(instance(1))
        assert Outcome.ALREADY_THERE is index.add(instance(4, content="2"))
        assert [instance(2)] == index.versions(UID)


def test_policy_reject() -> None:
    """By policy REJECT other content is an error, the same content is not, and the index stays as it was."""
    with open_index(DuplicatePolicy.REJECT) as index:
        index.add(instance(1))
        before = list(index.dump())

        with pytest.raises(DuplicateRefused):
            index.add(instance(2))
        assert Outcome.ALREADY_THERE is index.add(instance(2, content="1"))
        assert before == list(index.dump())


def test_batch_with_a_refusal() -> None:
    """A batch is one transaction: where one of it is refused, none of it is kept."""
    with open_index(DuplicatePolicy.REJECT) as index:
        with pytest.raises(DuplicateRefused):
            index.add_many([instance(1), instance(2)])

        assert 0 == index.totals().instances


def test_relocated_description() -> None:
    """A new encoding of the instance that describes its entities leaves their description as it is."""
    with open_index() as index:
        index.add(instance(1, header("1.1", patient_name="First")))
        index.relocate(stored(1), instance(2, header("1.1")))
        index.add(instance(3, header("1.2", patient_name="Later")))

        (match,) = index.find(Query(Level.PATIENT, {}, ("patient_name",)))
        assert "First" == match.values["patient_name"]


def test_remembered_rows_follow_removal() -> None:
    """A study that was removed and comes again gets rows of its own."""
    with open_index() as index:
        for number in range(3):
            index.add(instance(number))
            assert 1 == index.count_instances(Query(Level.SERIES, {"series_instance_uid": OneOf(("1.2.3.0",))}))
            index.remove(UID)

        assert [("schema", SCHEMA_VERSION), ("totals", 0, 0, 0, 0, 0)] == list(index.dump())
        assert not index.holds(key(1))
