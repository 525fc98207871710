"""PDUs over a connection, each under its deadline (PS3.8 9.3), and no more of them at a time than was agreed on."""

from __future__ import annotations

import math
import time

from pacsnode.config import Limits
from pacsnode.dimse.connection import Connection
from pacsnode.dimse.crumbs import Allowances, Crumbs
from pacsnode.errors import PeerFailure
from pacsnode.wire.pdu import ControlPdu, Fragment, PduLimits, PduSplitter


class Transport:
    """PDU events over a connection, each PDU under its deadline."""

    def __init__(self, connection: Connection, limits: Limits, allowances: Allowances) -> None:
        self.connection = connection
        self.limits = limits
        self._allowances = allowances
        self._crumbs = Crumbs(allowances)
        self._splitter = PduSplitter(PduLimits(limits.association_request, limits.pdu_hard_cap))
        self._timed_pdu = -1
        self._pdu_deadline = 0.0

    def next_event(self, patience_seconds: float, *, whole_by: float = math.inf) -> Fragment | ControlPdu:
        """Block for the next event. A PDU must begin within the patience, and arrive within its own deadline and by
        ``whole_by`` (``time.monotonic`` seconds).

        Raises PeerFailure (also when the peer closes) and ProtocolViolation.
        """
        splitter = self._splitter
        while (event := splitter.next_event()) is None:
            deadline = min(self._deadline(patience_seconds), whole_by)
            count = self.connection.receive_into(splitter.space(), deadline)
            if not count:
                raise PeerFailure("connection closed by the peer")
            splitter.received(count)
        if isinstance(event, Fragment) and not event.is_last and (pause := self._crumbs.take(len(event.data))):
            self.connection.rest(pause)
        return event

    def await_turn(self) -> None:
        """Before a message: a peer that has sent it already, ahead of our answer, may have to wait for its turn.

        No more than one operation was agreed on (PS3.7 D.3.3.3). A few are let through; a stream of them would keep
        the interpreter, and so all other associations, busy.
        """
        if self._splitter.is_within_pdu and (pause := self._allowances.ahead.take(1)):
            self.connection.rest(pause)

    def wait(self, deadline: float, wake: int) -> None:
        """Wait for bytes of a next PDU, for the descriptor ``wake`` to be readable, or for the deadline."""
        if not self._splitter.is_within_pdu:
            self.connection.wait(deadline, wake)

    def has_begun_pdu(self) -> bool:
        """Are there bytes of a next PDU, here or in the socket?"""
        return self._splitter.is_within_pdu or self.connection.is_readable()

    def _deadline(self, patience_seconds: float) -> float:
        now = time.monotonic()
        splitter = self._splitter
        if not splitter.is_within_pdu:
            return now + patience_seconds
        if splitter.current_pdu != self._timed_pdu:
            self._timed_pdu = splitter.current_pdu
            slow_transfer = splitter.missing_bytes / self.limits.minimum_rate
            self._pdu_deadline = now + self.limits.pdu_deadline + slow_transfer
        return self._pdu_deadline
