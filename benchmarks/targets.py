"""What pacsnode promises, as figures of a run: ratios to a peer of the same rounds, or limits of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import compression, flat, hostile, large_move, memory, query, retrieve, scale, scrub
from benchmarks.associations import idle_cell, rate_cell
from benchmarks.connection import Writing
from benchmarks.dataset import CT, MR
from benchmarks.figures import Figure, Quantity, find, times_better
from benchmarks.receive import RAW_LIMIT, cell_name
from benchmarks.servers import DCMQRSCP, ORTHANC, PACSNODE
from benchmarks.stage import Settings
from pacsnode.codec.codecs import Codec

Results = Mapping[str, Sequence[Figure]]
"""Figures by the benchmark's name."""

FULL = Settings(flat_instances=1_000_000, studies=20_000, large_senders=4)
"""What the targets speak of; the defaults are smaller where this takes long."""
_SIZES = {
    "receive": ("ct_instances", "mr_instances"),
    "flat": ("flat_instances",),
    "retrieve": ("retrieved_instances",),
    "query": ("studies", "instances_per_study"),
    "associations": ("associations", "idle_associations", "idle_seconds"),
    "codec": (),
    "memory": ("large_mebibytes", "large_senders"),
    "move": ("moved_instances",),
    "hostile": ("hostile_seconds",),
    "scale": ("scale_studies",),
    "compression": ("ct_instances",),
    "scrub": ("scrubbed_megabytes",),
}
NOT_MEASURED = ("reindex: at least 2,000 instances/s; recovery after a crash: at most 10 s at a million instances",)
"""Targets without a benchmark."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Pacsnode is so many times better than somebody, or than itself, in a cell."""

    promise: str
    benchmark: str
    cell: str
    quantity: Quantity
    at_least: float
    subjects: tuple[str, ...]  # the best of them is what counts
    other_cell: str = ""  # by default the same

    @property
    def demand(self) -> str:
        """What has to hold."""
        return f"≥ {self.at_least:.2g}x"

    def measured(self, results: Results) -> float | None:
        """The ratio; None where something was not measured."""
        figures = results.get(self.benchmark, ())
        ours = find(figures, self.cell, PACSNODE, self.quantity)
        theirs = [find(figures, self.other_cell or self.cell, subject, self.quantity) for subject in self.subjects]
        ratios = [times_better(ours, figure) for figure in theirs if ours and figure]
        known = [ratio for ratio in ratios if ratio is not None]
        return min(known) if len(known) == len(self.subjects) else None

    def is_met(self, measured: float) -> bool:
        """Does it hold?"""
        return measured >= self.at_least


@dataclass(frozen=True, slots=True)
class Limit:
    """A value of pacsnode's own; ``cell`` may be a beginning: the worst of all such cells counts."""

    promise: str
    benchmark: str
    cell: str
    quantity: Quantity
    bound: float

    @property
    def demand(self) -> str:
        """What has to hold."""
        sign = "≥" if self.quantity.more_is_better else "≤"
        return f"{sign} {self.bound:,g} {self.quantity.value}"

    def measured(self, results: Results) -> float | None:
        """The value of the worst cell; None where nothing was measured."""
        values = [
            figure.value
            for figure in results.get(self.benchmark, ())
            if figure.cell.startswith(self.cell)
            and (figure.subject, figure.quantity) == (PACSNODE, self.quantity)
            and figure.cell != memory.IDLE
        ]
        if not values:
            return None
        return min(values) if self.quantity.more_is_better else max(values)

    def is_met(self, measured: float) -> bool:
        """Does it hold?"""
        return measured >= self.bound if self.quantity.more_is_better else measured <= self.bound


Target = Ratio | Limit


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, and what the run says of it; None where it was not measured."""

    target: Target
    measured: float | None
    is_full_size: bool

    @property
    def is_met(self) -> bool | None:
        """Does it hold?"""
        return None if self.measured is None else self.target.is_met(self.measured)

    @property
    def value(self) -> str:
        """The measured value."""
        if self.measured is None:
            return "-"
        return f"{self.measured:.2f}x" if isinstance(self.target, Ratio) else f"{self.measured:,.1f}"

    @property
    def word(self) -> str:
        """Whether it holds; less than the full size proves little, and is said."""
        if self.is_met is None:
            return "not measured"
        return ("met" if self.is_met else "not met") + ("" if self.is_full_size else ", reduced size")


def judge(results: Results, settings: Mapping[str, Settings]) -> list[Verdict]:
    """Every target, in order; both mappings go by the benchmarks' names."""
    return [
        Verdict(target, target.measured(results), _is_full_size(target.benchmark, settings)) for target in targets()
    ]


