"""Data sets of Storage Commitment (PS3.4 J.3.2, J.3.3): requests and reports, as who provides it and as who uses it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pacsnode.dicom.coding import ITEM, coding_of, tag_name
from pacsnode.dicom.encode import (
    FAILURE_REASON,
    REFERENCED_SOP_CLASS_UID,
    REFERENCED_SOP_INSTANCE_UID,
    RETRIEVE_AE_TITLE,
    TRANSACTION_UID,
    ElementWriter,
    writer_of,
)
from pacsnode.dicom.sequence_items import ItemReader, Places
from pacsnode.dicom.walk import DataSetWalker
from pacsnode.errors import BadDataset
from pacsnode.model import Commitment, CommitmentReport, FailureReason, Reference, Uid

_FAILED_SOP_SEQUENCE = 0x00081198
_REFERENCED_SOP_SEQUENCE = 0x00081199
_MAX_DEPTH = 8  # the references lie one deep; what else is sent is not looked at
# Leading zeros are sent by some devices, and stored as they are: a reference names what was stored.
_UID = re.compile(r"[0-9.]{1,64}")


def parse_request(data: bytes, transfer_syntax_uid: Uid) -> tuple[Uid, tuple[Reference, ...]]:
    """Transaction UID and references, each once, of the action information of an N-ACTION-RQ (PS3.4 Table J.3-1).

    Raises BadDataset, whose text has at most 64 ASCII characters, where it cannot be read or something is missing.
    """
    reader = _reader(data, transfer_syntax_uid, "action")
    found = reader.elements()
    transaction_uid = _uid(reader, found, TRANSACTION_UID)
    references = dict.fromkeys(_reference(reader, one) for one in _items(reader, found, _REFERENCED_SOP_SEQUENCE))
    if not references:
        raise BadDataset(f"{tag_name(_REFERENCED_SOP_SEQUENCE)} is missing or empty")
    if len({one.sop_instance_uid for one in references}) < len(references):
        # It would be committed and failed at once: J.3.2.1.1 wants each instance once.
        raise BadDataset("an instance is referenced under two SOP classes")
    return transaction_uid, tuple(references)


def encode_request(transaction_uid: Uid, references: Iterable[Reference], transfer_syntax_uid: Uid) -> bytes:
    """The action information of an N-ACTION-RQ (PS3.4 Table J.3-1)."""
    writer = writer_of(transfer_syntax_uid)
    items = [_item(writer, one) for one in references]
    return writer.element(TRANSACTION_UID, transaction_uid.encode("ascii")) + _sequence(
        _REFERENCED_SOP_SEQUENCE, items, transfer_syntax_uid
    )


def parse_report(data: bytes, transfer_syntax_uid: Uid) -> CommitmentReport:
    """The event information of an N-EVENT-REPORT-RQ (PS3.4 Table J.3-2).

    What is in both sequences has failed, and what is in the failed one without a reason has failed with 0110. Raises
    BadDataset, whose text has at most 64 ASCII characters, where it cannot be read or something is missing.
    """
    reader = _reader(data, transfer_syntax_uid, "event")
    found = reader.elements()
    short = writer_of(transfer_syntax_uid).short
    failed: dict[Uid, int] = {}
    for one in _items(reader, found, _FAILED_SOP_SEQUENCE):
        raw = reader.value(one[FAILURE_REASON]) if FAILURE_REASON in one else b""
        reason = int(short.unpack(raw)[0]) if len(raw) == short.size else 0
        failed[_uid(reader, one, REFERENCED_SOP_INSTANCE_UID)] = reason or FailureReason.PROCESSING_FAILURE
    references = {_reference(reader, one) for one in _items(reader, found, _REFERENCED_SOP_SEQUENCE)}
    if not failed and not references:
        raise BadDataset("the report names no instance")
    committed = frozenset(one for one in references if one.sop_instance_uid not in failed)
    return CommitmentReport(_uid(reader, found, TRANSACTION_UID), committed, failed)


def encode_report(commitment: Commitment, transfer_syntax_uid: Uid, *, retrieve_ae_title: str) -> bytes:
    """The event information of an N-EVENT-REPORT-RQ (PS3.4 Table J.3-2): each reference is in one of two sequences."""
    writer = writer_of(transfer_syntax_uid)
    committed, failed = [], []
    for reference, reason in zip(commitment.references, commitment.verdict or (), strict=True):
        item = _item(writer, reference)
        if reason is None:
            committed.append(item)
        else:
            failed.append(item + _reason(writer, reason))
    parts = [
        writer.element(RETRIEVE_AE_TITLE, retrieve_ae_title.encode("ascii")),
        writer.element(TRANSACTION_UID, commitment.transaction.transaction_uid.encode("ascii")),
    ]
    if failed:
        parts.append(_sequence(_FAILED_SOP_SEQUENCE, failed, transfer_syntax_uid))
    if committed:
        parts.append(_sequence(_REFERENCED_SOP_SEQUENCE, committed, transfer_syntax_uid))
    return b"".join(parts)


def _reader(data: bytes, transfer_syntax_uid: Uid, what: str) -> ItemReader:
    """As for every data set that comes in: a cut is found, and so is what lies too deep. Raises BadDataset."""
    walker = DataSetWalker(transfer_syntax_uid, frozenset(), max_depth=_MAX_DEPTH)
    try:
        walker.feed(data)
        walker.finish()
    except BadDataset as error:
        raise BadDataset(f"{what} information cannot be read to its end") from error
    return ItemReader(data, coding_of(transfer_syntax_uid), max_depth=_MAX_DEPTH)


def _items(reader: ItemReader, found: Places, tag: int) -> Iterable[Places]:
    """The items of a sequence; none where it is missing."""
    return reader.items(found[tag]) if tag in found else ()


def _reference(reader: ItemReader, item: Places) -> Reference:
    return Reference(_uid(reader, item, REFERENCED_SOP_CLASS_UID), _uid(reader, item, REFERENCED_SOP_INSTANCE_UID))


def _uid(reader: ItemReader, found: Places, tag: int) -> Uid:
    """Raises BadDataset where there is none."""
    raw = reader.value(found[tag]) if tag in found else b""
    text = raw.decode("ascii", "replace").strip("\0 ")
    if not _UID.fullmatch(text):
        raise BadDataset(f"{tag_name(tag)} is missing or no UID")
    return Uid(text)


def _item(writer: ElementWriter, reference: Reference) -> bytes:
    return writer.element(REFERENCED_SOP_CLASS_UID, reference.sop_class_uid.encode("ascii")) + writer.element(
        REFERENCED_SOP_INSTANCE_UID, reference.sop_instance_uid.encode("ascii")
    )


def _reason(writer: ElementWriter, reason: FailureReason) -> bytes:
    return writer.element(FAILURE_REASON, writer.short.pack(reason))


def _sequence(tag: int, items: Iterable[bytes], transfer_syntax_uid: Uid) -> bytes:
    coding = coding_of(transfer_syntax_uid)
    body = b"".join(coding.item.pack(ITEM >> 16, ITEM & 0xFFFF, len(one)) + one for one in items)
    if coding.is_implicit:
        return coding.item.pack(tag >> 16, tag & 0xFFFF, len(body)) + body
    return coding.header.pack(tag >> 16, tag & 0xFFFF, b"SQ", 0) + coding.length.pack(len(body)) + body
