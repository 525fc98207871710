"""What every benchmark is given: how much to do, where, and a way to say what it is doing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """How much is done. The defaults take about half an hour on two cores, ``QUICK`` a few minutes."""

    rounds: int = 3
    ct_instances: int = 400
    mr_instances: int = 1_200
    flat_instances: int = 20_000
    flat_steps: int = 10
    retrieved_instances: int = 400
    studies: int = 2_000
    instances_per_study: int = 10
    queries: int = 50  # of each kind and round
    scale_studies: int = 1_000_000
    associations: int = 500
    idle_associations: int = 200
    idle_seconds: float = 10.0
    large_mebibytes: int = 2_048
    large_senders: int = 1
    moved_instances: int = 100_000
    hostile_seconds: int = 60
    scrubbed_megabytes: int = 150  # of each kind of image


QUICK = Settings(
    ct_instances=80,
    mr_instances=160,
    flat_instances=2_000,
    flat_steps=5,
    retrieved_instances=80,
    studies=200,
    queries=15,
    scale_studies=10_000,
    associations=80,
    idle_seconds=3.0,
    large_mebibytes=256,
    moved_instances=2_000,
    hostile_seconds=5,
    scrubbed_megabytes=40,
)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a benchmark runs. ``folder`` is on the disk that is measured, and removed afterwards."""

    settings: Settings
    folder: Path
    say: Callable[[str], None] = field(default=lambda text: None)

    def new_root(self) -> str:
        """A UID root that was never used before."""
        return f"2.25.{time.time_ns()}"
