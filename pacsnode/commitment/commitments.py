"""From the request to the report: decides, tells the peer, and tries again until it has heard (PS3.4 J.3).

One background thread works in rounds; between them it sleeps until something is due. Whatever it must not forget is in
the ledger, so that a restart goes on where the node ended.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from pacsnode import log
from pacsnode.commitment.backoff import BackOff
from pacsnode.commitment.ledger import Ledger
from pacsnode.commitment.verdict import Interrupted, Judge
from pacsnode.config import Commitment as Settings
from pacsnode.errors import IndexFailure, PeerFailure, StoreError
from pacsnode.model import Clock, Commitment, CommitmentRequest, Peer, Transaction

_LONGEST_SLEEP_SECONDS = 3600.0
_PAUSE_SECONDS = 1.0


class Line(Protocol):
    """The association that a request came on."""

    def post(self, commitment: Commitment, answered: Callable[[bool | None], None]) -> bool:
        """Report on it as soon as it is idle; False where it is over. Never blocks.

        ``answered`` is called once, from any thread: did the peer take the report? None where the association ended.
        """


class Caller(Protocol):
    """How we call a peer."""

    def report(
        self, peer: Peer, called_ae: str, commitments: Iterable[Commitment]
    ) -> Iterator[tuple[Commitment, bool]]:
        """Report over one association, calling under the AE title that was called: for each, did the peer take it?

        Raises PeerFailure.
        """

    def cut(self) -> None:
        """End what is under way, from another thread; what is to come fails at once."""


@dataclass(slots=True, eq=False)
class _Open:
    """A transaction on its way."""

    transaction: Transaction
    line: Line | None = None
    is_decided: bool = False
    is_taken: bool = False  # the peer has the report
    posted_until: float | None = None  # how long its line may take to report

    @property
    def route(self) -> tuple[str, str]:
        """Whom to call, and under which AE title: that which was called (PS3.4 J.3.3)."""
        return self.transaction.calling_ae, self.transaction.called_ae


class Commitments:
    """All transactions that are open. ``request`` and ``count`` are for any thread."""

    def __init__(
        self,
        ledger: Ledger,
        judge: Judge,
        caller: Caller,
        peers: Mapping[str, Peer],
        *,
        settings: Settings,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``peers``: those that we can call, by AE title. Raises IndexFailure."""
        self._ledger = ledger
        self._judge = judge
        self._caller = caller
        self._peers = peers
        self._settings = settings
        self._clock = clock
        self._monotonic = monotonic
        self._back_off = BackOff(settings.first_retry, monotonic)
        self._changed = threading.Condition()
        self._is_woken = self._is_stopping = False
        self._open = {one.number: _Open(one) for one in ledger.open_transactions()}
        self._thread = threading.Thread(target=self._run, name="commitments", daemon=True)

    @property
    def count(self) -> int:
        """How many transactions are not reported yet."""
        return len(self._open)

    def request(self, request: CommitmentRequest, line: Line | None) -> None:
        """Take a request over; durable when it returns. It is reported on the line while that is there.

        Raises IndexFailure, after which nothing of it is kept.
        """
        with self._changed:
            transaction = self._ledger.enter(request)
            one = self._open.setdefault(transaction.number, _Open(transaction))
            one.line, one.posted_until, one.is_taken = line, None, False
            self._wake()

    def start(self) -> None:
        """Go on with what is in the ledger, in a thread."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End the thread; what is open stays in the ledger. Waits for so long at most."""
        with self._changed:
            self._is_stopping = True
            self._wake()
        self._caller.cut()
        self._thread.join(seconds)

    def work(self) -> float:
        """Do all that is due: the seconds until there may be more to do."""
        with self._changed:
            everything = list(self._open.values())
        to_call: dict[tuple[str, str], list[_Open]] = {}
        for one in everything:
            if self._is_stopping:
                return 0.0
            try:
                if self._back_off.is_due(one.transaction.number) and self._advance(one):
                    to_call.setdefault(one.route, []).append(one)
            except (IndexFailure, StoreError) as error:
                self._postpone(one, error)
            except Exception:
                self._back_off.failed(one.transaction.number)  # a fault of ours must not keep the others back
                raise
        for route, group in to_call.items():
            if not self._is_stopping:
                self._call(*route, group)
        with self._changed:
            now = self._monotonic()
            seconds = [self._due_at(one, now) - now for one in self._open.values()]
        return max(0.0, min(seconds, default=_LONGEST_SLEEP_SECONDS))

    def _run(self) -> None:
        """The outermost loop of the thread: whatever happens, the node and its other transactions go on."""
        while not self._is_stopping:
            try:
                seconds = self.work()
            except Interrupted:
                return
            except Exception:  # noqa: BLE001 - an outermost loop; logged with its place
                log.crash("commitment_crashed")
                seconds = _PAUSE_SECONDS
            with self._changed:
                if not self._is_woken:
                    self._changed.wait(min(seconds, _LONGEST_SLEEP_SECONDS))
                self._is_woken = False

    def _wake(self) -> None:
        self._is_woken = True
        self._changed.notify_all()

    def _advance(self, one: _Open) -> bool:
        """Bring a transaction one step on: is it time to call its peer?"""
        if one.is_taken:
            self._end(one)
            return False
        if self._seconds_left(one) <= 0:
            self._give_up(one, "no report got through in time")
            return False
        if one.line is None and not self._can_call(one):
            self._give_up(one, "the association is over, and the AE title is no configured peer's")
            return False
        if not one.is_decided:
            self._decide(one)
        return not self._is_with_line(one) and self._can_call(one) and self._back_off.is_due(one.route[0])

    def _decide(self, one: _Open) -> None:
        commitment = self._ledger.read(one.transaction)
        if commitment.verdict is None:
            verdict = self._judge.verdict(commitment, lambda: self._is_stopping)
            commitment = replace(commitment, verdict=verdict)
            self._ledger.decide(commitment)
            log.event("commitment", transaction=one.transaction.transaction_uid, peer=one.route[0],
                      instances=len(commitment.references), failed=commitment.failed)  # fmt: skip
        one.is_decided = True

    def _is_with_line(self, one: _Open) -> bool:
        """Does the association of the request report it? Posts it there where that has not been done."""
        line, until = one.line, one.posted_until
        if line is None:
            return False
        if until is None:
            commitment = self._ledger.read(one.transaction)
            # A peer that we cannot call hears of it here or nowhere.
            patience = self._settings.same_association_wait if self._can_call(one) else math.inf
            with self._changed:
                if one.line is line:
                    one.posted_until = self._monotonic() + patience
            if line.post(commitment, lambda was_taken: self._answered(one, line, was_taken)):
                return True
        elif self._monotonic() < until:
            return True
        with self._changed:
            if one.line is line:
                one.line = one.posted_until = None
            self._wake()
        return one.line is not None  # the peer may have asked again meanwhile

    def _answered(self, one: _Open, line: Line, was_taken: bool | None) -> None:
        with self._changed:
            if was_taken:
                one.is_taken = True
            elif one.line is line:
                one.line = one.posted_until = None
            self._wake()

    def _call(self, calling_ae: str, called_ae: str, group: list[_Open]) -> None:
        """Report everything that is due to a peer over one association."""
        waiting = {one.transaction.number: one for one in group}
        try:
            readable = (self._ledger.read(one.transaction) for one in group)
            for commitment, was_taken in self._caller.report(self._peers[calling_ae], called_ae, readable):
                one = waiting.pop(commitment.transaction.number)
                if was_taken:
                    one.is_taken = True
                    self._end(one)
                else:
                    self._postpone(one, PeerFailure("the peer answered the report with a failure"))
            self._back_off.forget(calling_ae)
        except PeerFailure as error:
            _log_delay(calling_ae, len(waiting), self._back_off.failed(calling_ae), error)
        except IndexFailure as error:
            for one in waiting.values():
                self._postpone(one, error)

    def _postpone(self, one: _Open, error: PeerFailure | IndexFailure | StoreError) -> None:
        _log_delay(one.route[0], 1, self._back_off.failed(one.transaction.number), error)

    def _end(self, one: _Open) -> None:
        self._forget(one)
        log.event("commitment_reported", transaction=one.transaction.transaction_uid, peer=one.route[0])

    def _give_up(self, one: _Open, reason: str) -> None:
        self._forget(one)
        log.event("commitment_given_up", level=logging.WARNING, transaction=one.transaction.transaction_uid,
                  peer=one.route[0], reason=reason)  # fmt: skip

    def _forget(self, one: _Open) -> None:
        with self._changed:  # when the peer asks again, that is either before this, or a new transaction
            self._ledger.remove(one.transaction)
            del self._open[one.transaction.number]
        self._back_off.forget(one.transaction.number)

    def _can_call(self, one: _Open) -> bool:
        return one.route[0] in self._peers

    def _seconds_left(self, one: _Open) -> float:
        """Until the transaction is given up, by the wall clock: a restart does not change it."""
        return self._settings.retry_for - (self._clock() - one.transaction.requested_at).total_seconds()

    def _due_at(self, one: _Open, now: float) -> float:
        """When the transaction is to be looked at again, if nothing happens before."""
        retry_at = self._back_off.retry_at(one.transaction.number)
        if one.is_taken:
            return retry_at
        if one.line is not None:
            return max(retry_at, one.posted_until or 0.0)
        return max(retry_at, min(self._back_off.retry_at(one.route[0]), now + self._seconds_left(one)))


def _log_delay(peer: str, transactions: int, seconds: float, error: Exception) -> None:
    log.event("commitment_delayed", level=logging.WARNING, peer=peer, transactions=transactions,
              retry_s=round(seconds), reason=error)  # fmt: skip
