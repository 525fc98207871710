"""Instances on their way to one move destination: a thread for each association, one that hands out and counts.

Each instance is in one place at a time: waiting, with a courier, or done. What was under way when its association died
has failed; what had not begun goes back to wait for those that live.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from pacsnode import log
from pacsnode.dimse import status
from pacsnode.dimse.association import Association
from pacsnode.dimse.connection import Connection
from pacsnode.dimse.retrieve import Cancelled, RetrieveOperation
from pacsnode.dimse.send import Load, Sender
from pacsnode.errors import PeerFailure, ProtocolViolation
from pacsnode.model import Instance
from pacsnode.wire import pdu

_WAITING_FOR_EACH = 16  # instances handed out ahead, for each association
_LOOK_MILLISECONDS = 1000  # how long nothing may happen until the requester is told that we live
_COUNTED_TOGETHER = 8  # to wake the C-MOVE's thread for each instance is a fifth of what a small one costs

Associate = Callable[[Callable[[Connection], None]], AbstractContextManager[Association]]
"""Opens an association, telling of its connection as soon as there is one. Raises PeerFailure."""


class Delivery:
    """The sub-operations of one C-MOVE. ``run`` is for its thread; the rest is for the couriers'."""

    def __init__(
        self, operation: RetrieveOperation, *, destination: str, make_sender: Callable[[Association], Sender]
    ) -> None:
        self.destination = destination
        self.make_sender = make_sender
        self._operation = operation
        self._changed = threading.Condition()  # guards all below; couriers wait on it, the C-MOVE's thread on _wake
        self._wake = -1
        self._waiting: deque[Instance] = deque()
        self._done: deque[tuple[Instance, int]] = deque()
        self._is_listening = False
        self._with_couriers = 0  # instances that are under way or loaded
        self._couriers: list[_Courier] = []
        self._at_work = 0  # couriers that have not ended
        self._is_opening = False
        self._takes_more = True  # no association was refused
        self._is_over = False
        self._is_cut = False

    def run(self, instances: Iterable[Instance], associate: Iterable[Associate]) -> None:
        """Attempt each instance once and count it once, over an association for each of ``associate`` at most: the
        first at once, the next when one is open, instances wait, and none was refused. No thread is left afterwards.

        Raises Cancelled when the requester has asked to stop: what had begun is counted, what had not is not, and
        the associations are released. Whatever else is raised cuts them.
        """
        openings = iter(associate)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            self._open_further(openings)
            self._hand_out(instances, openings)
        except Cancelled:
            raise
        except BaseException:
            self._cut()
            raise
        finally:
            try:
                self._see_off()
            finally:
                os.close(self._wake)

    def _hand_out(self, instances: Iterable[Instance], openings: Iterable[Associate]) -> None:
        for instance in instances:
            while self._at_work and len(self._waiting) >= _WAITING_FOR_EACH * self._at_work:
                self._collect(openings)
            with self._changed:
                self._waiting.append(instance)
                self._changed.notify()
            if self._is_due() or not self._at_work:
                self._collect(openings)
        while self._has_more():
            self._collect(openings)

    def _has_more(self) -> bool:
        with self._changed:  # an instance that is given back must not be overlooked on its way
            return bool(self._waiting or self._with_couriers or self._done)

    def _collect(self, openings: Iterable[Associate]) -> None:
        """Wait for something to happen and see to it; where nobody is left to send, what waits has failed."""
        if not self._happens():
            self._operation.attend()
        with self._changed:
            self._is_listening = True  # until it is known whether what the requester said was a C-CANCEL
        self._operation.listen()
        while self._done:
            self._operation.report(*self._done.popleft())
        with self._changed:
            self._is_listening = False
            self._changed.notify_all()  # those that held back because the requester had spoken
        if self._takes_more and not self._is_opening and self._waiting:
            self._open_further(openings)
        while self._waiting and not self._at_work:
            self._operation.report(self._waiting.popleft(), status.UNABLE_TO_PERFORM_SUBOPERATIONS)

    def _happens(self) -> bool:
        """Wait until a courier has something to tell or the requester speaks; False after a second of neither."""
        happened = True
        if self._at_work and not self._is_due():
            events = select.poll()
            events.register(self._wake, select.POLLIN)
            events.register(self._operation.association.fileno(), select.POLLIN)
            happened = bool(events.poll(_LOOK_MILLISECONDS))
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        return happened

    def _open_further(self, openings: Iterable[Associate]) -> None:
        associate = next(iter(openings), None)
        if associate is None:
            self._takes_more = False
            return
        courier = _Courier(self, associate, self._operation.association.fileno(), is_first=not self._couriers)
        with self._changed:
            self._is_opening = True
            self._at_work += 1
        try:
            courier.start()
        except RuntimeError as error:
            log.event("destination_failed", level=logging.ERROR, peer=self.destination, reason=error)
            self.ended(was_open=False)
            return
        self._couriers.append(courier)

    def _see_off(self) -> None:
        """Let what is under way come to its end, count it, and wait for every courier."""
        with self._changed:
            self._is_over = True
            self._waiting.clear()
            self._changed.notify_all()
        try:
            while self._at_work and not self._is_cut:
                if not self._happens():
                    self._operation.tell()
                self._count_done()
                with contextlib.suppress(Cancelled):
                    self._operation.listen()
        except (PeerFailure, ProtocolViolation):
            self._cut()
            raise
        finally:
            for courier in self._couriers:
                courier.join()
            self._count_done()

    def _count_done(self) -> None:
        while self._done:
            instance, code = self._done.popleft()
            self._operation.count(instance, code)

    def _cut(self) -> None:
        """The requester is gone or the index has failed: nobody waits for the destination."""
        with self._changed:
            self._is_over = self._is_cut = True
            for courier in self._couriers:  # before any of them sees that it is over, and releases in good order
                courier.cut()
            self._changed.notify_all()

    @property
    def is_cut(self) -> bool:
        """Have we ended it ourselves, before its time?"""
        return self._is_cut

    def opened(self) -> None:
        """An association is open: the next one may be asked for."""
        self._is_opening = False
        os.eventfd_write(self._wake, 1)

    def ended(self, *, was_open: bool) -> None:
        """A courier is through; without having been open it was refused."""
        with self._changed:
            self._at_work -= 1
            if not was_open:
                self._is_opening = self._takes_more = False
            os.eventfd_write(self._wake, 1)

    def take(self) -> Instance | None:
        """Wait for an instance; None when there will be none."""
        with self._changed:
            while not self._waiting and not self._is_over:
                self._changed.wait()
            return self._pop() if self._waiting else None

    def take_ahead(self) -> Instance | None:
        """An instance to load while another one is under way, where enough wait for those who have nothing to do."""
        with self._changed:
            return self._pop() if len(self._waiting) >= self._at_work else None

    def may_begin(self, requester: select.poll) -> bool:
        """May an instance that was taken go under way? Not while the requester has said something that nobody has
        read: it may be a C-CANCEL."""
        with self._changed:
            while not self._is_over and (self._is_listening or requester.poll(0)):
                self._changed.wait()
            return not self._is_over

    def give_back(self, instance: Instance) -> None:
        """An instance that was taken did not begin."""
        with self._changed:
            self._with_couriers -= 1
            if not self._is_over:
                self._waiting.appendleft(instance)
                self._changed.notify()

    def finished(self, instance: Instance, code: int) -> None:
        """A sub-operation is over."""
        with self._changed:
            self._with_couriers -= 1
            self._done.append((instance, code))
            is_due = self._is_due()
        if is_due:
            os.eventfd_write(self._wake, 1)

    def _is_due(self) -> bool:
        """Are there instances to be counted, and enough of them, or will there be no more?"""
        is_idle = not self._waiting and not self._with_couriers
        return len(self._done) >= _COUNTED_TOGETHER or (is_idle and bool(self._done))

    def _pop(self) -> Instance:
        self._with_couriers += 1
        return self._waiting.popleft()


