"""Which moments a schedule names. Pure: no clock, no I/O; all moments are in UTC.

A moment is the key under which the ledger knows a run, so each has to come out the same however it is asked for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Protocol

from pacsnode.config import Cron, Every, Schedule

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND, _SECOND, _MINUTE, _DAY = (
    timedelta(microseconds=1),
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(days=1),
)


class Calendar(Protocol):
    """The moments of one schedule."""

    def latest(self, moment: datetime) -> datetime:
        """The last one that is not after this."""

    def after(self, moment: datetime) -> datetime:
        """The first one after this."""


def calendar(schedule: Schedule, zone: tzinfo) -> Calendar:
    """The moments of the schedule; ``zone`` is that of the local times in it."""
    if isinstance(schedule, Every):
        return _Multiples(timedelta(seconds=schedule.seconds))
    return _Clock(schedule, zone) if schedule.is_every_hour else _LocalTimes(schedule, zone)


def count_between(moments: Calendar, first: datetime, last: datetime, limit: int) -> int:
    """How many moments lie strictly between these two; counts up to the limit."""
    count, moment = 0, moments.after(first)
    while moment < last and count < limit:
        count, moment = count + 1, moments.after(moment)
    return count


class _Multiples:
    """Whole multiples of a time, from 1970 on."""

    def __init__(self, step: timedelta) -> None:
        self._step = step

    def latest(self, moment: datetime) -> datetime:
        return _EPOCH + (moment - _EPOCH) // self._step * self._step

    def after(self, moment: datetime) -> datetime:
        return self.latest(moment) + self._step


class _LocalTimes:
    """Local times, each of them once: in a doubled hour the first time, in one that does not exist at its end."""

    def __init__(self, cron: Cron, zone: tzinfo) -> None:
        self._times = _Times(cron)
        self._zone = zone

    def latest(self, moment: datetime) -> datetime:
        local = moment.astimezone(self._zone)
        overlap = timedelta() if local.fold == 0 else _offset(local.replace(fold=0)) - _offset(local)
        nominal = self._times.last(_naive(local) + overlap)
        while (found := self._moment(nominal)) is None or found > moment:
            nominal = self._times.last(nominal - _MINUTE)
        return found

    def after(self, moment: datetime) -> datetime:
        nominal = self._times.first(_naive(moment.astimezone(self._zone)))
        while (found := self._moment(nominal)) is None or found <= moment:
            nominal = self._times.first(nominal + _MINUTE)
        return found

    def _moment(self, nominal: datetime) -> datetime | None:
        """Grows with the nominal time, so that order is kept; None on a day that the zone leaves out."""
        found = nominal.replace(tzinfo=self._zone).astimezone(UTC)
        if _naive(found.astimezone(self._zone)) == nominal:
            return found
        before = nominal.replace(tzinfo=self._zone, fold=1).astimezone(UTC)
        return None if found - before >= _DAY else _transition(self._zone, before, found)


class _Clock:
    """Every moment at which a clock on the wall shows one of the times, twice in a doubled hour."""

    def __init__(self, cron: Cron, zone: tzinfo) -> None:
        self._times = _Times(cron)
        self._zone = zone

    def latest(self, moment: datetime) -> datetime:
        while True:
            local = moment.astimezone(self._zone)
            found = moment - (_naive(local) - self._times.last(_naive(local)))
            if _offset(found.astimezone(self._zone)) == _offset(local):
                return found
            moment = _transition(self._zone, found, moment) - _MICROSECOND

    def after(self, moment: datetime) -> datetime:
        moment += _MICROSECOND
        while True:
            local = moment.astimezone(self._zone)
            found = moment + (self._times.first(_naive(local)) - _naive(local))
            if _offset(found.astimezone(self._zone)) == _offset(local):
                return found
            moment = _transition(self._zone, moment, found)


class _Times:
    """The minutes of a schedule, in a time without any zone."""

    def __init__(self, cron: Cron) -> None:
        self._cron = cron
        self._of_day = [time(hour, minute) for hour in cron.hours for minute in cron.minutes]

    def first(self, at: datetime) -> datetime:
        """The first that is not before this."""
        day, index = at.date(), bisect_left(self._of_day, at.time())
        while index == len(self._of_day) or not self._has(day):
            day, index = day + _DAY, 0
        return datetime.combine(day, self._of_day[index])

    def last(self, at: datetime) -> datetime:
        """The last that is not after this."""
        day, index = at.date(), bisect_right(self._of_day, at.time())
        while not index or not self._has(day):
            day, index = day - _DAY, len(self._of_day)
        return datetime.combine(day, self._of_day[index - 1])

    def _has(self, day: date) -> bool:
        cron = self._cron
        return day.day in cron.days and day.month in cron.months and day.isoweekday() % 7 in cron.weekdays


def _naive(local: datetime) -> datetime:
    return local.replace(tzinfo=None, fold=0)


def _offset(local: datetime) -> timedelta:
    return local.utcoffset() or timedelta()


def _transition(zone: tzinfo, before: datetime, at: datetime) -> datetime:
    """The moment from which on the zone's offset is another than at ``before``; it is not after ``at``."""
    offset = _offset(before.astimezone(zone))
    low, high = (before - _EPOCH) // _SECOND, -((_EPOCH - at) // _SECOND)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset((_EPOCH + middle * _SECOND).astimezone(zone)) == offset:
            low = middle
        else:
            high = middle
    return _EPOCH + high * _SECOND
