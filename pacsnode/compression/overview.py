"""What compression has gained so far, as ``pacsnode status`` tells it, and what it waits for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from pacsnode.compression.database import STATE_FILE, CompressionState, Total
from pacsnode.compression.tally import ratio
from pacsnode.model import Key


def overview(folder: Path) -> dict[str, Any]:
    """By codec and modality, and in all; zeros where nothing was ever compressed. Raises IndexFailure.

    Any: it goes out as JSON.
    """
    if not (folder / STATE_FILE).exists():
        return _told([], {}, (0, 0))
    with closing(CompressionState(folder / STATE_FILE)) as state:
        return _told(state.totals(), state.refused(), state.kept())


def waiting(folder: Path) -> Iterator[Key]:
    """The keys of objects whose originals are kept; none where nothing was ever compressed. Raises IndexFailure."""
    if not (folder / STATE_FILE).exists():
        return
    with closing(CompressionState(folder / STATE_FILE)) as state:
        yield from (one.new for one in state.replacements() if one.is_in_place)


def _told(totals: list[Total], left_alone: dict[str, int], kept: tuple[int, int]) -> dict[str, Any]:
    before, after = sum(one.bytes_before for one in totals), sum(one.bytes_after for one in totals)
    return {
        "instances": sum(one.instances for one in totals),
        "bytes_before": before,
        "bytes_after": after,
        "ratio": ratio(before, after),
        "by_codec_and_modality": [
            {
                "codec": one.codec,
                "modality": one.modality,
                "instances": one.instances,
                "bytes_before": one.bytes_before,
                "bytes_after": one.bytes_after,
                "ratio": ratio(one.bytes_before, one.bytes_after),
            }
            for one in totals
        ],
        "left_alone": left_alone,
        "originals_kept": kept[0],
        "originals_kept_bytes": kept[1],
    }
