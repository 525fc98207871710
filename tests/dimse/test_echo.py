"""C-ECHO over the wire."""

from __future__ import annotations

import pytest

from tests.dimse.conftest import Running
from tests.dimse.raw_peer import (
    C_ECHO,
    COMMAND,
    CT,
    DATA_SET_TYPE,
    EXPLICIT,
    MESSAGE_ID,
    NO_DATA_SET,
    RESPONDED_TO,
    RESPONSE,
    SOP_CLASS,
    VERIFICATION,
    Offer,
    RawPeer,
    associate_rq,
)


def test_echo(node: Running) -> None:
    """The response names class and message of the request and has no data set (PS3.7 9.3.5.2)."""
    with node.connect() as peer:
        peer.send_command(1, {SOP_CLASS: VERIFICATION, COMMAND: C_ECHO, MESSAGE_ID: 0xFFFF})
        response = peer.read_message()
        peer.release()

    assert (0, C_ECHO | RESPONSE) == (response.status, response.number(COMMAND))
    assert (0xFFFF, VERIFICATION) == (response.number(RESPONDED_TO), response.text(SOP_CLASS))
    assert NO_DATA_SET == response.number(DATA_SET_TYPE)
    assert {0, SOP_CLASS, COMMAND, RESPONDED_TO, DATA_SET_TYPE, 0x0900} == set(response.elements)


def test_many_echoes_on_one_association(node: Running) -> None:
    """An association serves as many operations as the peer likes."""
    with node.connect() as peer:
        statuses = {peer.echo() for _ in range(500)}

    assert {0} == statuses


def test_echo_with_a_data_set(node: Running) -> None:
    """A data set that has no business there is read and forgotten."""
    with node.connect() as peer:
        peer.send_command(1, {SOP_CLASS: VERIFICATION, COMMAND: C_ECHO, MESSAGE_ID: 1}, has_data_set=True)
        peer.send_data_set(1, bytes(100_000))
        first = peer.read_message().status
        second = peer.echo()

    assert (0, 0) == (first, second)


def test_late_cancel_is_ignored(node: Running) -> None:
    """A C-CANCEL for an operation that is over, or never was, changes nothing (PS3.7 9.3.2.3)."""
    with node.connect() as peer:
        peer.cancel(1, 77)
        status = peer.echo()

    assert 0 == status


@pytest.mark.parametrize(
    "command",
    [0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150],
    ids=["event", "get", "set", "action", "create", "delete"],
)
def test_operations_that_nobody_here_has(node: Running, command: int) -> None:
    """A DIMSE-N request, e.g. of a modality that asks for MPPS, is 0211, its data set is read, and the peer goes on."""
    with node.connect() as peer:
        peer.send_command(
            1, {0x0003: VERIFICATION, COMMAND: command, MESSAGE_ID: 77, 0x1001: "1.2.3"}, has_data_set=True
        )
        peer.send_data_set(1, bytes(1000))
        response = peer.read_message()
        echo = peer.echo()

    assert (0x0211, command | RESPONSE, 77) == (
        response.status, response.number(COMMAND), response.number(RESPONDED_TO),
    )  # fmt: skip
    assert (VERIFICATION, None, 0) == (response.text(SOP_CLASS), response.data_set, echo)


def test_echo_beside_other_contexts(node: Running) -> None:
    """Responses come in the context of their request."""
    with RawPeer(node.port) as peer:
        peer.associate(request=associate_rq((Offer(7, CT, (EXPLICIT,)), Offer(129, VERIFICATION))))
        peer.send_command(129, {SOP_CLASS: VERIFICATION, COMMAND: C_ECHO, MESSAGE_ID: 1})
        response = peer.read_message()

    assert (129, 0) == (response.context_id, response.status)
