"""What every Index promises; each implementation runs this class with an ``index`` fixture of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pacsnode.archive import arrival_of
from pacsnode.dicom.attributes import ATTRIBUTES
from pacsnode.errors import IndexFailure, InvalidQuery
from pacsnode.index.index import Index
from pacsnode.model import Condition, Items, Level, OneOf, Outcome, Query, Range, Totals, Uid, Wildcard
from tests.index.samples import SR, everything_about, header, instance, key, stored

UID = Uid("1.2.3.1")
STUDY_UID = OneOf(("1.2.3",))


def names_found(index: Index, level: Level, requested: str, **conditions: Condition) -> list[str]:
    return sorted(match.values[requested] for match in index.find(Query(level, conditions, (requested,))))


class IndexContract:
    """Subclasses give ``index``, an empty Index with the VERSION policy."""

    @pytest.fixture
    def index(self) -> Iterator[Index]:
        raise NotImplementedError

    def test_what_was_added_comes_back(self, index: Index) -> None:
        """Every value of the header, the object and the arrival is kept."""
        added = everything_about(1)

        assert Outcome.STORED is index.add(added)
        assert added == index.current(added.header.sop_instance_uid)

    def test_unknown_instance(self, index: Index) -> None:
        """What was never added is not there, for any method."""
        assert None is index.current(UID)
        assert [] == index.versions(UID)
        assert None is index.remove(UID)
        assert not index.relocate(stored(1), instance(2))
        assert not index.holds(key(1))
        assert [] == list(index.everything())
        assert Totals(0, 0, 0, 0, 0) == index.totals()

    def test_same_content_again(self, index: Index) -> None:
        """The same content is already there; nothing is written."""
        index.add(instance(1, content="same"))

        assert Outcome.ALREADY_THERE is index.add(instance(2, content="same"))
        assert not index.holds(key(2))

    def test_other_content_becomes_current(self, index: Index) -> None:
        """Newer content is current, the older ones are kept from newest to oldest and found by key only."""
        for number in (1, 2, 3):
            index.add(instance(number))

        assert instance(3) == index.current(UID)
        assert [3, 2, 1] == [int(version.stored.key[-4:], 16) for version in index.versions(UID)]
        assert all(index.holds(key(number)) for number in (1, 2, 3))
        assert Totals(1, 1, 1, 1, 1003) == index.totals()

    def test_a_null_character_among_several_values(self, index: Index) -> None:
        """A text with a NUL, which some devices send, makes no query endless."""
        index.add(instance(1, header(patient_id="A\\B\0C")))
        index.add(instance(2, header("1.2.4.1", "1.2.4", "1.2.4.0", patient_id="D\\E")))

        for wanted in (["A"], ["D"], ["E"]):
            assert 1 == len(names_found(index, Level.STUDY, "patient_id", patient_id=OneOf(tuple(wanted))))
        assert [] == names_found(index, Level.STUDY, "patient_id", patient_id=Wildcard("*x*"))

    def test_late_arrival_does_not_become_current(self, index: Index) -> None:
        """The larger key is current whichever came first, so that threads may overtake each other."""
        index.add(instance(2))

        assert Outcome.NEW_VERSION is index.add(instance(1))
        assert instance(2) == index.current(UID)

    def test_content_of_an_older_version_again(self, index: Index) -> None:
        """Sending again what was superseded changes nothing: repeats of a whole study never add versions."""
        index.add(instance(1, content="same"))
        index.add(instance(2))

        assert Outcome.ALREADY_THERE is index.add(instance(3, content="same"))
        assert instance(2) == index.current(UID)
        assert index.knows(UID, instance(1, content="same").stored.digest)
        assert not index.knows(UID, instance(9, content="other").stored.digest)

    def test_the_smallest_key_describes(self, index: Index) -> None:
        """Patient, study and series are described by the instance with the smallest key, whichever came first."""
        index.add(instance(2, header("1.2.3.2", patient_id="P", patient_name="Second", modality="MR")))
        index.add(instance(1, header("1.2.3.1", patient_id="P", patient_name="First", modality="CT")))
        index.add(instance(3, header("1.2.3.3", patient_id="P", patient_name="Third", modality="US")))

        requested = ("patient_name", "modality", "modalities_in_study")
        (match,) = index.find(Query(Level.SERIES, {}, requested))
        assert ["First", "CT", "CT"] == list(match.values.values())

    def test_study_moves_to_the_patient_of_its_first_instance(self, index: Index) -> None:
        """A study whose instances name two patients belongs to the one that the smallest key names."""
        index.add(instance(2, header("1.2.3.2", patient_id="P2")))
        index.add(instance(1, header("1.2.3.1", patient_id="P1")))

        assert ["P1"] == names_found(index, Level.PATIENT, "patient_id")
        assert Totals(1, 1, 1, 2, 2003) == index.totals()

    def test_add_many(self, index: Index) -> None:
        """Outcomes come in order, those of one batch see each other."""
        batch = [instance(1), instance(2, content="1"), instance(3)]

        expected = [Outcome.STORED, Outcome.ALREADY_THERE, Outcome.NEW_VERSION]
        assert expected == index.add_many(batch)
        assert [] == index.add_many([])

    def test_relocate(self, index: Index) -> None:
        """A version points to its new object, and tells when that came; the old key is free, counts are right."""
        index.add(instance(1))
        syntax = Uid("1.2.840.10008.1.2.4.80")
        new = replace(instance(9), stored=replace(stored(9, "compressed", 10), transfer_syntax_uid=syntax))

        assert index.relocate(instance(1).stored, new)
        assert new == index.current(UID)
        assert [False, True] == [index.holds(key(1)), index.holds(key(9))]
        assert Totals(1, 1, 1, 1, 10) == index.totals()

    def test_relocate_is_compare_and_set(self, index: Index) -> None:
        """A version that was relocated or removed meanwhile is left alone; an older one may be relocated, too."""
        index.add_many([instance(1), instance(2)])

        assert index.relocate(stored(1), instance(8))
        assert not index.relocate(stored(1), instance(9))
        assert not index.relocate(stored(2), instance(9, header("1.2.3.999")))
        assert instance(2) == index.current(UID)

    def test_remove_makes_the_older_version_current(self, index: Index) -> None:
        """Removal takes the current version away; the newest of the others takes its place, then nothing is left."""
        index.add_many([instance(1), instance(2)])

        assert instance(2) == index.remove(UID)
        assert instance(1) == index.current(UID)
        assert Totals(1, 1, 1, 1, 1001) == index.totals()
        assert instance(1) == index.remove(UID)
        assert Totals(0, 0, 0, 0, 0) == index.totals()
        assert [] == list(index.find(Query(Level.PATIENT)))

    def test_strike_takes_away_any_version(self, index: Index) -> None:
        """The version of a key goes, current or not; where it was current the newest of the others takes its place."""
        index.add_many([instance(1), instance(2), instance(3)])

        assert instance(1) == index.strike(key(1))
        assert [instance(3), instance(2)] == index.versions(UID)
        assert instance(3) == index.strike(key(3))
        assert instance(2) == index.current(UID)
        assert Totals(1, 1, 1, 1, 1002) == index.totals()
        assert None is index.strike(key(3))
        assert instance(2) == index.strike(key(2))
        assert Totals(0, 0, 0, 0, 0) == index.totals()

    def test_keys_and_what_is_at_them(self, index: Index) -> None:
        """The keys of all versions ascend, from any one on; each leads to its version."""
        index.add_many([instance(number) for number in (3, 1, 2)])

        assert [key(1), key(2), key(3)] == list(index.keys())
        assert [key(2), key(3)] == list(index.keys(key(2)))
        assert [] == list(index.keys("9"))
        assert [instance(1), None] == [index.at(key(1)), index.at(key(9))]

    def test_add_after_remove(self, index: Index) -> None:
        """An instance that was removed can be added again."""
        index.add(instance(1))
        index.remove(UID)

        assert Outcome.STORED is index.add(instance(2, content="1"))
        assert instance(2, content="1") == index.current(UID)

    def test_counts_and_lists(self, index: Index) -> None:
        """Counted attributes are those of the current versions below."""
        index.add(instance(1, header("1.1", "1", "1.10", modality="CT")))
        index.add(instance(2, header("1.2", "1", "1.10", modality="CT")))
        index.add(instance(3, header("1.3", "1", "1.11", modality="SR", sop_class_uid=SR)))
        index.add(instance(4, header("2.1", "2", "2.10", modality="MR")))

        study = tuple(a.name for a in ATTRIBUTES if a.is_counted and a.level in (Level.PATIENT, Level.STUDY))
        first = next(index.find(Query(Level.STUDY, {"study_instance_uid": OneOf(("1",))}, study))).values
        assert ["2", "3", "4", "CT\\SR", f"1.2.840.10008.5.1.4.1.1.2\\{SR}", "2", "3"] == [first[n] for n in study]
        series = Query(Level.SERIES, {"modality": OneOf(("CT",))}, ("number_of_series_related_instances",))
        assert ["2"] == [match.values["number_of_series_related_instances"] for match in index.find(series)]

    def test_instance_in_another_study(self, index: Index) -> None:
        """A new version may be in another study; the one it left is not found any more."""
        index.add(instance(1, header("1.1", "1", "1.10", modality="CT")))
        index.add(instance(2, header("1.1", "2", "2.10", modality="MR")))

        assert ["2"] == names_found(index, Level.STUDY, "study_instance_uid")
        assert ["MR"] == names_found(index, Level.STUDY, "modalities_in_study")

    def test_requested_values(self, index: Index) -> None:
        """A match has exactly what was requested; what is unknown at the level is empty."""
        index.add(instance(1, header(patient_id="P")))

        query = Query(Level.STUDY, {}, ("patient_id", "study_date", "modality", "no_such_name"))
        expected = {"patient_id": "P", "study_date": "", "modality": "", "no_such_name": ""}
        assert [expected] == [match.values for match in index.find(query)]
        assert [{}] == [match.values for match in index.find(Query(Level.STUDY))]

    def test_condition_below_the_level(self, index: Index) -> None:
        """A condition that the level cannot answer is refused at once, not when the first match is asked for."""
        for name in ("modality", "no_such_name"):
            with pytest.raises(InvalidQuery):
                index.find(Query(Level.STUDY, {name: OneOf(("CT",))}))
            with pytest.raises(InvalidQuery):
                index.instances(Query(Level.STUDY, {name: OneOf(("CT",))}))
            with pytest.raises(InvalidQuery):
                index.kinds(Query(Level.STUDY, {name: OneOf(("CT",))}))

    @pytest.mark.parametrize("level", list(Level))
    def test_conditions_of_all_levels_above(self, index: Index, level: Level) -> None:
        """Every attribute of the level and those above restricts what is found."""
        added = everything_about(1)
        index.add(added)
        index.add(instance(2, header("9.1", "9", "9.0", patient_id="9")))
        depth = list(Level).index(level)

        for attribute in ATTRIBUTES:
            if list(Level).index(attribute.level) > depth:
                continue
            (known,) = names_found(index, level, attribute.name, patient_id=OneOf(("1",)))
            condition = Items({}) if attribute.vr == "SQ" else OneOf((known,))
            found = names_found(index, level, "patient_id", **{attribute.name: condition})
            assert ("1" in found) is True, attribute.name

    @pytest.mark.parametrize(
        ("stored_name", "condition", "matches"),
        [
            ("Müller^Jörg", OneOf(("MULLER^JORG",)), True),
            ("Müller^Jörg", OneOf(("MULLER",)), False),
            ("Doe^John^^", OneOf(("doe^john",)), True),
            ("Doe^John", OneOf(("doe^john^^^",)), True),
            ("Doe^John", Wildcard("DOE*"), True),
            ("Doe^John", Wildcard("*OE^J?HN"), True),
            ("Doe^John", Wildcard("DOE?"), False),
            ("Yamada^Tarou=山田^太郎=やまだ^たろう", OneOf(("山田^太郎",)), True),
            ("Yamada^Tarou=山田^太郎", Wildcard("山田*"), True),
            ("Yamada^Tarou=山田^太郎", Wildcard("yam*=山*"), True),
            ("Yamada^Tarou=山田^太郎", Wildcard("yam*=川*"), False),
            ("Yamada^Tarou=山田^太郎", OneOf(("=山田^太郎",)), True),
            ("Yamada^Tarou=山田^太郎=やまだ^たろう", Wildcard("ﾔﾏﾀﾞ^*"), True),
            ("Yamada^Tarou=山田^太郎=やまだ^たろう", Wildcard("*==ヤマ*"), True),
            ("Yamada^Tarou=山田^太郎=やまだ^たろう", Wildcard("*=ヤマ*"), False),
            ("Sørensen^Łukasz", OneOf(("SORENSEN^LUKASZ",)), True),
            ("Yamada^Tarou=山田^太郎", Wildcard("yamada*太郎"), False),
            ("", Wildcard("?"), False),
            ("", Wildcard("*"), True),
            ("", OneOf(("x",)), False),
        ],
    )
    def test_person_names(self, index: Index, stored_name: str, condition: Condition, matches: bool) -> None:
        """Names are compared without case and accents, one component group being enough (PS3.4 C.2.2.2.1)."""
        index.add(instance(1, header(patient_name=stored_name)))

        assert matches is bool(names_found(index, Level.STUDY, "patient_name", patient_name=condition))

    @pytest.mark.parametrize(
        ("name", "value", "condition", "matches"),
        [
            ("patient_id", "Ab1", OneOf(("Ab1",)), True),
            ("patient_id", "Ab1", OneOf(("AB1",)), False),
            ("patient_id", " Ab1 ", OneOf(("Ab1",)), True),
            ("patient_id", "A\\B", OneOf(("B",)), True),
            ("patient_id", "A\\B", Wildcard("A*B"), False),
            ("patient_id", "A[1]%_", Wildcard("A[1]%?"), True),
            ("patient_id", "A1", Wildcard("A[1]"), False),
            ("patient_id", "A1", Wildcard("A[0-9]*"), False),
            ("other_patient_ids", "X\\Y\\Z", OneOf(("Q", "Y")), True),
            ("other_patient_ids", "X\\Y\\Z", Wildcard("Y*"), True),
            ("study_date", "2006.01.02", OneOf(("20060102",)), True),
            ("study_date", "20060102", Range("20060102", None), True),
            ("study_date", "20060102", Range(None, "20060102"), True),
            ("study_date", "20060102", Range("20060103", "20070101"), False),
            ("study_date", "", Range(None, "20070101"), False),
            ("study_time", "10", OneOf(("100000.000000",)), True),
            ("study_time", "10:30:15", OneOf(("103015.000000",)), True),
            ("study_time", "1030", Range("102959.000000", "103000.000000"), True),
            ("study_time", "103000.5", Range(None, "103000.499999"), False),
            ("series_number", "01", OneOf(("1",)), True),
            ("series_number", "+1", OneOf(("0001",)), True),
            ("series_number", "-1", OneOf(("1",)), False),
            ("series_number", "one", OneOf(("one",)), True),
            ("series_number", "", OneOf(("0",)), False),
            ("modality", "CT", OneOf(("MR", "CT")), True),
            ("modality", "CT", OneOf(()), False),
        ],
    )
    def test_matching(self, index: Index, name: str, value: str, condition: Condition, matches: bool) -> None:
        """Each VR matches by its meaning; only names ignore case (PS3.4 C.2.2.2)."""
        index.add(instance(1, header(**{name: value})))

        assert matches is bool(names_found(index, Level.SERIES, "series_instance_uid", **{name: condition}))

    def test_matching_of_lists(self, index: Index) -> None:
        """Any modality or SOP class of a study matches."""
        index.add(instance(1, header("1.1", series="1.10", modality="CT")))
        index.add(instance(2, header("1.2", series="1.11", modality="SR", sop_class_uid=SR)))

        for condition in (OneOf(("SR",)), Wildcard("S*"), OneOf(("MR", "CT"))):
            assert 1 == len(names_found(index, Level.STUDY, "study_id", modalities_in_study=condition))
        assert [] == names_found(index, Level.STUDY, "study_id", modalities_in_study=OneOf(("C",)))
        assert 1 == len(names_found(index, Level.STUDY, "study_id", sop_classes_in_study=OneOf((SR,))))

    def test_instances_in_order(self, index: Index) -> None:
        """Instances come by number within their series, those without a number first."""
        numbers = ("10", "9", "", "2")
        for place, number in enumerate(numbers):
            index.add(instance(place, header(f"1.2.3.{place}", instance_number=number)))

        query = Query(Level.STUDY, {"study_instance_uid": STUDY_UID})
        assert ["", "2", "9", "10"] == [found.header.instance_number for found in index.instances(query)]
        assert 4 == index.count_instances(query)

    @pytest.mark.parametrize("level", list(Level))
    def test_instances_below_what_matches(self, index: Index, level: Level) -> None:
        """Exactly the current versions below the matching entities come, and are counted."""
        index.add(instance(1, header("1.1", "1", "1.10", patient_id="P", instance_number="1")))
        index.add(instance(2, header("1.2", "1", "1.11", patient_id="P", instance_number="2")))
        index.add(instance(3, header("1.2", "1", "1.11", patient_id="P", instance_number="2")))
        index.add(instance(4, header("2.1", "2", "2.10", patient_id="Q")))

        query = Query(level, {"patient_id": OneOf(("P",))})
        assert [1001, 1003] == [found.stored.size for found in index.instances(query)]
        assert 2 == index.count_instances(query)

    def test_instances_of_an_image_query(self, index: Index) -> None:
        """A list of SOP Instance UIDs gives these and no others of their series."""
        index.add_many([instance(n, header(f"1.2.3.{n}", instance_number=str(n))) for n in range(20)])

        query = Query(Level.IMAGE, {"sop_instance_uid": OneOf(("1.2.3.7", "1.2.3.3", "1.2.3.99"))})
        assert ["1.2.3.3", "1.2.3.7"] == [found.header.sop_instance_uid for found in index.instances(query)]
        assert 2 == index.count_instances(query)

    @pytest.mark.parametrize("level", list(Level))
    def test_kinds_of_what_matches(self, index: Index, level: Level) -> None:
        """Each class and syntax of current versions below the matching entities comes once; other ones do not."""
        jpeg = Uid("1.2.840.10008.1.2.4.50")
        index.add(instance(1, header("1.1", "1", "1.10", patient_id="P")))
        index.add(instance(2, header("1.2", "1", "1.10", patient_id="P")))
        index.add(instance(3, header("1.3", "1", "1.11", patient_id="P", sop_class_uid=SR)))
        superseded = instance(4, header("1.4", "1", "1.10", patient_id="P"))
        index.add(replace(superseded, stored=replace(superseded.stored, transfer_syntax_uid=jpeg)))
        newer = instance(5, header("1.4", "1", "1.10", patient_id="P"))
        assert Outcome.UNDECIDED == index.add(newer)
        assert Outcome.UNDECIDED == index.add_beside(newer, [instance(1).stored.key])
        assert Outcome.NEW_VERSION == index.add_beside(newer, [superseded.stored.key])
        index.add(instance(6, header("2.1", "2", "2.10", patient_id="Q", sop_class_uid="1.2.3.4")))

        query = Query(level, {"patient_id": OneOf(("P",))})
        ct, explicit = instance(1).header.sop_class_uid, instance(1).stored.transfer_syntax_uid
        assert sorted([(ct, explicit), (SR, explicit)]) == index.kinds(query)
        assert [] == index.kinds(Query(level, {"patient_id": OneOf(("R",))}))

    def test_kinds_of_an_image_query(self, index: Index) -> None:
        """Other instances of the same series do not count."""
        index.add(instance(1, header("1.1", "1", "1.10")))
        index.add(instance(2, header("1.2", "1", "1.10", sop_class_uid=SR)))

        query = Query(Level.IMAGE, {"sop_instance_uid": OneOf(("1.2",))})
        assert [(SR, instance(2).stored.transfer_syntax_uid)] == index.kinds(query)

    def test_everything_in_order_of_keys(self, index: Index) -> None:
        """All versions come, in order of arrival, over any number of pages."""
        index.add_many([instance(number, header(f"1.{number % 700}")) for number in reversed(range(1200))])

        assert [key(number) for number in range(1200)] == [found.stored.key for found in index.everything()]

    def test_holdings(self, index: Index) -> None:
        """They say of every version, old or current, what ``everything`` says, from the same key on."""
        index.add_many([instance(number, header(f"1.{number % 700}")) for number in reversed(range(1200))])
        since = key(3)

        assert [(found.stored, arrival_of(found)) for found in index.everything(since)] == [
            (holding.stored, holding.arrival) for holding in index.holdings(since)
        ]

    def test_more_than_a_page(self, index: Index) -> None:
        """Many matches come once each."""
        index.add_many([instance(n, header(f"1.{n}", f"2.{n}", f"3.{n}", patient_id=str(n))) for n in range(1100)])

        for level in Level:
            assert 1100 == len(set(names_found(index, level, "patient_id")))
        assert 1100 == len(list(index.instances(Query(Level.PATIENT))))

    def test_closed_early(self, index: Index) -> None:
        """A search that is given up halfway holds up nobody."""
        index.add_many([instance(n, header(f"1.{n}", f"2.{n}")) for n in range(600)])
        search, below = index.find(Query(Level.STUDY)), index.instances(Query(Level.STUDY))
        next(search), next(below)

        index.remove(Uid("1.1"))
        search.close()
        below.close()
        assert 599 == index.totals().instances

    def test_many_threads(self, index: Index) -> None:
        """What sixteen threads add at once is all there, counted right."""
        outcomes: list[Outcome] = []

        def add(thread: int) -> None:
            for n in range(20):
                number = thread * 20 + n
                outcomes.append(index.add(instance(number, header(f"1.{number}", "1", f"1.{thread % 3}"))))

        threads = [threading.Thread(target=add, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [Outcome.STORED] * 320 == outcomes
        assert Totals(1, 1, 3, 320, 320 * 1000 + sum(range(320))) == index.totals()

    def test_close_twice(self, index: Index) -> None:
        """Closing again does nothing."""
        index.close()
        index.close()

        with pytest.raises(IndexFailure):
            index.totals()

    def test_study_with_all_versions(self, index: Index) -> None:
        """All versions of a study's instances in order of their keys; those of other studies are not among them."""
        index.add(instance(3))
        index.add(instance(1))
        index.add(instance(2, header("9.1", study="9", series="9.0")))

        assert [key(1), key(3)] == [found.stored.key for found in index.of_study(Uid("1.2.3"))]
        assert [] == index.of_study(Uid("1.2"))

    def test_struck_together_and_put_back(self, index: Index) -> None:
        """What is struck is gone from every count, and noted; put back, all is as it was; twice is as once."""
        both = [instance(1), instance(2)]
        index.add_many(both)
        index.add(instance(3, header("9.1", study="9", series="9.0")))
        before, place = index.totals(), index.here()

        assert both == index.strike_many([key(1), key(2), key(7)])
        assert [key(3)] == list(index.keys())
        changes = index.changes(place)
        assert changes is not None
        assert {key(1), key(2)} == set(changes.gone)

        assert [Outcome.STORED, Outcome.NEW_VERSION] == index.put_back(both)
        assert [Outcome.ALREADY_THERE] * 2 == index.put_back(both)
        assert before == index.totals()
        assert both[::-1] == index.versions(UID)
