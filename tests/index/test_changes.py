"""What became of the rows is told at a cost of what changed, and nothing is left out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pacsnode.index import changes
from pacsnode.index.changes import Place
from pacsnode.index.sqlite import SqliteIndex
from pacsnode.model import Instance, Key
from tests.index.samples import header, instance, key, stored


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SqliteIndex]:
    opened = SqliteIndex(tmp_path / "index.db")
    yield opened
    opened.close()


def numbered(number: int) -> Instance:
    return instance(number, header(f"1.2.3.{number}"))


class Follower:
    """Somebody who keeps the set of keys by what he is told."""

    def __init__(self, index: SqliteIndex) -> None:
        self.index = index
        self.place = replace(index.here(), row=0)
        self.keys: set[Key] = set()
        self.told = 0

    def follow(self) -> set[Key]:
        has_more = True
        while has_more:
            found = self.index.changes(self.place)
            assert found is not None
            self.keys = (self.keys - set(found.gone)) | set(found.come)
            self.told += len(found.gone) + len(found.come)
            self.place, has_more = found.place, found.has_more
        return self.keys


def test_what_came_and_went(index: SqliteIndex) -> None:
    """Arrivals, removals, strikes and moves are told once, and then no more."""
    follower = Follower(index)
    index.add_many([numbered(number) for number in range(1, 6)])
    first = set(follower.follow())
    index.remove(numbered(2).header.sop_instance_uid)
    index.strike(key(3))
    index.relocate(stored(4), replace(numbered(4), stored=stored(44)))
    second = set(follower.follow())
    told = follower.told
    follower.follow()

    assert {key(number) for number in range(1, 6)} == first
    assert {key(1), key(44), key(5)} == second
    assert told == follower.told


def test_a_row_id_that_is_given_again(index: SqliteIndex) -> None:
    """SQLite gives the newest row's id again once it is removed: its new owner is told, too."""
    follower = Follower(index)
    index.add_many([numbered(1), numbered(2)])
    follower.follow()
    index.strike(key(2))
    index.add(numbered(3))

    assert {key(1), key(3)} == follower.follow()


def test_what_is_forgotten(index: SqliteIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not as far as the oldest entry that is left is to read anew; who is, is told all."""
    monkeypatch.setattr(changes, "KEPT", 2)
    behind, level = Follower(index), Follower(index)
    index.add_many([numbered(number) for number in range(1, 6)])
    behind.follow()
    for number in (1, 2, 3):
        index.strike(key(number))
        if number == 1:
            level.follow()

    assert (1, 0) == (index.forget_changes(), index.forget_changes())
    assert index.changes(behind.place) is None
    assert {key(4), key(5)} == level.follow()
    index.strike(key(4))
    assert {key(5)} == level.follow()


def test_another_index(index: SqliteIndex, tmp_path: Path) -> None:
    """An index that was rebuilt, or one that is older than the place, is to be read anew."""
    index.add(numbered(1))
    place = index.here()
    rebuilt = SqliteIndex(tmp_path / "other.db")
    rebuilt.add(numbered(1))
    answer = rebuilt.changes(place)
    rebuilt.close()

    assert None is answer
    assert None is index.changes(Place(place.identity, place.row + 1, place.change))
    assert None is index.changes(Place(place.identity, place.row, place.change + 1))


@pytest.mark.parametrize("page", [1, 2, 3, 10_000])
def test_any_history(index: SqliteIndex, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens, in pages of any size: whoever follows comes to know exactly the keys that there are."""
    monkeypatch.setattr("pacsnode.index.changes.PAGE", page)
    chance = random.Random(page)
    follower = Follower(index)
    number = 0
    for _ in range(40):
        for _ in range(chance.randrange(6)):
            number += 1
            there = list(index.keys())
            kind = chance.random()
            if kind < 0.5 or not there:
                index.add(numbered(number))
            elif kind < 0.8:
                index.strike(chance.choice([there[-1], chance.choice(there)]))
            else:
                old = index.at(chance.choice(there))
                assert old is not None
                index.relocate(old.stored, replace(old, stored=stored(number, old.header.sop_instance_uid)))
        follower.follow()

        assert set(index.keys()) == follower.keys
