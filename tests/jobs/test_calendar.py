"""Which moments a schedule names, across daylight saving."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacsnode.config.schedule import parse
from pacsnode.jobs.calendar import Calendar, calendar, count_between

# Both hemispheres; half an hour of daylight saving; changes at midnight; a negative one; quarter-hour offsets.
ZONES = (
    "Europe/Brussels",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Europe/Dublin",
    "Pacific/Chatham",
    "Africa/Casablanca",
    "Asia/Beirut",
)
DAYS = [timedelta(days=1) * number for number in range(366)]
SCHEDULES = (
    "every 5 min",
    "every 7 s",
    "0 2 * * *",
    "30 2 * * *",
    "*/20 1-3 * * *",
    "*/30 * * * *",
    "15 0 1 * *",
    "0 0 29 2 *",
)


def moments(schedule: Calendar, first: datetime, last: datetime) -> Iterator[datetime]:
    """All of them after the first, up to the last."""
    moment = schedule.after(first)
    while moment <= last:
        yield moment
        moment = schedule.after(moment)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("time_of_day", ["30 2", "0 0", "15 1", "59 23", "0 3", "30 0", "45 2"])
def test_daily_runs_once_a_local_day(zone: str, time_of_day: str) -> None:
    """Over a whole year with both its changes, each local day has exactly one moment."""
    where = ZoneInfo(zone)
    first, last = datetime(2025, 1, 1, tzinfo=where), datetime(2026, 1, 1, tzinfo=where)
    daily = calendar(parse(f"{time_of_day} * * *"), where)

    found = moments(
        daily, first.astimezone(UTC) - timedelta(microseconds=1), last.astimezone(UTC) - timedelta(seconds=1)
    )

    expected = Counter({(datetime(2025, 1, 1) + day).date(): 1 for day in DAYS[:365]})
    assert expected == Counter(moment.astimezone(where).date() for moment in found)


@pytest.mark.parametrize("zone", ZONES)
def test_every_hour_follows_the_clock(zone: str) -> None:
    """With * for the hour a schedule goes through doubled hours twice: each moment at which the clock shows it."""
    where = ZoneInfo(zone)
    schedule = calendar(parse("10,50 * * * *"), where)
    first = datetime(2025, 1, 1, tzinfo=UTC)
    every_minute = (first + timedelta(minutes=number) for number in range(1, 366 * 24 * 60))

    expected = [moment for moment in every_minute if moment.astimezone(where).minute in (10, 50)]
    assert expected == list(moments(schedule, first, expected[-1]))


def test_brussels_at_half_past_two() -> None:
    """At the end of the gap in March, and in October the first time."""
    where = ZoneInfo("Europe/Brussels")
    daily = calendar(parse("30 2 * * *"), where)

    spring, autumn = (
        daily.after(datetime(2025, 3, 29, 12, tzinfo=UTC)),
        daily.after(datetime(2025, 10, 25, 12, tzinfo=UTC)),
    )

    assert (datetime(2025, 3, 30, 1, 0, tzinfo=UTC), datetime(2025, 10, 26, 0, 30, tzinfo=UTC)) == (spring, autumn)
    assert datetime(2025, 10, 27, 1, 30, tzinfo=UTC) == daily.after(autumn)


def test_a_day_that_a_zone_leaves_out() -> None:
    """Samoa had no 30 December 2011: nothing runs twice on the next day for it."""
    where = ZoneInfo("Pacific/Apia")
    daily = calendar(parse("0 2 * * *"), where)

    found = moments(daily, datetime(2011, 12, 28, tzinfo=UTC), datetime(2012, 1, 2, tzinfo=UTC))

    days = [moment.astimezone(where).strftime("%d %H") for moment in found]
    assert ["28 02", "29 02", "31 02", "01 02", "02 02"] == days


@given(
    text=st.sampled_from(SCHEDULES),
    zone=st.sampled_from(ZONES),
    moment=st.datetimes(datetime(2025, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)),
)
def test_latest_and_after_agree(text: str, zone: str, moment: datetime) -> None:
    """Looking back and looking ahead name the same moments, whenever one looks: the ledger's key depends on it."""
    schedule = calendar(parse(text), ZoneInfo(zone))

    latest, following = schedule.latest(moment), schedule.after(moment)

    assert latest <= moment < following
    assert following == schedule.after(latest)
    assert latest == schedule.latest(latest) == schedule.latest(following - timedelta(microseconds=1))
    assert following == schedule.latest(following)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("text", ["30 2 * * *", "*/20 1-3 * * *", "10,50 * * * *"])
def test_latest_and_after_agree_around_changes(zone: str, text: str) -> None:
    """Every ten minutes of the days around every change of the year."""
    where = ZoneInfo(zone)
    schedule = calendar(parse(text), where)
    hours = [datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=number) for number in range(365 * 24)]
    changes = [
        one
        for one in hours
        if one.astimezone(where).utcoffset() != (one + timedelta(hours=1)).astimezone(where).utcoffset()
    ]
    assert 2 <= len(changes)
    for change in changes:
        for minutes in range(-1440, 1440, 10):
            moment = change + timedelta(minutes=minutes)
            latest = schedule.latest(moment)
            assert latest <= moment < schedule.after(moment) == schedule.after(latest)


def test_weekdays_count_from_sunday() -> None:
    """0, 7 and sun are Sunday, as cron has it."""
    start, where = datetime(2026, 11, 24, tzinfo=UTC), ZoneInfo("UTC")

    found = {
        text: calendar(parse(f"0 4 * * {text}"), where).after(start) for text in ("0", "7", "sun", "5-7/2", "mon-fri")
    }

    sunday, tuesday = datetime(2026, 11, 29, 4, tzinfo=UTC), datetime(2026, 11, 24, 4, tzinfo=UTC)
    assert {
        "0": sunday,
        "7": sunday,
        "sun": sunday,
        "5-7/2": datetime(2026, 11, 27, 4, tzinfo=UTC),
        "mon-fri": tuesday,
    } == found


def test_counting_between_two_moments() -> None:
    """Neither of the two is counted, and no more than the limit."""
    schedule = calendar(parse("every 1 h"), ZoneInfo("UTC"))
    first = datetime(2026, 1, 1, tzinfo=UTC)

    counts = [count_between(schedule, first, first + timedelta(hours=hours), 100) for hours in (0, 1, 2, 25, 1000)]

    assert [0, 0, 1, 24, 100] == counts
