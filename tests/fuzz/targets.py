"""What is fuzzed: for each parser a function of bytes that returns, or else has found a defect.

The first bytes choose what a peer or a user chooses otherwise: the transfer syntax, or where the stream is cut.
"""

from __future__ import annotations

import io
import os
import tempfile
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from pacsnode.config import loader
from pacsnode.dicom import charset, commitment, completeness, header, identifier, items, part10, recode, syntax
from pacsnode.dicom.attributes import ATTRIBUTES, BY_NAME, HEADER_TAGS
from pacsnode.dicom.coding import coding_of
from pacsnode.dicom.elements import Elements
from pacsnode.dicom.identifier import FindRequest, Root, Rules
from pacsnode.dicom.response import MatchEncoder
from pacsnode.dicom.sequence_items import ItemReader
from pacsnode.dicom.walk import DataSetWalker
from pacsnode.dimse import negotiation
from pacsnode.errors import (
    BadDataset,
    ConfigError,
    InvalidQuery,
    MalformedUid,
    ObjectDamaged,
    PeerFailure,
    ProtocolViolation,
)
from pacsnode.model import Arrival, Level, Match, Uid
from pacsnode.wire import command
from pacsnode.wire.command import Element
from pacsnode.wire.items import read_identity
from pacsnode.wire.pdu import ControlPdu, Fragment, PduLimits, PduSplitter, PduType

SYNTAXES = (
    syntax.IMPLICIT_VR_LITTLE_ENDIAN,
    syntax.EXPLICIT_VR_LITTLE_ENDIAN,
    syntax.EXPLICIT_VR_BIG_ENDIAN,
    syntax.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    Uid("1.2.840.10008.1.2.4.50"),
)
LARGEST_INPUT_BYTES = 32 * 1024
_INFLATED_BYTES = 1 << 20
_COMMENT_CHARACTERS = 64  # of an Error Comment, which is LO
_RULES = Rules(combines_date_and_time=True, reads_headers=True, matches_unknown=True)
_ARRIVED = datetime(2026, 1, 2, tzinfo=UTC)


def pdus(data: bytes) -> None:
    """PDUs: the same events however the bytes are cut, and association PDUs that are read or refused."""
    cut, stream = data[0] % 23 + 1, data[1:]
    events = _events(stream, len(stream) or 1)

    assert _events(stream, cut) == events
    for event in events:
        if isinstance(event, ControlPdu):
            _association_pdu(event)


def commands(data: bytes) -> None:
    """Command sets: every element as number and as text."""
    try:
        found = command.decode(data)
    except ProtocolViolation:
        return
    for element in Element:
        found.text(element)
        for read in (found.number, lambda one: found.number(one, 0)):
            with suppress(ProtocolViolation):
                read(element)
    with suppress(ProtocolViolation):
        _ = found.has_data_set
    raw = {Element(number): value for number, value in found.elements.items() if number in set(Element)}
    told = command.decode(command.encode(raw, has_data_set=True))
    assert told.has_data_set
    template = command.RequestTemplate({Element.AFFECTED_SOP_CLASS_UID: "1.2", Element.PRIORITY: 0})
    command.decode(template.encode(1, found.text(Element.AFFECTED_SOP_INSTANCE_UID)))


def data_sets(data: bytes) -> None:
    """Data sets: what the walk tells does not depend on how they are cut, and what it takes can be read further."""
    syntax_uid, cut, stream = _syntax(data), data[1] % 23 + 1, data[2:]
    whole = _walked(stream, syntax_uid, len(stream) or 1)

    assert _walked(stream, syntax_uid, cut) == whole
    # An element that is there twice is looked at where it is wanted alone.
    passed_by = _walked(stream, syntax_uid, len(stream) or 1, wanted=frozenset())
    assert _walked(stream, syntax_uid, cut, wanted=frozenset(), skips=True) == passed_by
    assert whole is None or passed_by is not None
    _sequences_apart(stream, syntax_uid)
    if whole is None:
        return
    for element in whole.by_tag.values():
        if element.vr == "SQ":
            items.read_items(element, whole.coding)
    if recode.is_convertible(syntax_uid):
        _recoded(stream, syntax_uid)


