"""DT values, by their earliest and latest meaning."""

from __future__ import annotations

import pytest

from pacsnode.dicom.moment import earliest, latest


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2006", "20060101000000.000000", "20061231235959.999999"),
        ("200602", "20060201000000.000000", "20060228235959.999999"),
        ("20060229", None, None),
        ("2006020314", "20060203140000.000000", "20060203145959.999999"),
        ("200602031415", "20060203141500.000000", "20060203141559.999999"),
        ("20060203141516", "20060203141516.000000", "20060203141516.999999"),
        ("20060203141560", "20060203141559.000000", "20060203141559.999999"),
        ("20060203141516.5", "20060203141516.500000", "20060203141516.599999"),
        ("20060101+0100", "20051231230000.000000", "20060101225959.999999"),
        ("20051231-0500", "20051231050000.000000", "20060101045959.999999"),
        ("2006-2007", None, None),
        ("20060101+0160", None, None),
        ("noon", None, None),
        ("", None, None),
        ("0001+1400", None, "00011231095959.999999"),
    ],
)
def test_moments(text: str, first: str | None, last: str | None) -> None:
    """What is left out is open; an offset from UTC is taken into account; what is no DT is none."""
    assert (first, last) == (earliest(text), latest(text))
