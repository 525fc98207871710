"""Who has to make room when there are too many connections, and what is logged of it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pacsnode.dimse.admission import Admission
from tests.dimse.conftest import limits


class Doors:
    """Connections to be counted: one end of each is the node's."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def entered(self, admission: Admission, address: str, *, speaks: bool = False) -> socket.socket:
        """A connection from the address, its other end ours."""
        ours, theirs = socket.socketpair()
        self._stack.enter_context(ours)
        self._stack.enter_context(theirs)
        admission.enter(theirs, address)
        if speaks:
            admission.spoke(theirs)
        return ours


@pytest.fixture
def doors() -> Iterator[Doors]:
    """Closes every connection at the end."""
    with ExitStack() as stack:
        yield Doors(stack)


def has_ended(sock: socket.socket) -> bool:
    """Has the node ended the connection?"""
    sock.setblocking(False)
    try:
        return not sock.recv(1)
    except BlockingIOError:
        return False


def test_the_oldest_goes(doors: Doors) -> None:
    """Beyond the limit the oldest connection is ended, none before."""
    admission = Admission(limits(connections_before_association=3))
    connections = [doors.entered(admission, "192.0.2.1") for _ in range(3)]
    before = list(map(has_ended, connections))
    connections.append(doors.entered(admission, "192.0.2.1"))

    assert [False] * 3 == before
    assert [True, False, False, False] == list(map(has_ended, connections))


def test_the_silent_go_first(doors: Doors) -> None:
    """Who has sent a PDU header stays while there are others that have not."""
    admission = Admission(limits(connections_before_association=3))
    speaking = doors.entered(admission, "192.0.2.1", speaks=True)
    silent = [doors.entered(admission, "192.0.2.1") for _ in range(3)]

    assert not has_ended(speaking)
    assert [True, False, False] == list(map(has_ended, silent))


def test_the_address_with_the_most_makes_room(doors: Doors) -> None:
    """Whoever opens many connections takes none from another address, however old that one's is."""
    admission = Admission(limits(connections_before_association=4))
    lonely = doors.entered(admission, "192.0.2.2")
    many = [doors.entered(admission, "192.0.2.1") for _ in range(5)]

    assert not has_ended(lonely)
    assert [True, True, False, False, False] == list(map(has_ended, many))


def test_room_for_want_of_descriptors(doors: Doors) -> None:
    """The connection that is silent for longest goes, then who has not associated; True while silent ones went."""
    admission = Admission(limits())
    speaking = doors.entered(admission, "192.0.2.1", speaks=True)
    first, second = doors.entered(admission, "192.0.2.1"), doors.entered(admission, "192.0.2.2")

    assert admission.make_room()
    assert [True, False, False] == [has_ended(one) for one in (first, second, speaking)]
    assert admission.make_room()
    assert [True, False] == [has_ended(one) for one in (second, speaking)]
    assert not admission.make_room()
    assert has_ended(speaking)
    assert not admission.make_room()


def test_evictions_do_not_fill_the_log(doors: Doors, caplog: pytest.LogCaptureFixture) -> None:
    """Of many evictions the 1st, 2nd, 4th, 8th … are told, with their number."""
    admission = Admission(limits(connections_before_association=1))
    for _ in range(21):
        doors.entered(admission, "192.0.2.1")
    told = [line for line in caplog.messages if "event=connections_evicted" in line]

    assert ["1", "2", "4", "8", "16"] == [line.rpartition("so_far=")[2] for line in told]
