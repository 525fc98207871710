"""What a backup is told by its configuration, and what it is of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Times are in seconds."""

    snapshot_every: float = 86_400.0
    keep_daily: int = 7
    keep_weekly: int = 4
    deletion_grace: float = 30 * 86_400.0
    verify_pass: float = 30 * 86_400.0
    drill_objects: int = 200
    stale_after: float = 86_400.0
    transfers: int = 4  # at a time


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of a node that a snapshot holds, besides the objects."""

    index: Path
    state: tuple[Path, ...] = ()  # databases of what the objects do not tell; those that are there are taken
    config: str = ""  # the configuration in effect, as TOML