def _is_full_size(benchmark: str, settings: Mapping[str, Settings]) -> bool:
    done = settings.get(benchmark, FULL)
    return all(getattr(done, name) >= getattr(FULL, name) for name in ("rounds", *_SIZES[benchmark]))


def targets() -> Iterator[Target]:
    """Every target that has a benchmark."""
    yield from _receive_targets()
    yield from _retrieve_targets()
    yield from _query_targets()
    one = rate_cell(1)
    yield Limit("associations, one context", "associations", one, Quantity.ASSOCIATION_RATE, 1_000)
    yield Limit("200 idle associations", "associations", idle_cell(200), Quantity.CPU, 2)
    yield from _hostile_targets()
    yield Limit("resident set, 4 multi-frame objects of 2 GiB at a time", "memory", "", Quantity.PEAK_MEMORY, 300)
    htj2k = compression.cell(Codec.HTJ2K)
    yield Limit("compression with verification, HTJ2K", "compression", htj2k, Quantity.CORE_RATE, 80)
    yield Limit("compression, HTJ2K, real CT and MR", "compression", htj2k, Quantity.SMALLER, 3.6)
    beside, alone = compression.RECEIVED_BESIDE, compression.RECEIVED_ALONE
    slower = "C-STORE while compression runs, beside at rest"
    yield Ratio(slower, "compression", beside, Quantity.P99, 0.8, (PACSNODE,), other_cell=alone)
    for image in scrub.KINDS:
        promise, kind = f"integrity scrub, {scrub.cell(image)}: SHA-256 on one core", scrub.cell(image)
        yield Ratio(promise, "scrub", kind, Quantity.MEGABYTE_RATE, 0.8, (scrub.SHA_256,))
    growth = "100,000-instance C-MOVE: memory beside that of 10,000"
    yield Limit(growth, "move", large_move.GROWTH, Quantity.GROWN_MEMORY, 16)  # a reader's cache of pages fills up to 8


def _receive_targets() -> Iterator[Target]:
    rate = Quantity.INSTANCE_RATE
    for image, times in ((CT, 2.0), (MR, 1.5)):
        for associations in (1, 4):
            cell = cell_name(image, associations)
            least = 0.7 if (image, associations) == (CT, 1) else 1.0
            yield Ratio(f"receive {cell}: Orthanc", "receive", cell, rate, times, (ORTHANC,))
            yield Ratio(f"receive {cell}: dcmqrscp", "receive", cell, rate, least, (DCMQRSCP,))
        yield Ratio(f"receive {cell}: raw limit of one thread", "receive", cell, rate, 0.8, (RAW_LIMIT,))
    for image in (CT, MR):
        for associations in (1, 4):
            eager = cell_name(image, associations)
            cell = cell_name(image, associations, Writing.PIECEMEAL)
            promise = f"receive {cell}: with TCP_NODELAY"
            yield Ratio(promise, "receive", cell, rate, 1 / 1.3, (PACSNODE,), eager)
    yield Limit("receive: refused instances", "receive", "", Quantity.REFUSED, 0)
    yield Ratio("receive: end of growth against start", "flat", flat.END, rate, 0.9, (PACSNODE,), flat.START)


def _hostile_targets() -> Iterator[Target]:
    yield Limit("hostile peers: C-ECHO", "hostile", hostile.ECHO, Quantity.P99, 1_000)
    yield Limit("hostile peers: C-ECHO", "hostile", hostile.ECHO, Quantity.SUCCESS, 100)
    yield Limit("hostile peers: C-STORE", "hostile", hostile.STORE, Quantity.SUCCESS, 100)
    yield Limit("hostile peers: TLS handshake and C-ECHO", "hostile", hostile.TLS_ECHO, Quantity.P99, 500)
    yield Limit("hostile peers: resident set", "hostile", hostile.MEMORY, Quantity.GROWN_MEMORY, 300)


def _retrieve_targets() -> Iterator[Target]:
    for image in (CT, MR):
        for operation in (retrieve.GET, retrieve.MOVE):
            cell = retrieve.cell_name(image, operation)
            promise = f"retrieve {cell}: the faster of Orthanc and dcmqrscp"
            yield Ratio(promise, "retrieve", cell, Quantity.INSTANCE_RATE, 1.2, (ORTHANC, DCMQRSCP))


def _query_targets() -> Iterator[Target]:
    for kind in query.KINDS:
        yield Ratio(f"query {kind.name}: Orthanc", "query", kind.name, Quantity.P50, 10, (ORTHANC,))
    for kind in scale.KINDS:
        yield Limit(f"query {kind.name}, a million studies", "scale", kind.name, Quantity.P99, 20)