def headers(data: bytes) -> None:
    """Headers: what arrives is described, or refused."""
    syntax_uid, assumed, stream = _syntax(data), _ASSUMED[data[1] % len(_ASSUMED)], data[2:]
    walker = DataSetWalker(syntax_uid, HEADER_TAGS, noted=completeness.NOTED_TAGS, max_inflated_bytes=_INFLATED_BYTES)
    try:
        walker.feed(stream)
        elements = walker.finish()
        header.read_values(elements, ATTRIBUTES, assumed)
        found = header.read_header(elements, assumed)
        charset.fold(found.patient_name)
        completeness.check(found, elements)
        header.check_against(found, Arrival(found.sop_class_uid, found.sop_instance_uid, syntax_uid, "", "", _ARRIVED))
    except (BadDataset, MalformedUid):
        pass


def texts(data: bytes) -> None:
    """Character sets: any bytes give a text, and any text gives bytes that are read as the same text."""
    vr = _TEXT_VRS[data[0] % len(_TEXT_VRS)]
    terms, _, value = data[1:].partition(b"\n")
    text = charset.decode(value, terms.decode("latin-1"), vr)
    charset.fold(text)
    raw, written = charset.encode(text, terms.decode("latin-1"))

    if vr in charset.TEXT_VRS:
        read = charset.decode(raw, written, vr)
        assert unicodedata.normalize("NFC", text) == unicodedata.normalize("NFC", read)


def identifiers(data: bytes) -> None:
    """Identifiers of queries and retrieves, and requests and reports of storage commitment."""
    syntax_uid, root, stream = _syntax(data), tuple(Root)[data[1] % len(Root)], data[2:]
    for rules in (Rules(), _RULES):
        try:
            asked = identifier.parse_find(stream, syntax_uid, root, rules, assumed="ISO_IR 100")
        except InvalidQuery as error:
            _is_comment(error)
        else:
            _answered(asked, syntax_uid)
    try:
        identifier.parse_retrieve(stream, syntax_uid, root)
    except InvalidQuery as error:
        _is_comment(error)
    try:
        transaction_uid, references = commitment.parse_request(stream, syntax_uid)
        commitment.encode_request(transaction_uid, references, syntax_uid)
    except BadDataset as error:
        _is_comment(error)
    try:
        commitment.parse_report(stream, syntax_uid)
    except BadDataset as error:
        _is_comment(error)


def file_heads(data: bytes) -> None:
    """File meta information: of files that are imported, and of objects that the disk gives back."""
    try:
        found = part10.read_foreign_head(io.BytesIO(data))
        part10.HeadTemplate(
            Arrival(found.sop_class_uid, found.sop_instance_uid, found.transfer_syntax_uid, "A", "B", _ARRIVED)
        )
    except (BadDataset, MalformedUid):
        pass
    with suppress(ObjectDamaged):
        part10.read_head(io.BytesIO(data))


def configurations(data: bytes) -> None:
    """Configuration files: each mistake in a line of its own, which can be printed."""
    with tempfile.NamedTemporaryFile(dir=_MEMORY) as file:
        file.write(data)
        file.flush()
        loader.load(loader.locate(None, {}, system_file=Path(file.name, "none")))
        try:
            loader.load(loader.locate(None, {loader.ENVIRONMENT_VARIABLE: file.name}))
        except ConfigError as error:
            _is_printable(str(error))


@dataclass(frozen=True, slots=True)
class Target:
    """A function to be fuzzed, and the parsers whose lines its seeds have to reach."""

    function: Callable[[bytes], None]
    parsers: tuple[str, ...]
    chosen_bytes: int = 0  # of an input, which come before what is parsed

    def __call__(self, data: bytes) -> None:
        """Parse the input. What is raised is a defect."""
        if len(data) >= self.chosen_bytes:
            self.function(data)


TARGETS: Mapping[str, Target] = MappingProxyType({
    "pdu": Target(pdus, ("wire/pdu.py", "wire/items.py", "dimse/negotiation.py"), 1),
    "command": Target(commands, ("wire/command.py",)),
    "dataset": Target(
        data_sets, ("dicom/walk.py", "dicom/inflate.py", "dicom/recode.py", "dicom/sequence_items.py"), 2
    ),
    "header": Target(headers, ("dicom/header.py", "dicom/completeness.py"), 2),
    "charset": Target(texts, ("dicom/charset.py", "dicom/iso2022.py"), 1),
    "identifier": Target(
        identifiers, ("dicom/identifier.py", "dicom/condition.py", "dicom/keys.py"), 2
    ),
    "part10": Target(file_heads, ("dicom/part10.py",)),
    "config": Target(configurations, ("config/loader.py", "config/tables.py")),
})  # fmt: skip

