"""The stopwatch that tells where the time of a C-STORE goes."""

from __future__ import annotations

from benchmarks.phases import Stopwatch


class Steps:
    def whole(self) -> str:
        return self.part() + self.part()

    def part(self) -> str:
        return "x"


def test_steps_for_each_whole() -> None:
    """Calls and time are told for each call of the whole, the longest first; results stay as they are."""

    class Measured(Steps):
        pass

    stopwatch = Stopwatch()
    for name in ("whole", "part"):
        stopwatch.watch(Measured, name)

    assert ["xx", "xx"] == [Measured().whole() for _ in range(2)]
    lines = [line.split() for line in stopwatch.lines("Measured.whole")]
    assert [("Measured.whole", "1.00"), ("Measured.part", "2.00")] == [(line[0], line[1]) for line in lines]
