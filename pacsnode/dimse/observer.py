"""Who hears of what peers do here, to count it."""

from __future__ import annotations

from typing import Protocol

Kept = tuple[int, float]
"""Bytes of a data set that was made durable, and the seconds that took after its last byte."""


class Observer(Protocol):
    """Called from the threads of all associations; must not raise, nor take its time."""

    def opened(self) -> None:
        """An association was accepted."""

    def rejected(self, result: int, source: int, reason: int) -> None:
        """One was not (PS3.8 9.3.4)."""

    def violated(self, kind: str) -> None:
        """A peer broke the protocol; ``kind``: the name of the reason of the A-ABORT, in lower case."""

    def answered(self, command_field: int, calling_ae: str, status: int, seconds: float, kept: Kept | None) -> None:
        """An operation was answered for good; ``kept``: what it stored. An instance costs one call."""

    def sent(self, operation: str, *, completed: int, failed: int, warning: int) -> None:
        """A retrieve, ``get`` or ``move``, is over: its sub-operations."""


class Nobody:
    """Where nothing is counted."""

    def opened(self) -> None:
        """See Observer."""

    def rejected(self, result: int, source: int, reason: int) -> None:
        """See Observer."""

    def violated(self, kind: str) -> None:
        """See Observer."""

    def answered(self, command_field: int, calling_ae: str, status: int, seconds: float, kept: Kept | None) -> None:
        """See Observer."""

    def sent(self, operation: str, *, completed: int, failed: int, warning: int) -> None:
        """See Observer."""


NOBODY: Observer = Nobody()
