"""The time zone of schedules."""

from __future__ import annotations

import os
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_LINK = Path("/etc/localtime")
_DATABASE = "zoneinfo/"


def zone_named(name: str) -> ZoneInfo:
    """The zone of this name of the IANA database; "" is the machine's, or UTC where that has none by name."""
    return ZoneInfo(name) if name else machine_zone(os.environ.get("TZ", ""), _LINK)


def machine_zone(variable: str, link: Path) -> ZoneInfo:
    """The zone that ``$TZ`` names, or else that the link to the machine's leads to, or else UTC."""
    target = str(link.resolve()) if link.is_symlink() else ""
    for name in (variable.removeprefix(":"), target.partition(_DATABASE)[2]):
        try:
            if name:
                return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):  # such as the path of a file, or "CET-1CEST"
            continue
    return ZoneInfo("UTC")
