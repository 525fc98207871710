"""Attribute matching in plain Python, written from PS3.4 C.2.2.2. Shares nothing with what it is compared with."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import TypeAlias, TypeVar

from pydicom.datadict import dictionary_VR

Value: TypeAlias = "str | list[Entity]"
Entity: TypeAlias = "dict[str, Value]"
"""Attributes by keyword: values joined by backslashes, or the items of a sequence."""

DATE_AND_TIME = (
    ("StudyDate", "StudyTime"),
    ("SeriesDate", "SeriesTime"),
    ("ContentDate", "ContentTime"),
    ("AcquisitionDate", "AcquisitionTime"),
    ("PatientBirthDate", "PatientBirthTime"),
    ("PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime"),
)
_WILD = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}  # C.2.2.2.4
_NUMBERS = {"IS", "DS", "US"}
_DAY = timedelta(days=1)
T = TypeVar("T", datetime, timedelta)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Agreed:
    """What the association agreed on, and which attributes match where they are empty."""

    combined: bool = False
    unknown: frozenset[str] = frozenset()


def matches(entity: Entity, keys: Mapping[str, Value], agreed: Agreed) -> bool:
    """Does the entity match all keys?"""
    left = dict(keys)
    for date, time in DATE_AND_TIME if agreed.combined else ():
        if not (_is_range(left.get(date, "")) and _is_range(left.get(time, ""))):
            continue
        if not _within(entity, (date, str(left.pop(date))), (time, str(left.pop(time))), agreed):
            return False
    return all(_key_matches(keyword, entity.get(keyword, ""), key, agreed) for keyword, key in left.items())


def matching_items(items: Sequence[Entity], key: Entity) -> list[Entity]:
    """The items that match the one item of the key (C.2.2.2.6)."""
    return [item for item in items if matches(item, key, Agreed())]


def _key_matches(keyword: str, stored: Value, key: Value, agreed: Agreed) -> bool:
    if isinstance(key, list):
        wanted: Entity = key[0] if key else {}
        is_universal = all(_is_universal(value) for value in wanted.values())
        return is_universal or (isinstance(stored, list) and bool(matching_items(stored, wanted)))
    assert isinstance(stored, str)
    vr = dictionary_VR(keyword)
    if _is_universal(key):  # C.2.2.2.3
        return True
    has_pattern = vr in _WILD and bool(set(key) & set("*?"))
    if not stored and keyword in agreed.unknown and not has_pattern:  # C.2.2.1.2
        return True
    test = _single(vr, key)
    if vr == "PN":
        return any(test(name) for name in stored.split("\\") if name)
    return any(test(value) for value in stored.split("\\") if value)


def _is_universal(key: Value) -> bool:
    if isinstance(key, list):
        return all(_is_universal(value) for item in key for value in item.values())
    return not key.strip("*")


def _is_range(key: Value) -> bool:
    return isinstance(key, str) and "-" in key and "\\" not in key


def _single(vr: str, key: str) -> Callable[[str], bool]:
    """Does one stored value match the key?"""
    if vr == "DA":
        return _at(key, date, is_range=_is_range(key))
    if vr == "TM":
        return _at(key, time, is_range=_is_range(key))
    if vr == "DT":  # a hyphen may be an offset
        return _at(key, date_time, is_range=False)
    if vr == "PN":
        return lambda name: any(_name_matches(name, one) for one in key.split("\\"))
    if vr in _NUMBERS:
        numbers = {float(one) for one in key.split("\\")}
        return lambda value: float(value) in numbers
    if vr in _WILD and set(key) & set("*?"):
        return lambda value: _like(value, key)
    return lambda value: value in key.split("\\")


def _at(key: str, read: Callable[[str], tuple[T, T]], *, is_range: bool) -> Callable[[str], bool]:
    """C.2.2.2.5, and single values by their meaning."""
    if not is_range:
        wanted = {read(one)[0] for one in key.split("\\")}
        return lambda value: read(value)[0] in wanted
    low, high = (read(end.strip()) if end.strip() else None for end in key.split("-"))
    return lambda value: (low is None or not read(value)[0] < low[0]) and (high is None or not high[1] < read(value)[0])


def _like(value: str, pattern: str) -> bool:
    expression = "".join({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in pattern)
    return re.fullmatch(expression, value, re.DOTALL) is not None


def _name_matches(name: str, key: str) -> bool:
    """C.2.2.2.1.1: by component group, here without regard to case and accents."""
    groups = [group.rstrip("^") for group in _folded(name).split("=")]
    is_pattern = bool(set(key) & set("*?"))
    wanted = [group if is_pattern else group.rstrip("^") for group in _folded(key).split("=")]
    if len(wanted) == 1:
        return any(group and _like(group, wanted[0]) for group in groups)
    if not is_pattern:
        while wanted and not wanted[-1]:
            wanted.pop()
        if len(wanted) == 1:
            return any(group and group == wanted[0] for group in groups)
    pairs = zip_longest(groups, wanted, fillvalue="")
    return all(not one.strip("*") or bool(group and _like(group, one)) for group, one in pairs)


def _folded(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(one for one in decomposed if not unicodedata.combining(one))


def date(text: str) -> tuple[datetime, datetime]:
    """First and last moment of a day, written as now or as in ACR-NEMA."""
    day = datetime.strptime(text.replace(".", ""), "%Y%m%d")
    return day, day + _DAY - _MICROSECOND


def time(text: str) -> tuple[timedelta, timedelta]:
    """First and last moment that a TM may mean, from midnight on."""
    digits, _, fraction = text.replace(":", "").partition(".")
    hours, minutes, seconds = (int(digits[place : place + 2] or 0) for place in (0, 2, 4))
    begin = timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=int(fraction.ljust(6, "0")))
    precision = {2: timedelta(hours=1), 4: timedelta(minutes=1), 6: timedelta(seconds=1) / 10 ** len(fraction)}
    return begin, begin + precision[len(digits)] - _MICROSECOND


def date_time(text: str) -> tuple[datetime, datetime]:
    """First moment of a DT, in UTC where it says how far it is; there are no ranges of DT here."""
    found = re.fullmatch(r"(\d{8})(\d{2,6}(?:\.\d+)?)?(?:([+-])(\d\d)(\d\d))?", text)
    assert found is not None
    offset = timedelta(hours=int(found[4] or 0), minutes=int(found[5] or 0)) * (-1 if found[3] == "-" else 1)
    begin = date(found[1])[0] + (time(found[2])[0] if found[2] else timedelta()) - offset
    return begin, begin


def _within(entity: Entity, date_key: tuple[str, str], time_key: tuple[str, str], agreed: Agreed) -> bool:
    """C.2.2.2.5.4: the moment that date and time make is within the interval from first to last."""
    day, hour = str(entity.get(date_key[0], "")), str(entity.get(time_key[0], ""))
    if not day:
        return date_key[0] in agreed.unknown
    if not hour:
        return time_key[0] in agreed.unknown and _single("DA", date_key[1])(day)
    first_day, last_day = (end.strip() for end in date_key[1].split("-"))
    first_hour, last_hour = (end.strip() for end in time_key[1].split("-"))
    moment = date(day)[0] + time(hour)[0]
    if first_day and moment < date(first_day)[0] + (time(first_hour)[0] if first_hour else timedelta()):
        return False
    end = time(last_hour)[1] if last_hour else _DAY - _MICROSECOND
    return not last_day or moment <= date(last_day)[0] + end
