"""Counters of what peers do."""

from __future__ import annotations

import threading

from pacsnode.metrics.counts import MOST_TITLES, Counts, Histogram, status_class

C_STORE = 0x0001


def test_strangers_share_a_label() -> None:
    """Only configured peers have a label of their own, 200 labels at most, whoever calls."""
    counts = Counts([f"PEER{number:04}" for number in range(1000)])
    for number in range(1000):
        counts.answered(C_STORE, f"PEER{number:04}", 0, 0.01)
        counts.answered(C_STORE, f"STRANGER{number}", 0, 0.01)
    titles = {title for _, _, title in counts.operations}

    assert MOST_TITLES == len(titles)
    assert 2000 == counts.operations.total()
    assert 1801 == counts.operations["C-STORE", "success", "other"]


def test_titles_are_adopted() -> None:
    """After a reload the new peers are told apart."""
    counts = Counts(["CT1"])
    counts.adopt(["CT2"])
    counts.answered(C_STORE, "CT2", 0, 0.01)
    counts.answered(C_STORE, "CT1", 0, 0.01)

    assert {"CT2", "other"} == {title for _, _, title in counts.operations}


def test_nothing_is_lost_between_threads() -> None:
    """What several threads count at once adds up."""
    counts = Counts()

    def count() -> None:
        for _ in range(2000):
            counts.answered(C_STORE, "", 0, 0.01, (10, 0.002))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 16_000 == counts.operations.total()
    assert 160_000 == counts.received_bytes
    assert ("+Inf", 16_000) == counts.commits.buckets()[-1]


def test_buckets_are_cumulative() -> None:
    """A value on a bound belongs below it, and the last bucket has all."""
    histogram = Histogram((1.0, 2.0))
    for value in (1.0, 1.5, 9.0):
        histogram.observe(value)

    assert [("1.0", 1.0), ("2.0", 2.0), ("+Inf", 3.0)] == histogram.buckets()
    assert 11.5 == histogram.sum


def test_classes_of_statuses() -> None:
    """As PS3.7 Annex C has them."""
    codes = (0, 0xB000, 0x0107, 0xFE00, 0xA700, 0x0110)

    assert ["success", "warning", "warning", "cancel", "failure", "failure"] == [status_class(code) for code in codes]
