"""What the archive remembers of those that send to it: what is under way, and who sends again what is here."""

from __future__ import annotations

from datetime import datetime

from pacsnode.model import Arrival, Outcome

_MAX_RESENDERS = 1000  # AE titles held, where anybody may store


class Arrivals:
    """Times of arrival of what is not settled yet. Safe to use from several threads."""

    def __init__(self) -> None:
        self._under_way: dict[int, datetime] = {}
        self._doubtful: list[datetime] = []

    def begin(self, arrival: Arrival) -> None:
        """Something arrives. The value itself is known again: whoever began with it ends with it."""
        self._under_way[id(arrival)] = arrival.received_at

    def end(self, arrival: Arrival) -> None:
        """It is settled; may be said twice."""
        self._under_way.pop(id(arrival), None)

    def doubt(self, arrival: Arrival) -> None:
        """Whether it has a row can only be told when the index is opened again."""
        self._doubtful = [min([arrival.received_at, *self._doubtful])]

    @property
    def are_settled(self) -> bool:
        """Is there nothing under way, and nothing in doubt?"""
        return not self._doubtful and not self._under_way

    def oldest(self, now: datetime) -> datetime:
        """The earliest of them; now, where there are none."""
        return min([now, *self._doubtful, *self._under_way.copy().values()])


class Resends:
    """Who sends again what is here already, and will go on so: it need not be written to find out.

    Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._peers: set[str] = set()

    def is_likely(self, calling_ae: str) -> bool:
        """Was the last instance of this peer here already?"""
        return calling_ae in self._peers

    def note(self, calling_ae: str, outcome: Outcome) -> None:
        """What became of an instance that was written."""
        if outcome is not Outcome.ALREADY_THERE:
            self._peers.discard(calling_ae)
        elif len(self._peers) < _MAX_RESENDERS:
            self._peers.add(calling_ae)
