"""How many connections and associations there may be, and which there are now."""

from __future__ import annotations

import threading
import time
from collections import Counter

from pacsnode.config import Limits
from pacsnode.dimse import negotiation
from pacsnode.dimse.association import Association
from pacsnode.dimse.negotiation import Rejection


class Admission:
    """Counts what is open over all listeners. Connections that are not associations yet are counted apart, so that
    silent ones never take an association's place. Safe to use from several threads."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._changed = threading.Condition()
        self._connections = 0  # before association
        self._associations: set[Association] = set()
        self._per_peer: Counter[str] = Counter()
        self._is_draining = False

    @property
    def associations(self) -> int:
        """How many associations are open now."""
        return len(self._associations)

    def enter(self) -> bool:
        """Count a new connection; False when there are too many that have not associated."""
        with self._changed:
            if self._connections >= self._limits.connections_before_association:
                return False
            self._connections += 1
            return True

    def leave(self) -> None:
        """A connection has become an association, or has gone."""
        with self._changed:
            self._connections -= 1
            self._changed.notify_all()

    def admit(self, association: Association) -> Rejection | None:
        """Count an association, or tell why there is no room for it."""
        calling_ae = association.titles.calling_ae
        with self._changed:
            if self._is_draining:
                return negotiation.CONGESTION
            if len(self._associations) >= self._limits.associations:
                return negotiation.TOO_MANY
            if self._per_peer[calling_ae] >= self._limits.associations_per_peer:
                return negotiation.TOO_MANY
            self._associations.add(association)
            self._per_peer[calling_ae] += 1
            return None

    def remove(self, association: Association) -> None:
        """The association is over."""
        with self._changed:
            self._associations.discard(association)
            title = association.titles.calling_ae
            self._per_peer[title] -= 1
            if not self._per_peer[title]:
                del self._per_peer[title]
            self._changed.notify_all()

    def drain(self, seconds: float) -> None:
        """Admit nobody any more, give what is open the time to end, then cut it."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._is_draining = True
            self._changed.wait_for(lambda: not self._associations, timeout=max(deadline - time.monotonic(), 0))
            left = list(self._associations)
        for association in left:
            association.cut()
        with self._changed:
            self._changed.wait_for(lambda: not self._associations and not self._connections, timeout=_CUT_SECONDS)


_CUT_SECONDS = 5.0  # for threads to notice that they were cut, and clean up
