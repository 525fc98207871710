"""Requests of ours on an association that a peer opened: posted by any thread, sent by the association's own.

One is outstanding at a time, as the asynchronous operations window of one demands (PS3.7 D.3.3.3).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pacsnode.wire.command import RESPONSE_BIT, CommandSet, Element

# Sub-operations of a C-GET, which may be under way on the same association, count from 1.
_FIRST_MESSAGE_ID, _MESSAGE_IDS = 0x8000, 0x7FFF


@dataclass(frozen=True, slots=True)
class Posted:
    """A request without its Message ID. ``answered`` gets the status, or None where the association ended before."""

    context_id: int
    command: Mapping[Element, int | str | bytes]
    data_set: bytes
    answered: Callable[[int | None], None]


class Outbox:
    """What is to be sent, and what is not answered yet. ``post`` and ``close`` may come from any thread."""

    def __init__(self) -> None:
        """Raises OSError where the system has no descriptor left."""
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """Readable when something was posted."""
        self._lock = threading.Lock()
        self._waiting: deque[Posted] = deque()
        self._outstanding: dict[int, Posted] = {}
        self._sent = 0
        self._is_closed = False

    def post(self, posted: Posted) -> bool:
        """Have this sent as soon as the association has nothing else to do; False where it is over."""
        with self._lock:
            if self._is_closed:
                return False
            self._waiting.append(posted)
            os.eventfd_write(self.descriptor, 1)
        return True

    def next(self) -> Iterator[tuple[int, Posted]]:
        """What is to be sent now, with its Message ID: one request or none."""
        with self._lock:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self.descriptor)
            if self._outstanding or not self._waiting:
                return
            message_id = _FIRST_MESSAGE_ID + self._sent % _MESSAGE_IDS
            self._sent += 1
            posted = self._outstanding[message_id] = self._waiting.popleft()
        yield message_id, posted

    def expects(self, command: CommandSet) -> bool:
        """Is this the response to what is outstanding?"""
        posted = self._outstanding.get(command.number(Element.MESSAGE_ID_BEING_RESPONDED_TO, 0))
        if posted is None:
            return False
        return command.number(Element.COMMAND_FIELD) == int(posted.command[Element.COMMAND_FIELD]) | RESPONSE_BIT

    def take(self, command: CommandSet) -> None:
        """Pass the response on to whoever posted the request. Raises ProtocolViolation where it has no status."""
        status = command.number(Element.STATUS)
        with self._lock:
            posted = self._outstanding.pop(command.number(Element.MESSAGE_ID_BEING_RESPONDED_TO))
        posted.answered(status)

    def close(self) -> None:
        """The association is over: what was posted is not answered. May be called twice."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            os.close(self.descriptor)
            left = [*self._outstanding.values(), *self._waiting]
            self._outstanding.clear()
            self._waiting.clear()
        for posted in left:
            posted.answered(None)
