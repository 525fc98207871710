"""How much comes in, and for how long there is room for it."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta

from pacsnode.config import Config
from pacsnode.index.index import Index
from pacsnode.storage import layout

SPAN = timedelta(days=30)
MOST_LOOKED_AT = 100_000
"""Newest instances that are summed up: a tenth of a second, whatever the size of the archive."""
_LEAST_SPAN = timedelta(days=1)  # what came within less says nothing about the days to come


def free_bytes(config: Config) -> int:
    """Of the file system that the data folder is on, or would be."""
    nearest = next(folder for folder in (config.node.data, *config.node.data.parents) if folder.exists())
    return shutil.disk_usage(nearest).free


def bytes_per_day(index: Index, now: datetime) -> float:
    """What came in a day, on average over the last 30 days, or over those that the newest 100,000 instances came in."""
    since = now - SPAN
    count, size, oldest = index.arrivals(layout.new_key(since, bytes(10)), MOST_LOOKED_AT)
    if oldest is None:
        return 0.0
    began = oldest if count == MOST_LOOKED_AT else since
    return size / (max(now - began, _LEAST_SPAN) / timedelta(days=1))


def days_left(index: Index, room: int, now: datetime) -> float | None:
    """Until so many bytes are used up; None where nothing comes."""
    rate = bytes_per_day(index, now)
    return max(room, 0) / rate if rate else None
