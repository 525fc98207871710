from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacsnode.model import Key
from pacsnode.storage import layout

TIMES = st.datetimes(datetime(1970, 1, 2), datetime(4000, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
RANDOM = st.binary(min_size=layout.RANDOM_BYTES, max_size=16)
NOON = datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)
ROOT = Path("/archive/objects")


def test_key_is_made_of_time_and_randomness() -> None:
    """Day, shard, microseconds since 1970 and the randomness can be read off a key."""
    key = layout.new_key(NOON, bytes(range(9)))

    microseconds = int(NOON.timestamp()) * 1_000_000 + 123456
    assert f"2024/02/29/80/{microseconds:014x}000102030405060708" == key


@given(TIMES, TIMES, RANDOM, RANDOM)
def test_order_of_keys_is_order_of_arrival(first: datetime, second: datetime, left: bytes, right: bytes) -> None:
    """Whatever the randomness, an earlier microsecond sorts before a later one."""
    earlier, later = min(first, second), max(first, second)
    keys = layout.new_key(earlier, left), layout.new_key(later, right)

    assert earlier == later or keys[0] < keys[1]


@given(TIMES, RANDOM, RANDOM)
def test_next_microsecond_sorts_later(now: datetime, left: bytes, right: bytes) -> None:
    """Not even two neighbouring microseconds change places, at midnight or at a shard's edge."""
    following = now + timedelta(microseconds=1)

    assert layout.new_key(now, left) < layout.new_key(following, right)


@given(TIMES, ZONES, RANDOM)
def test_zone_of_the_clock_does_not_matter(now: datetime, zone: timezone, randomness: bytes) -> None:
    """The same moment told in another zone makes the same key."""
    assert layout.new_key(now, randomness) == layout.new_key(now.astimezone(zone), randomness)


@given(TIMES, RANDOM)
def test_round_trip(now: datetime, randomness: bytes) -> None:
    """A key, its path and its relative path tell the same."""
    key = layout.new_key(now, randomness)
    relative = layout.path(ROOT, key).relative_to(ROOT)

    assert key == layout.parse(relative) == layout.parse(str(relative)) == layout.parse(PurePosixPath(relative))
    assert layout.is_key(key)
    assert layout.is_folder(str(relative.parent))


def test_arrivals_of_some_seconds_share_a_directory() -> None:
    """A day has 256 shards of 337.5 s: one directory fsync serves what arrives together."""
    midnight = datetime(2024, 5, 1, tzinfo=UTC)
    shards = {layout.new_key(midnight + timedelta(seconds=s), bytes(9))[11:13] for s in range(0, 24 * 3600, 7)}

    assert {f"{shard:02x}" for shard in range(256)} == shards


@given(TIMES, RANDOM)
def test_different_randomness_makes_different_keys(now: datetime, randomness: bytes) -> None:
    """Two instances of one microsecond do not meet under one key."""
    other = bytes([randomness[0] ^ 1]) + randomness[1:]

    assert layout.new_key(now, randomness) != layout.new_key(now, other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024/02/29/80/0123456789abcdef0123456789abcde",
        "2024/02/29/80/0123456789abcdef0123456789abcdef0",
        "2024/02/29/80/0123456789ABCDEF0123456789abcdef",
        "2024/02/29/80/0123456789abcdef0123456789abcdef\n",
        "2024/02/29/80/0123456789abcdef0123456789abcdef.part",
        "2024/13/29/80/0123456789abcdef0123456789abcdef",
        "2024/02/32/80/0123456789abcdef0123456789abcdef",
        "2024/02/29/8g/0123456789abcdef0123456789abcdef",
        "/2024/02/29/80/0123456789abcdef0123456789abcdef",
        "x/2024/02/29/80/0123456789abcdef0123456789abcdef",
        "٢٠٢٤/02/29/80/0123456789abcdef0123456789abcdef",
        "../../../../etc/passwd",
        "2024/02/29/../0123456789abcdef0123456789abcdef",
        "2024/02/29/80/..",
        "2024/02/29/80",
    ],
)
def test_anything_else_is_not_an_object(text: str) -> None:
    """A name of another form is no key, wherever it comes from, and gets no path."""
    assert not layout.is_key(text)
    assert layout.parse(text) is None
    with pytest.raises(ValueError, match="not a key"):
        layout.path(ROOT, Key(text))


@given(st.text(st.sampled_from("0123456789abcdef/.\\~ \0\n-"), max_size=60) | st.text(max_size=60))
def test_nothing_escapes_the_root(text: str) -> None:
    """Every path that is answered lies four folders below the root; everything else is refused."""
    try:
        path = layout.path(ROOT, Key(text))
    except ValueError:
        return

    assert ROOT == path.parents[4]
    assert ".." not in path.parts


@given(st.from_regex(re.compile(r"[0-9]{4}/[01][0-9]/[0-3][0-9]/[0-9a-f]{2}/[0-9a-f]{32}"), fullmatch=True))
def test_keys_and_folders_agree(text: str) -> None:
    """What is a key lies in a folder of ours, and in folders of ours above that."""
    if layout.is_key(text):
        folders = [str(folder) for folder in PurePosixPath(text).parents][:-1]

        assert [True] * 4 == [layout.is_folder(folder) for folder in folders]


@pytest.mark.parametrize(
    "folder", ["", ".", "..", "lost+found", "2024/1", "2024/13", "2024/12/00", "2024/12/31/xx", "202"]
)
def test_foreign_folder(folder: str) -> None:
    """Folders that no key lies below are not ours."""
    assert not layout.is_folder(folder)


def test_too_little_randomness() -> None:
    """Less than nine bytes could collide, and are refused."""
    with pytest.raises(ValueError, match="9 bytes of randomness, not 8"):
        layout.new_key(NOON, bytes(8))


def test_time_without_zone() -> None:
    """A naive time is a mistake of the caller's: it would be taken for local time."""
    with pytest.raises(ValueError, match="zone"):
        layout.new_key(NOON.replace(tzinfo=None), bytes(9))


@pytest.mark.parametrize("year", [1969, 4300])
def test_time_out_of_range(year: int) -> None:
    """Times that the 56 bits cannot hold are refused instead of sorted wrongly."""
    with pytest.raises(ValueError, match=str(year)):
        layout.new_key(NOON.replace(year=year, day=1), bytes(9))


def test_sibling_sorts_as_the_old_key() -> None:
    """A new encoding's key differs, and keeps its place among those of one microsecond."""
    key = layout.new_key(datetime(2026, 5, 6, tzinfo=UTC), bytes(range(9)))
    new = layout.sibling(key, b"\xff" * 4)

    assert layout.is_key(new)
    assert (key[:-8], "f" * 8) == (new[:-8], new[-8:])
    with pytest.raises(ValueError, match="randomness"):
        layout.sibling(key, b"123")
