"""How many connections and associations there may be, and which there are now."""

from __future__ import annotations

import contextlib
import logging
import math
import socket
import threading
import time
from collections import Counter

from pacsnode import log
from pacsnode.config import Limits
from pacsnode.dimse import negotiation
from pacsnode.dimse.association import Association
from pacsnode.dimse.negotiation import Rejection


class Admission:
    """Counts what is open over all listeners. Safe to use from several threads.

    Connections that are not associations yet are counted apart, so that they never take an association's place. Where
    there are too many, one that has had time to speak makes room: whoever holds connections open keeps nobody out.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._changed = threading.Condition()
        # Before association, the oldest first: their addresses. Speaking are those that have sent a PDU header.
        self._silent: dict[socket.socket, str] = {}
        self._speaking: dict[socket.socket, str] = {}
        self._evicted = 0
        self._associations: set[Association] = set()
        self._per_peer: Counter[str] = Counter()
        self._per_address: Counter[str] = Counter()
        self._is_draining = False

    def adopt(self, limits: Limits) -> None:
        """Count against these limits from now on; nobody who is in has to go."""
        self._limits = limits

    @property
    def associations(self) -> int:
        """How many associations are open now."""
        return len(self._associations)

    def enter(self, sock: socket.socket, address: str) -> None:
        """Count a new connection. Beyond the limit another one is ended: the oldest of the address with the most,
        and one that has not spoken yet where there is any."""
        with self._changed:
            if len(self._silent) + len(self._speaking) >= self._limits.connections_before_association:
                self._evict(self._silent or self._speaking)
            self._silent[sock] = address

    def make_room(self) -> bool:
        """For want of descriptors: end the connection that is silent for longest, or else has not associated yet.

        True when its descriptor comes back at once; the thread of one that has spoken takes a moment.
        """
        with self._changed:
            is_silent = bool(self._silent)
            connections = self._silent or self._speaking
            if connections:
                self._end(next(iter(connections)), connections)
            return is_silent

    def spoke(self, sock: socket.socket) -> None:
        """The connection has sent a PDU header."""
        with self._changed:
            address = self._silent.pop(sock, None)
            if address is not None:
                self._speaking[sock] = address

    def leave(self, sock: socket.socket) -> None:
        """A connection has become an association, or has gone."""
        with self._changed:
            self._silent.pop(sock, None)
            self._speaking.pop(sock, None)
            self._changed.notify_all()

    def exchange(self, plain: socket.socket, secured: socket.socket) -> None:
        """The connection has another socket from now on. One that was evicted meanwhile stays so."""
        with self._changed:
            address = self._speaking.pop(plain, None)
            if address is not None:
                self._speaking[secured] = address

    def was_evicted(self, sock: socket.socket) -> bool:
        """Did the connection have to make room?"""
        return sock not in self._silent and sock not in self._speaking

    def admit(self, association: Association, most: int = 0) -> Rejection | None:
        """Count an association, or tell why there is no room for it. ``most``: of its AE title; 0 is what any has."""
        calling_ae = association.titles.calling_ae
        with self._changed:
            if self._is_draining:
                return negotiation.CONGESTION
            if len(self._associations) >= self._limits.associations:
                return negotiation.TOO_MANY
            if self._per_peer[calling_ae] >= (most or self._limits.associations_per_peer):
                return negotiation.TOO_MANY
            allowed = self._limits.associations_per_address or math.inf
            if self._per_address[association.peer_address] >= allowed:
                return negotiation.TOO_MANY
            self._associations.add(association)
            self._per_peer[calling_ae] += 1
            self._per_address[association.peer_address] += 1
            return None

    def remove(self, association: Association) -> None:
        """The association is over."""
        with self._changed:
            self._associations.discard(association)
            _count_down(self._per_peer, association.titles.calling_ae)
            _count_down(self._per_address, association.peer_address)
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
            self._changed.wait_for(lambda: not self._associations and not self._speaking, timeout=_CUT_SECONDS)

    def _evict(self, connections: dict[socket.socket, str]) -> None:
        (address, _), *_ = Counter(connections.values()).most_common(1)
        self._end(next(sock for sock, theirs in connections.items() if theirs == address), connections)

    def _end(self, sock: socket.socket, connections: dict[socket.socket, str]) -> None:
        address = connections.pop(sock)
        self._evicted += 1
        if self._evicted & (self._evicted - 1) == 0:  # the 1st, 2nd, 4th, 8th …: a flood must not flood the log
            log.event("connections_evicted", level=logging.WARNING, address=address, so_far=self._evicted)
        with contextlib.suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # below TLS, see SecureConnection.cut


def _count_down(counts: Counter[str], key: str) -> None:
    """One less; what is counted no more is forgotten."""
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


_CUT_SECONDS = 5.0  # for threads to notice that they were cut, and clean up
