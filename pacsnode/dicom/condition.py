"""Attribute matching (PS3.4 C.2.2.2): from the value of a key to a condition on the index.

The VR decides the kind of matching. Several values of one key mean any of them, which the standard leaves open.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from pacsnode.dicom import moment
from pacsnode.dicom.attributes import ATTRIBUTES, Attribute
from pacsnode.dicom.coding import tag_name
from pacsnode.errors import InvalidQuery
from pacsnode.model import Condition, Moments, OneOf, Range, Wildcard

MAX_VALUES = 10_000  # of one key; bounds what a single question can cost

_UID = re.compile(r"[0-9.]{1,64}\Z")
_AGE = re.compile(r"[0-9]{3}[DWMY]\Z")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?\Z")
_MAX_DECIMAL = 16  # characters of a DS
_NUMBER = re.compile(r"[+-]?[0-9]{1,12}\Z")
# With the separators of ACR-NEMA, which PS3.5 6.2 asks us to read. A 31st of February does no harm as an end of range.
_DATE = re.compile(r"([0-9]{4})(\.?)(0[1-9]|1[0-2])\2(0[1-9]|[12][0-9]|3[01])\Z")
_TIME = re.compile(r"([01][0-9]|2[0-3])(?:(:?)([0-5][0-9])(?:\2([0-5][0-9]|60)(?:\.([0-9]{1,6}))?)?)?\Z")
_PAIRS: Mapping[str, str] = MappingProxyType({
    date.name: time.name
    for date in ATTRIBUTES
    for time in ATTRIBUTES
    if (date.vr, time.vr) == ("DA", "TM") and time.name == date.name.removesuffix("date") + "time"
})  # fmt: skip
_STARS = re.compile(r"\*+")


def parse(attribute: Attribute, text: str) -> Condition | None:
    """The condition that a key's decoded value sets; None is universal matching.

    Raises InvalidQuery, naming the tag, for a value that the attribute's VR cannot be matched with.
    """
    values = split(attribute, text)
    if not values or any(not value.strip("*") for value in values):
        return None
    return _PARSERS.get(attribute.vr, _any_text)(attribute, values)


def combined(conditions: Mapping[str, Condition]) -> dict[str, Condition]:
    """The same, but a range of dates and one of the times that go with them as one interval (PS3.4 C.2.2.2.5.4).

    An end without a date has no time, either; one without a time is the beginning or the end of its day.
    """
    result = dict(conditions)
    for date, time in _PAIRS.items():
        dates, times = conditions.get(date), conditions.get(time)
        if isinstance(dates, Range) and isinstance(times, Range):
            del result[time]
            low = dates.low and dates.low + (times.low or "000000.000000")
            high = dates.high and dates.high + (times.high or "235959.999999")
            result[date] = Moments(time, low, high)
    return result


def split(attribute: Attribute, text: str) -> tuple[str, ...]:
    """The distinct values of a key, without padding and empty ones."""
    stripped = (value.strip(" \0") for value in text.split("\\"))
    values = tuple(dict.fromkeys(value for value in stripped if value))
    if len(values) > MAX_VALUES:
        raise _refusal(attribute, f"has more than {MAX_VALUES} values")
    return values


def uids(attribute: Attribute, values: Sequence[str]) -> OneOf:
    """A list of UIDs (PS3.4 C.2.2.2.2), without wildcards."""
    if not all(map(_UID.match, values)):
        raise _refusal(attribute, "not a UID")
    return OneOf(tuple(values))


def has_wildcard(value: str) -> bool:
    """Whether the value would be a pattern where wildcards are allowed. Nothing escapes them."""
    return "*" in value or "?" in value


def _any_text(attribute: Attribute, values: Sequence[str]) -> Condition:
    if not any(map(has_wildcard, values)):
        return OneOf(tuple(values))
    if len(values) > 1:
        raise _refusal(attribute, "wildcard in a list of values")
    return Wildcard(_STARS.sub("*", values[0]))


def _numbers(attribute: Attribute, values: Sequence[str]) -> Condition:
    if not all(map(_NUMBER.match, values)):
        raise _refusal(attribute, "not an integer")
    return OneOf(tuple(values))


def _decimals(attribute: Attribute, values: Sequence[str]) -> Condition:
    if not all(len(value) <= _MAX_DECIMAL and _DECIMAL.match(value) for value in values):
        raise _refusal(attribute, "not a decimal number")
    return OneOf(tuple(values))


def _ages(attribute: Attribute, values: Sequence[str]) -> Condition:
    if not all(map(_AGE.match, values)):
        raise _refusal(attribute, "not an age")
    return OneOf(tuple(values))


def _moments(attribute: Attribute, values: Sequence[str]) -> Condition:
    """PS3.4 C.2.2.2.5.3. A hyphen may be an offset from UTC, too, which then is read so."""
    begins = [moment.earliest(value) for value in values]
    if all(begins):
        return OneOf(tuple(value for value in begins if value))
    if len(values) == 1:
        for place in (place for place, character in enumerate(values[0]) if character == "-"):
            begin, end = values[0][:place].strip(), values[0][place + 1 :].strip()
            low, high = moment.earliest(begin), moment.latest(end)
            if (low or high) and (low or not begin) and (high or not end):
                return Range(low, high)
    raise _refusal(attribute, "not a moment or range of moments")


def _dates(attribute: Attribute, values: Sequence[str]) -> Condition:
    def date(text: str) -> str:
        if match := _DATE.match(text):
            return match[1] + match[3] + match[4]
        raise _refusal(attribute, "not a date or range of dates")

    return _values_or_range(attribute, values, low=date, high=date)


def _times(attribute: Attribute, values: Sequence[str]) -> Condition:
    def time(text: str, minutes_or_seconds: str, fraction: str) -> str:
        if match := _TIME.match(text):
            hour, minute, second = match[1], match[3] or minutes_or_seconds, match[4] or minutes_or_seconds
            return f"{hour}{minute}{second}.{(match[5] or '').ljust(6, fraction)}"
        raise _refusal(attribute, "not a time or range of times")

    return _values_or_range(
        attribute, values, low=lambda text: time(text, "00", "0"), high=lambda text: time(text, "59", "9")
    )


def _values_or_range(
    attribute: Attribute, values: Sequence[str], *, low: Callable[[str], str], high: Callable[[str], str]
) -> Condition:
    if len(values) > 1 or "-" not in values[0]:
        return OneOf(tuple(low(value) for value in values))
    begin, _, end = (part.strip() for part in values[0].partition("-"))
    if not begin and not end:
        raise _refusal(attribute, "range without ends")
    return Range(low(begin) if begin else None, high(end) if end else None)


def _refusal(attribute: Attribute, problem: str) -> InvalidQuery:
    return InvalidQuery(f"{tag_name(attribute.tag)} {problem}")


_PARSERS: Mapping[str, Callable[[Attribute, Sequence[str]], Condition]] = MappingProxyType(
    {
        "UI": uids,
        "DA": _dates,
        "TM": _times,
        "DT": _moments,
        "IS": _numbers,
        "US": _numbers,
        "DS": _decimals,
        "AS": _ages,
    }
)
