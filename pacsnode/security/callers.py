"""Who called: unknown AE titles that wait for approval, and peers that still speak plain text. Bounded, in memory."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from pacsnode.model import Clock
from pacsnode.security.bindings import Caller

MOST, MOST_OF_AN_ADDRESS = 200, 20
"""How many are remembered, so that nobody fills the memory, or pushes all others out."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """An AE title at an address: when, how often, and by which certificate, if any, the last time."""

    ae_title: str
    address: str
    is_secured: bool
    fingerprint: str
    names: tuple[str, ...]
    first_seen: datetime
    last_seen: datetime
    count: int = 1

    @property
    def id(self) -> str:
        """A short name for it, the same each time."""
        return hashlib.sha256(f"{self.ae_title}\0{self.address}".encode()).hexdigest()[:8]


class Sightings:
    """AE titles that called, each at its addresses. Safe to use from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], Sighting] = {}  # who called last comes last

    def note(self, ae_title: str, caller: Caller) -> None:
        """It called."""
        now, key = self._clock(), (ae_title, caller.address)
        shown = caller.certificate
        with self._lock:
            before = self._seen.pop(key, None)
            if before is None:
                self._make_room(caller.address)
            self._seen[key] = Sighting(
                ae_title,
                caller.address,
                caller.is_secured,
                shown.fingerprint if shown else "",
                tuple(sorted(shown.names)) if shown else (),
                before.first_seen if before else now,
                now,
                before.count + 1 if before else 1,
            )

    def all(self) -> list[Sighting]:
        """Who called, the last one last."""
        with self._lock:
            return list(self._seen.values())

    def forget(self, ae_titles: Collection[str]) -> None:
        """These are not of interest any more."""
        with self._lock:
            for key in [key for key in self._seen if key[0] in ae_titles]:
                del self._seen[key]

    def _make_room(self, address: str) -> None:
        of_address = [key for key in self._seen if key[1] == address]
        if len(of_address) >= MOST_OF_AN_ADDRESS:
            del self._seen[of_address[0]]
        elif len(self._seen) >= MOST:
            del self._seen[next(iter(self._seen))]
