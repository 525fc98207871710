"""From the request to the report: decides, tells the peer, and tries again until it has heard (PS3.4 J.3).

One thread sees what is due and never waits for anybody: verdicts are reached in a thread of their own, and every peer
that is called has one while that lasts, so that none keeps another from hearing. Whatever must not be forgotten is in
the ledger, so that a restart goes on where the node ended.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
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
_VERDICTS = ""  # whose turn it is where that is no peer's, by AE title


class Line(Protocol):
    """The association that a request came on."""

    def post(self, commitment: Commitment, answered: Callable[[bool | None], None]) -> bool:
        """Report on it as soon as it is idle; False where it is over. Never blocks.

        ``answered`` is called once, from any thread: did the peer take the report? None where the association ended.
        """


class Caller(Protocol):
    """How we call peers, each from a thread of its own."""

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
    is_aside: bool = False  # another thread works on it
    posted_until: float | None = None  # how long its line may take to report

    @property
    def number(self) -> int:
        """Ours, see Transaction."""
        return self.transaction.number

    @property
    def route(self) -> tuple[str, str]:
        """Whom to call, and under which AE title: that which was called (PS3.4 J.3.3)."""
        return self.transaction.calling_ae, self.transaction.called_ae


def _in_a_thread(work: Callable[[], None], name: str) -> None:
    threading.Thread(target=work, name=name, daemon=True).start()


class Commitments:
    """All transactions that are open. ``request``, ``can_call`` and ``count`` are for any thread."""

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
        aside: Callable[[Callable[[], None], str], None] = _in_a_thread,
    ) -> None:
        """``peers``: those that we can call, by AE title. ``aside``: how something that takes its time is run, under
        a name. Raises IndexFailure."""
        self._ledger = ledger
        self._judge = judge
        self._caller = caller
        self._peers = peers
        self._settings = settings
        self._clock = clock
        self._monotonic = monotonic
        self._run_aside = aside
        self._back_off = BackOff(settings.first_retry, monotonic)
        self._changed = threading.Condition()
        self._is_woken = self._is_stopping = False
        self._busy: set[str] = set()  # verdicts, and the peers that are being called
        self._open = {one.number: _Open(one) for one in ledger.open_transactions()}
        self._thread = threading.Thread(target=self._run, name="commitments", daemon=True)

    @property
    def count(self) -> int:
        """How many transactions are not reported yet."""
        return len(self._open)

    def adopt(self, peers: Mapping[str, Peer], settings: Settings) -> None:
        """Go on with these; of the settings, first_retry stays."""
        with self._changed:
            self._peers, self._settings = peers, settings
            self._wake()

    def can_call(self, ae_title: str) -> bool:
        """Do we know where this peer listens?"""
        return ae_title in self._peers

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
        """End all threads; what is open stays in the ledger. Waits for so long at most."""
        with self._changed:
            self._is_stopping = True
            self._wake()
        self._caller.cut()
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, timeout=seconds)
        self._thread.join(seconds)

    def work(self) -> float:
        """Begin all that is due, end what was heard: the seconds until there may be more to do."""
        with self._changed:
            self._is_woken = False
            idle = [one for one in self._open.values() if not one.is_aside]
        due: dict[str, list[_Open]] = {}
        for one in idle:
            if self._is_stopping:
                return 0.0
            if self._back_off.is_due(one.number):
                with self._charging(one):
                    turn = self._advance(one)
                    if turn is not None:
                        due.setdefault(turn, []).append(one)
        for turn, group in due.items():
            self._begin(turn, group)
        with self._changed:
            now = self._monotonic()
            seconds = [self._due_at(one, now) - now for one in self._open.values()]
            return 0.0 if self._is_woken else max(0.0, min(seconds, default=_LONGEST_SLEEP_SECONDS))

    def _run(self) -> None:
        """The outermost loop of the thread: whatever happens, the node and its other transactions go on."""
        while not self._is_stopping:
            try:
                seconds = self.work()
            except Exception:  # noqa: BLE001 - an outermost loop; logged with its place
                log.crash("commitment_crashed")
                seconds = _PAUSE_SECONDS
            with self._changed:
                if not self._is_woken:
                    self._changed.wait(min(seconds, _LONGEST_SLEEP_SECONDS))

    def _wake(self) -> None:
        self._is_woken = True
        self._changed.notify_all()

    @contextmanager
    def _charging(self, one: _Open) -> Iterator[None]:
        """What fails in the block is tried again later, and keeps no other transaction back."""
        try:
            yield
        except (IndexFailure, StoreError) as error:
            self._charge(one, error)
        except Exception:
            self._back_off.failed(one.number)
            raise

    def _charge(self, one: _Open, error: PeerFailure | IndexFailure | StoreError) -> None:
        delay = self._back_off.failed(one.number)
        self._log_delay(one.route[0], 1, delay, error)

    def _log_delay(self, peer: str, transactions: int, seconds: float, error: Exception) -> None:
        if not self._is_stopping:
            log.event("commitment_delayed", level=logging.WARNING, peer=peer, transactions=transactions,
                      retry_s=round(seconds), reason=error)  # fmt: skip

    def _advance(self, one: _Open) -> str | None:
        """Bring a transaction one step on, which takes no time: whose turn it is then, if anybody's."""
        with self._changed:  # a peer that asks again has done so before this, or it is a new transaction
            if self._is_over(one):
                return None
        if not one.is_decided:
            return _VERDICTS
        if self._is_with_line(one) or not self.can_call(one.route[0]) or not self._back_off.is_due(one.route[0]):
            return None
        return one.route[0]

    def _is_over(self, one: _Open) -> bool:
        """Has the peer heard, or cannot it hear any more? Then the transaction is forgotten."""
        if one.is_taken:
            self._forget(one)
            log.event("commitment_reported", transaction=one.transaction.transaction_uid, peer=one.route[0])
            return True
        if self._seconds_left(one) <= 0:
            reason = "no report got through in time"
        elif one.line is None and not self.can_call(one.route[0]):
            reason = "not taken on the association of the request, and the AE title is no configured peer's"
        else:
            return False
        self._forget(one)
        log.event("commitment_given_up", level=logging.WARNING, transaction=one.transaction.transaction_uid,
                  peer=one.route[0], reason=reason)  # fmt: skip
        return True

    def _forget(self, one: _Open) -> None:
        self._ledger.remove(one.transaction)
        del self._open[one.number]
        self._back_off.forget(one.number)

    def _begin(self, turn: str, group: list[_Open]) -> None:
        """Have another thread go on with these, if none does so already for others of this turn."""
        with self._changed:
            if turn in self._busy or self._is_stopping:
                return
            self._busy.add(turn)
            for one in group:
                one.is_aside = True
        try:
            self._run_aside(partial(self._aside, turn, group), f"commitments {turn or 'verdicts'}")
        except BaseException:
            self._is_back(turn, group)
            raise

    def _aside(self, turn: str, group: list[_Open]) -> None:
        """The outermost loop of another thread."""
        try:
            if turn == _VERDICTS:
                self._decide_all(group)
            else:
                self._call(turn, group)
        except Interrupted:
            pass
        except Exception:  # noqa: BLE001 - an outermost loop; logged with its place
            log.crash("commitment_crashed")
        finally:
            self._is_back(turn, group)

    def _is_back(self, turn: str, group: list[_Open]) -> None:
        with self._changed:
            self._busy.discard(turn)
            for one in group:
                one.is_aside = False
            self._wake()

    def _decide_all(self, group: list[_Open]) -> None:
        for one in group:
            with self._charging(one):
                self._decide(one)
            with self._changed:
                one.is_aside = False  # it may be reported while we go on
                self._wake()

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
            patience = self._settings.same_association_wait if self.can_call(one.route[0]) else math.inf
            with self._changed:
                if one.line is line:
                    one.posted_until = self._monotonic() + patience
            if line.post(commitment, lambda was_taken: self._answered(one, line, was_taken)):
                return True
        elif self._monotonic() < until:
            return True
        self._leave(one, line)
        return one.line is not None  # the peer may have asked again meanwhile

    def _answered(self, one: _Open, line: Line, was_taken: bool | None) -> None:
        if not was_taken:
            self._leave(one, line)
            return
        with self._changed:
            if one.line is line:  # else the peer has asked again, or we call it: one more report does no harm
                one.is_taken = True
            self._wake()

    def _leave(self, one: _Open, line: Line) -> None:
        """The association of the request does not report it."""
        with self._changed:
            if one.line is line:
                one.line = one.posted_until = None
            self._wake()

    def _call(self, calling_ae: str, group: list[_Open]) -> None:
        """Report everything that is due to a peer, over an association for each title that it called."""
        left = len(group)
        for called_ae in dict.fromkeys(one.route[1] for one in group):
            part = [one for one in group if one.route[1] == called_ae]
            begun: list[_Open] = []  # the last one is under way
            try:
                self._report(calling_ae, called_ae, part, begun)
            except (PeerFailure, IndexFailure) as error:
                if not begun:
                    self._log_delay(calling_ae, left, self._back_off.failed(calling_ae), error)
                    return
                self._charge(begun[-1], error)  # the peer is there; those behind need not wait for this one
            left -= len(part)
        self._back_off.forget(calling_ae)

    def _report(self, calling_ae: str, called_ae: str, part: list[_Open], begun: list[_Open]) -> None:
        def readable() -> Iterator[Commitment]:
            for one in part:
                begun.append(one)
                yield self._ledger.read(one.transaction)

        peer = self._peers.get(calling_ae)
        if peer is None:
            raise PeerFailure("no configured peer any more")
        for _, was_taken in self._caller.report(peer, called_ae, readable()):
            one = begun[-1]
            if not was_taken:
                self._charge(one, PeerFailure("the peer answered the report with a failure"))
                continue
            with self._changed:
                one.is_taken = one.line is None  # else the peer has asked again meanwhile
                self._wake()

    def _seconds_left(self, one: _Open) -> float:
        """Until the transaction is given up, by the wall clock: a restart does not change it."""
        return self._settings.retry_for - (self._clock() - one.transaction.requested_at).total_seconds()

    def _due_at(self, one: _Open, now: float) -> float:
        """When the transaction is to be looked at again, if nothing happens before."""
        peer = one.route[0]
        turn = peer if one.is_decided else _VERDICTS
        retry_at = self._back_off.retry_at(one.number)
        if one.is_taken:
            return retry_at
        if one.is_aside or (turn in self._busy and (one.line is None or not one.is_decided)):
            return math.inf  # whoever is at work will wake us
        if one.line is not None:
            return max(retry_at, one.posted_until or 0.0)
        return max(retry_at, min(self._back_off.retry_at(peer), now + self._seconds_left(one)))
