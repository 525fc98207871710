"""The catalogue of metrics, and the page that is written from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pacsnode.metrics import catalogue
from pacsnode.metrics.catalogue import METRICS, Metric

ROOT = Path(__file__).parents[2]
UNITS = ("_seconds", "_bytes", "_info")
BAD_WORDS = ("_ms", "_mb", "_kb", "_milliseconds", "_minutes")


def test_page_is_up_to_date() -> None:
    """docs/metrics.md is what the catalogue says."""
    assert catalogue.reference() == (ROOT / "docs" / "metrics.md").read_text("utf-8")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names(metric: Metric) -> None:
    """Prometheus' rules: one prefix, base units at the end, _total for counters alone, help that is a sentence."""
    name = metric.name.removesuffix("_total")

    assert re.fullmatch(r"pacsnode(_[a-z]+)+", metric.name)
    assert ("counter" == metric.kind) == metric.name.endswith("_total")
    assert not any(word in f"{name}_" for word in (f"{bad}_" for bad in BAD_WORDS))
    assert all(name.endswith(unit) for unit in UNITS if f"{unit}_" in f"{name}_")
    assert "histogram" != metric.kind or name.endswith(("_seconds", "_instances"))
    assert metric.help[0].isupper() or metric.help[0].isdigit()
    assert metric.help.endswith(".")
    assert not {"le", "quantile"} & set(metric.labels)


def test_names_differ() -> None:
    """No name is there twice, nor as the beginning that a histogram adds to."""
    names = [metric.name for metric in METRICS]

    assert sorted(set(names)) == sorted(names)