class _Courier(threading.Thread):
    """One association with the destination, from its opening to its end."""

    def __init__(self, delivery: Delivery, associate: Associate, requester: int, *, is_first: bool) -> None:
        super().__init__(name=f"delivery {delivery.destination}", daemon=True)
        self._delivery = delivery
        self._associate = associate
        self._requester = select.poll()
        self._requester.register(requester, select.POLLIN)
        self._is_first = is_first
        self._connection: Connection | None = None
        self._taken: Instance | None = None  # not begun yet
        self._load: Load | None = None  # of what was taken

    def run(self) -> None:
        """Send until the operation is over or the association dies."""
        delivery, is_open = self._delivery, False
        try:
            with self._associate(self._connected) as association:
                is_open = True
                delivery.opened()
                self._send_all(delivery.make_sender(association))
        except (PeerFailure, ProtocolViolation) as error:
            self._log(error, is_open=is_open)
        except Exception:  # noqa: BLE001 - the outermost loop of this thread; logged with its place
            log.crash("delivery_crashed", peer=delivery.destination)
        finally:
            delivery.ended(was_open=is_open)

    def cut(self) -> None:
        """End the association from another thread, at once."""
        if self._connection is not None:
            self._connection.cut(pdu.abort(0))

    def _connected(self, connection: Connection) -> None:
        self._connection = connection
        if self._delivery.is_cut:
            raise PeerFailure("nobody waits for it any more")

    def _log(self, error: PeerFailure | ProtocolViolation, *, is_open: bool) -> None:
        destination = self._delivery.destination
        if self._delivery.is_cut:
            return
        if self._is_first or is_open:
            log.event("destination_failed", level=logging.WARNING, peer=destination, reason=error)
        else:
            log.event("destination_takes_fewer", peer=destination, reason=error)

    def _send_all(self, sender: Sender) -> None:
        try:
            while (load := self._next(sender)) is not None:
                code = status.UNABLE_TO_PERFORM_SUBOPERATIONS
                try:
                    code = sender.send(load, lambda: self._read_ahead(sender))
                finally:
                    load.drop()
                    self._delivery.finished(load.instance, code)
        finally:
            if self._load is not None:
                self._load.drop()
            if self._taken is not None:
                self._delivery.give_back(self._taken)

    def _next(self, sender: Sender) -> Load | None:
        """What to send now, under way from here on; None when the operation is over."""
        if self._taken is None:
            self._taken = self._delivery.take()
        if self._taken is None:
            return None
        load = self._load or sender.load(self._taken)
        self._load = load
        if not self._delivery.may_begin(self._requester):
            return None
        self._taken = self._load = None
        return load

    def _read_ahead(self, sender: Sender) -> None:
        self._taken = self._delivery.take_ahead()
        if self._taken is not None:
            self._load = sender.load(self._taken)