_TEXT_VRS = ("LO", "PN", "UT", "ST", "CS", "UI")
_ASSUMED = ("", "ISO_IR 100", "ISO 2022 IR 87", "GB18030", "nonsense")
_ITEMS = '[{"00080100":"A1","00080102":"99X","00400008":[{"00080100":"B2"}],"00400009":"1"}]'
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _syntax(data: bytes) -> Uid:
    return SYNTAXES[data[0] % len(SYNTAXES)]


def _events(stream: bytes, cut: int) -> list[Fragment | ControlPdu | str]:
    """The events of a stream that arrives in pieces; fragments of one value put together; the violation last."""
    splitter = PduSplitter(PduLimits(association=1 << 16, p_data=1 << 16), buffer_bytes=4096)
    found: list[Fragment | ControlPdu | str] = []
    source = io.BytesIO(stream)
    try:
        while count := source.readinto(splitter.space()[:cut]):
            splitter.received(count)
            while (event := splitter.next_event()) is not None:
                _join(found, event)
    except ProtocolViolation as error:
        found.append(str(error))
    return found


def _join(found: list[Fragment | ControlPdu | str], event: Fragment | ControlPdu) -> None:
    if isinstance(event, ControlPdu):
        found.append(event)
        return
    event = event._replace(data=memoryview(bytes(event.data)))
    last = found[-1] if found else None
    if isinstance(last, Fragment) and last[:2] == event[:2] and not last.is_last:
        found[-1] = event._replace(data=memoryview(bytes(last.data) + bytes(event.data)))
    else:
        found.append(event)


def _association_pdu(pdu: ControlPdu) -> None:
    try:
        if pdu.type == PduType.ASSOCIATE_RQ:
            request = negotiation.read_request(pdu.data)
            negotiation.answer(request, {}, 16384, request.identity)
            if request.identity is not None:
                read_identity(request.identity)
            negotiation.request(
                calling_ae="A", called_ae="B", proposed=request.proposed, maximum_length=1, roles=request.roles
            )
        elif pdu.type == PduType.ASSOCIATE_AC:
            negotiation.read_answer(pdu.data, (), {})
        elif pdu.type == PduType.ASSOCIATE_RJ:
            assert isinstance(negotiation.refusal(pdu.data), PeerFailure)
    except ProtocolViolation:
        pass


def _walked(
    stream: bytes, syntax_uid: Uid, cut: int, *, wanted: frozenset[int] | None = None, skips: bool = False
) -> Elements | None:
    """What the walk over the stream in pieces tells; None where it is refused."""
    walker = DataSetWalker(syntax_uid, wanted, max_elements=10_000, max_inflated_bytes=_INFLATED_BYTES)
    at = 0
    try:
        while at < len(stream):
            if skips and (unneeded := min(walker.unneeded(), len(stream) - at)):
                walker.skip(unneeded)
                at += unneeded
                continue
            walker.feed(stream[at : at + cut])
            at += cut
        return walker.finish()
    except BadDataset:
        return None


def _sequences_apart(stream: bytes, syntax_uid: Uid) -> None:
    reader = ItemReader(stream, coding_of(syntax_uid), max_depth=8)
    try:
        for place in reader.elements().values():
            with suppress(BadDataset):
                reader.items(place)
    except BadDataset:
        pass


def _recoded(stream: bytes, syntax_uid: Uid) -> None:
    for convert in (recode.to_default_syntax, recode.to_explicit_syntax):
        with suppress(BadDataset):
            for _ in convert([stream], syntax_uid, max_bytes=_INFLATED_BYTES):
                pass


def _answered(asked: FindRequest, syntax_uid: Uid) -> None:
    """The response of an instance of which only its name and level are known."""
    values = {attribute.name: "" for attribute in (*BY_NAME.values(), *asked.read.values())}
    encoder = MatchEncoder(asked, syntax_uid, retrieve_ae_title="PACSNODE")
    sequences = {attribute.name: _ITEMS for attribute in ATTRIBUTES if attribute.vr == "SQ"}
    encoder.encode(Match({**values, **sequences, "patient_name": "Müller^山田"}))
    assert asked.level in Level


def _is_printable(text: str) -> None:
    assert all(line.isprintable() for line in text.split("\n"))


def _is_comment(error: Exception) -> None:
    text = str(error)
    assert len(text) <= _COMMENT_CHARACTERS
    assert text.isascii()
    assert text.isprintable()
