"""The time zone of schedules."""

from __future__ import annotations

from pathlib import Path

import pytest

from pacsnode.jobs.zone import machine_zone, zone_named


def test_named_zone() -> None:
    """A name of the IANA database is that zone."""
    assert "Asia/Tokyo" == zone_named("Asia/Tokyo").key


@pytest.mark.parametrize(
    ("variable", "target", "expected"),
    [
        ("", "/usr/share/zoneinfo/Europe/Brussels", "Europe/Brussels"),
        (":America/Lima", "/usr/share/zoneinfo/Europe/Brussels", "America/Lima"),
        ("CET-1CEST,M3.5.0", "/usr/share/zoneinfo/Europe/Brussels", "Europe/Brussels"),
        ("/etc/localtime", "/nowhere", "UTC"),
        ("", "/usr/share/zoneinfo/No/Such", "UTC"),
        ("", None, "UTC"),
    ],
)
def test_zone_of_the_machine(tmp_path: Path, variable: str, target: str | None, expected: str) -> None:
    """$TZ goes before the link of the system; where neither names a zone, it is UTC."""
    link = tmp_path / "localtime"
    if target is not None:
        link.symlink_to(target)

    assert expected == machine_zone(variable, link).key
