"""When a stored value and a condition mean the same, whatever the database: the comparable form of each VR.

The index stores text as it came, without insignificant spaces, and compares the forms made here (PS3.4 C.2.2.2).
"""

from __future__ import annotations

import re

from pacsnode.dicom import moment
from pacsnode.dicom.charset import fold
from pacsnode.index import groups
from pacsnode.model import Condition, Wildcard

VALUE_SEPARATOR = "\\"
GROUP_SEPARATOR = groups.SEPARATOR

_TIME = re.compile(r"(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?\Z", re.ASCII)
_INTEGER = re.compile(r"(?=.{1,18}\Z)[+-]?\d+\Z", re.ASCII)  # IS has 12 characters; 18 always fit 64 bits


def storable(text: str) -> str:
    """The text without what UTF-8 cannot carry."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def significant(text: str) -> str:
    """The text without leading and trailing spaces of each value, and without what UTF-8 cannot carry."""
    text = storable(text)
    if VALUE_SEPARATOR not in text:
        return text.strip(" \0")
    return VALUE_SEPARATOR.join(value.strip(" \0") for value in text.split(VALUE_SEPARATOR))


def comparable_name(text: str) -> str:
    """A PN value folded, with empty trailing components and groups left off (PS3.5 6.2)."""
    parts = fold(text).replace(VALUE_SEPARATOR, GROUP_SEPARATOR).split(GROUP_SEPARATOR)
    return GROUP_SEPARATOR.join(map(name_group, parts)).rstrip(GROUP_SEPARATOR)


def name_group(group: str) -> str:
    """One component group, already folded, without what is insignificant in it."""
    return _components(group).rstrip("^")


def name_pattern(pattern: str) -> str:
    """A PN pattern in the form of the stored names; trailing ``^`` stay, since the pattern has them on purpose."""
    return GROUP_SEPARATOR.join(_components(group) for group in fold(pattern).split(GROUP_SEPARATOR))


def comparable_time(text: str) -> str:
    """TM values as ``HHMMSS.FFFFFF``, those of ACR-NEMA (``HH:MM:SS``), too; what is no time stays as it is."""
    return VALUE_SEPARATOR.join(_padded(value) for value in text.split(VALUE_SEPARATOR))


def comparable_date(text: str) -> str:
    """DA values as ``YYYYMMDD``, those of ACR-NEMA (``YYYY.MM.DD``), too."""
    return text.replace(".", "")


def comparable_moment(text: str) -> str:
    """DT values as ``YYYYMMDDHHMMSS.FFFFFF``, by their earliest meaning; what is no moment is unknown."""
    return VALUE_SEPARATOR.join(moment.earliest(value) or "" for value in text.split(VALUE_SEPARATOR))


def as_integer(text: str) -> int | None:
    """The number an IS or US value means; None where it is no integer of a sane size."""
    return int(text) if _INTEGER.match(text) else None


def is_universal(condition: Condition) -> bool:
    """Does the condition match everything, even what is empty? ``*`` does (PS3.4 C.2.2.2.4)."""
    return isinstance(condition, Wildcard) and bool(condition.pattern) and not condition.pattern.strip("*")


def _components(group: str) -> str:
    return "^".join(component.strip(" \0") for component in group.split("^"))


def _padded(value: str) -> str:
    found = _TIME.match(value.replace(":", ""))
    if not found:
        return value
    hours, minutes, seconds, fraction = found.groups(default="")
    return f"{hours}{minutes or '00'}{seconds or '00'}.{fraction.ljust(6, '0')}"
