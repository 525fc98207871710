"""What the doctor says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to be put right. ``name`` is for scripts; the others are a sentence each, for people."""

    name: str
    problem: str
    remedy: str
