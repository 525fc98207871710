"""Medians, ratios and verdicts: the arithmetic of the benchmarks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks import document, report
from benchmarks.dataset import CT
from benchmarks.figures import Figure, Quantity, Tally, main_ratio, times_better
from benchmarks.receive import cell_name
from benchmarks.report import Report, Result, rows, verdict_rows
from benchmarks.senders import Sent, percentile
from benchmarks.stage import QUICK, Settings
from benchmarks.targets import FULL, judge, targets

CELL = cell_name(CT, 1)


def figure(subject: str, *values: float, quantity: Quantity = Quantity.INSTANCE_RATE) -> Figure:
    """Values of one subject in the cell that the tests look at."""
    return Figure(CELL, subject, quantity, values)


def made(*figures: Figure, settings: Settings = FULL) -> Report:
    """A report of one benchmark."""
    result = Result("receive", "2026-01-02 03:04", 5.0, settings, figures)
    return Report("2026-01-02 03:04", {"cores": "2"}, {"pacsnode": "1"}, 0.1, 0.0, (result,))


def test_rates_are_compared_round_by_round() -> None:
    """A ratio is the median of the rounds' ratios: what slows a whole round slows both."""
    ratio = times_better(figure("pacsnode", 20, 200, 30), figure("Orthanc", 10, 100, 10))

    assert 2.0 == ratio


def test_less_is_better_for_times() -> None:
    """Half the milliseconds is twice as good."""
    ours = figure("pacsnode", 5, quantity=Quantity.P50)
    theirs = figure("Orthanc", 10, quantity=Quantity.P50)

    assert 2.0 == times_better(ours, theirs)


def test_nothing_to_divide_by() -> None:
    """A peer that did nothing gives no ratio."""
    assert times_better(figure("pacsnode", 5), figure("Orthanc", 0)) is None


def test_rounds_that_differ_in_number() -> None:
    """Without pairs the medians are compared."""
    assert 3.0 == times_better(figure("pacsnode", 20, 30, 40), figure("Orthanc", 10))


def test_percentiles_are_values_that_occurred() -> None:
    """Nearest rank, also of a single value."""
    values = [float(number) for number in range(1, 101)]

    assert (50.0, 99.0, 7.0) == (percentile(values, 0.5), percentile(values, 0.99), percentile([7.0], 0.99))


def test_rates_count_successes_only() -> None:
    """A refused instance is none that was received."""
    sent = Sent(instances=10, refused=4, data_bytes=3_000_000, seconds=2.0, latencies=(0.001, 0.002))

    assert (3.0, 1.5) == (sent.instances_per_second, sent.megabytes_per_second)


def test_a_row_for_each_subject() -> None:
    """A table shows every median, and how much better pacsnode is than each of the others."""
    tally = Tally()
    for subject, rates in {"pacsnode": (100, 300, 200), "Orthanc": (50, 100, 100)}.items():
        for rate in rates:
            tally.add(CELL, subject, Quantity.INSTANCE_RATE, rate)
    tally.add(CELL, "pacsnode", Quantity.P50, 1.25)

    header, *body = rows(tally.figures())

    assert ["", "", "instances/s", "p50 ms"] == header[:4]
    assert [[CELL, "pacsnode", "200", "1.25", ""], [CELL, "Orthanc", "100", "", "2.00x"]] == body


def test_a_target_is_met_or_not_or_not_measured() -> None:
    """Each target has its verdict; what was not measured is said, never guessed."""
    verdicts = made(figure("pacsnode", 200), figure("Orthanc", 100), figure("dcmqrscp", 1000)).verdicts()
    words = {verdict.target.promise: verdict.word for verdict in verdicts}

    assert "met" == words[f"receive {CELL}: Orthanc"]
    assert "not met" == words[f"receive {CELL}: dcmqrscp"]
    assert "not measured" == words["associations, one context"]


def test_the_best_peer_counts() -> None:
    """A target against several peers is judged by the best of them, and not at all while one is missing."""
    target = next(target for target in targets() if target.promise.startswith("retrieve CT, C-GET"))
    figures = [replace(figure(name, rate), cell=target.cell) for name, rate in {"pacsnode": 30, "Orthanc": 10}.items()]
    fast = replace(figure("dcmqrscp", 20), cell=target.cell)

    assert target.measured({"retrieve": figures}) is None
    assert 1.5 == target.measured({"retrieve": [*figures, fast]})


def test_a_single_refusal_counts() -> None:
    """What was refused in one round of three is not lost in a median."""
    verdicts = made(figure("pacsnode", 0, 1, 0, quantity=Quantity.REFUSED)).verdicts()

    assert ["not met"] == [verdict.word for verdict in verdicts if verdict.target.promise.endswith("refused instances")]


def test_a_small_run_is_marked() -> None:
    """Nobody can take a quick run's verdict for the real one."""
    verdicts = made(figure("pacsnode", 200), figure("Orthanc", 100), settings=QUICK).verdicts()

    assert "met, reduced size" == verdicts[0].word


def test_every_target_is_unmeasured_without_results() -> None:
    """An empty run meets nothing."""
    assert {None} == {verdict.is_met for verdict in judge({}, {})}


def test_report_survives_its_file(tmp_path: Path) -> None:
    """What is saved is what is loaded."""
    original = made(figure("pacsnode", 200, 210), figure("Orthanc", 100, 105))

    report.save(original, tmp_path / "results" / "latest.json")

    assert original == report.load(tmp_path / "results" / "latest.json")


def test_page_tells_what_was_measured() -> None:
    """The page has every figure and every target, and says when the machine was shared."""
    original = made(figure("pacsnode", 200), figure("Orthanc", 100), settings=QUICK)

    text = document.page(replace(original, load_before=2.0))

    assert f"| {CELL} | Orthanc | 100 | 2.00x |" in text
    assert "The machine was shared with other work" in text
    assert "ct_instances = 80" in text
    assert all(line[0] in text for line in verdict_rows(original.verdicts()))


def test_no_ratio_of_pacsnode_to_itself() -> None:
    """The ratio column is about the others."""
    assert main_ratio([figure("pacsnode", 1)], CELL, "pacsnode") is None
