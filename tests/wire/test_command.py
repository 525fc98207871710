"""Command sets survive the round trip, agree with pynetdicom's, and are refused when malformed."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE

from pacsnode.errors import ProtocolViolation
from pacsnode.wire import command, message
from pacsnode.wire.command import CommandField, Element

CT = "1.2.840.10008.5.1.4.1.1.2"


def test_a_command_set_of_pynetdicom_reads_the_same() -> None:
    """What an independent encoder writes is understood."""
    primitive = C_STORE()
    primitive.MessageID = 7
    primitive.AffectedSOPClassUID = CT
    primitive.AffectedSOPInstanceUID = "1.2.3"
    primitive.Priority = 2
    primitive.MoveOriginatorApplicationEntityTitle = "WS1"
    primitive.MoveOriginatorMessageID = 9
    primitive.DataSet = BytesIO(b"12")
    encoder = C_STORE_RQ()
    encoder.primitive_to_message(primitive)
    pdvs = next(iter(encoder.encode_msg(1, 16384))).presentation_data_value_list

    decoded = command.decode(pdvs[0][1][1:])

    assert CommandField.C_STORE_RQ == decoded.number(Element.COMMAND_FIELD)
    assert 7 == decoded.number(Element.MESSAGE_ID)
    assert "1.2.3" == decoded.text(Element.AFFECTED_SOP_INSTANCE_UID)
    assert "WS1" == decoded.text(Element.MOVE_ORIGINATOR_AE_TITLE)
    assert decoded.has_data_set


@given(
    st.dictionaries(
        st.sampled_from([Element.MESSAGE_ID, Element.STATUS, Element.PRIORITY]), st.integers(0, 0xFFFF), max_size=3
    ),
    st.booleans(),
)
def test_what_is_encoded_is_decoded(numbers: dict[Element, int], has_data_set: bool) -> None:
    """Encoding and decoding are inverse, and the group length counts what follows it."""
    encoded = command.encode({**numbers, Element.AFFECTED_SOP_CLASS_UID: CT}, has_data_set=has_data_set)

    decoded = command.decode(encoded)

    assert numbers == {element: decoded.number(element) for element in numbers}
    assert (CT, has_data_set) == (decoded.text(Element.AFFECTED_SOP_CLASS_UID), decoded.has_data_set)
    assert len(encoded) - 12 == int.from_bytes(decoded.elements[Element.GROUP_LENGTH], "little")


@given(st.binary(max_size=64))
def test_random_bytes_raise_violations_only(data: bytes) -> None:
    """A malformed command set ends the association and nothing more."""
    try:
        decoded = command.decode(data)
    except ProtocolViolation:
        return

    assert sum(8 + len(value) for value in decoded.elements.values()) <= len(data)


def test_a_missing_or_short_number_is_a_violation() -> None:
    """Status or Message ID without two bytes cannot be guessed."""
    decoded = command.decode(command.encode({Element.MESSAGE_ID: b"1234"}, has_data_set=False))

    with pytest.raises(ProtocolViolation):
        decoded.number(Element.MESSAGE_ID)
    with pytest.raises(ProtocolViolation):
        decoded.number(Element.STATUS)


@given(st.binary(max_size=100), st.integers(1, 40))
def test_messages_are_cut_to_the_largest_value(data: bytes, largest: int) -> None:
    """No PDU is longer than the peer takes, and only the very last fragment says so."""
    parts = message.data_set_parts(5, memoryview(data), largest, ends=True)
    headers, values = parts[::2], parts[1::2]

    assert data == b"".join(values)
    assert all(len(part) <= largest for part in values)
    assert [0] * (len(headers) - 1) + [2] == [header[-1] for header in headers]


@pytest.mark.parametrize("originator", [{}, {Element.MOVE_ORIGINATOR_AE_TITLE: "WS1", Element.PRIORITY: 2}])
@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
def test_a_template_gives_the_same_command_set(originator: dict[Element, int | str | bytes], uid: str) -> None:
    """What is encoded once and filled in is, byte for byte, what is encoded anew."""
    fields: dict[Element, int | str | bytes] = {
        Element.AFFECTED_SOP_CLASS_UID: CT,
        Element.COMMAND_FIELD: CommandField.C_STORE_RQ,
        **originator,
    }
    own: dict[Element, int | str | bytes] = {Element.MESSAGE_ID: 258, Element.AFFECTED_SOP_INSTANCE_UID: uid}

    expected = command.encode({**fields, **own}, has_data_set=True)
    assert expected == command.RequestTemplate(fields).encode(258, uid)


@given(st.binary(max_size=100), st.integers(1, 120))
def test_small_data_sets_in_one_piece(data: bytes, largest: int) -> None:
    """A data set that fits one PDU, or does not, is the same bytes in one piece as in many."""
    parts = message.data_set_parts(5, memoryview(data), largest, ends=True)

    assert b"".join(parts) == message.data_set_bytes(5, data, largest)
