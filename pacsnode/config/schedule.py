"""When a job runs, as a file says it: ``"every 5 min"``, or five fields as of cron, ``"0 2 * * *"``."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

_ALLOWED = (
    'a schedule such as "every 5 min" (units s, min, h, d), or minute, hour, day, month and day of the week as of '
    'cron, "0 2 * * *" or "30 4 * * sun"'
)
_EVERY = re.compile(r"every ([0-9]{1,9}(?:\.[0-9]{1,3})?) ?(s|min|h|d)")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_LONGEST_SECONDS = 366 * 86_400
_PART = re.compile(r"(\*|[0-9a-z]+)(?:-([0-9a-z]+))?(?:/([0-9]+))?")
_MONTHS = dict(
    zip(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), range(1, 13), strict=True)
)
_WEEKDAYS = dict(zip(("sun", "mon", "tue", "wed", "thu", "fri", "sat"), range(7), strict=True))
_SUNDAY_TOO = 7  # cron knows two numbers for it
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True, slots=True)
class Every:
    """Again and again, at whole multiples of the time since 1970 (UTC)."""

    text: str
    seconds: float = field(compare=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Cron:
    """At local times. Each field holds its values in ascending order; days of the week count from Sunday, 0."""

    text: str
    minutes: tuple[int, ...] = field(compare=False)
    hours: tuple[int, ...] = field(compare=False)
    days: tuple[int, ...] = field(compare=False)
    months: tuple[int, ...] = field(compare=False)
    weekdays: tuple[int, ...] = field(compare=False)
    is_every_hour: bool = field(compare=False)  # the hour is *: it follows the clock, through a doubled hour twice

    def __str__(self) -> str:
        return self.text


Schedule = Every | Cron


def parse(value: object) -> Schedule:
    """The schedule that a text says. Raises ValueError."""
    if isinstance(value, Every | Cron):
        return value
    if not isinstance(value, str):
        raise ValueError(f"not a schedule; {_ALLOWED}")
    if found := _EVERY.fullmatch(value):
        return _every(value, found)
    fields = value.split(" ")
    if len(fields) != 5:
        raise ValueError(f"not a schedule; {_ALLOWED}")
    return _cron(value, fields)


def _every(text: str, found: re.Match[str]) -> Every:
    seconds = float(Decimal(found[1]) * _SECONDS[found[2]])
    if not 1 <= seconds <= _LONGEST_SECONDS:
        raise ValueError(f'too short or too long; "every 1 s" to "every 366 d", or {_ALLOWED}')
    return Every(text, seconds)


def _cron(text: str, fields: list[str]) -> Cron:
    minutes, hours, days, months = (
        _values("minute", fields[0], 0, 59, {}),
        _values("hour", fields[1], 0, 23, {}),
        _values("day", fields[2], 1, 31, {}),
        _values("month", fields[3], 1, 12, _MONTHS),
    )
    weekdays = sorted({day % _SUNDAY_TOO for day in _values("day of the week", fields[4], 0, _SUNDAY_TOO, _WEEKDAYS)})
    if fields[2] != "*" and fields[4] != "*":  # the one and the other to cron, both to others
        raise ValueError("a day and a day of the week at once, which could mean two things; * for one of them")
    if not any(days[0] <= _DAYS_IN_MONTH[month - 1] for month in months):
        raise ValueError("a day that none of these months has; a day that there is")
    return Cron(text, minutes, hours, days, months, tuple(weekdays), is_every_hour=fields[1] == "*")


def _values(name: str, text: str, low: int, high: int, names: dict[str, int]) -> tuple[int, ...]:
    values: set[int] = set()
    for part in text.lower().split(","):
        found = _PART.fullmatch(part)
        if found is None or (found[1] == "*" and found[2]):
            raise ValueError(f"{name} {text} cannot be read; {_ALLOWED}")
        first = low if found[1] == "*" else _number(name, found[1], low, high, names)
        is_open = found[1] == "*" or found[3] is not None
        last = _number(name, found[2], low, high, names) if found[2] else high if is_open else first
        step = int(found[3] or 1)
        if step < 1 or last < first:
            raise ValueError(f"{name} {text} names nothing; {_ALLOWED}")
        values.update(range(first, last + 1, step))
    return tuple(sorted(values))


def _number(name: str, text: str, low: int, high: int, names: dict[str, int]) -> int:
    number = names.get(text, int(text) if text.isdecimal() else -1)
    if not low <= number <= high:
        raise ValueError(f"{name} {text} is not one from {low} to {high}; {_ALLOWED}")
    return number


ScheduleText = Annotated[
    Schedule,
    PlainValidator(parse),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["every 5 min", "0 2 * * *"]}),
]
"""When a job runs."""
