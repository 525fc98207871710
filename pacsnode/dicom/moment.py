"""Moments as DT values tell them (PS3.5 6.2): ``YYYYMMDDHHMMSS.FFFFFF``, in UTC where the value says how far it is."""

from __future__ import annotations

import calendar
import re
from datetime import datetime, timedelta

_DATE_TIME = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?)?)?)?(?:([+-])(\d\d)(\d\d))?\Z", re.ASCII
)
_MAX_OFFSET = timedelta(hours=14)
_WRITTEN = "%Y%m%d%H%M%S.%f"


def earliest(text: str) -> str | None:
    """The first moment that the value may mean: ``2006`` is the beginning of that year; None where it is no DT."""
    return _moment(text, ("01", "01", "00", "00", "00"), "0")


def latest(text: str) -> str | None:
    """The last moment that the value may mean: ``2006`` is the end of that year; None where it is no DT."""
    return _moment(text, ("12", "", "23", "59", "59"), "9")


def _moment(text: str, missing: tuple[str, ...], digit: str) -> str | None:
    found = _DATE_TIME.match(text)
    if not found:
        return None
    year, *given, fraction, sign, hours, minutes = found.groups(default="")
    month, day, hour, minute, second = (part or other for part, other in zip(given, missing, strict=True))
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    if offset > _MAX_OFFSET or int(minutes or 0) > 59:
        return None
    try:
        day = day or str(calendar.monthrange(int(year), int(month))[1])
        second = "59" if second == "60" else second  # a leap second, which Python does not know
        moment = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second))
        moment = moment.replace(microsecond=int((fraction or "").ljust(6, digit)))
        moment = moment + offset if sign == "-" else moment - offset
    except (ValueError, OverflowError, IndexError):
        return None
    return f"{moment.year:04}{moment.strftime(_WRITTEN[2:])}"
