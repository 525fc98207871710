"""Requests as pynetdicom's primitives. Nothing is checked: they may be wrong on purpose."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import TypeVar

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom.dimse_primitives import C_ECHO, C_FIND, C_GET, C_MOVE, C_STORE, N_ACTION, N_EVENT_REPORT, N_GET

from pacsnode.dimse import contexts
from pacsnode.selftest.scu import encoded

_MEDIUM = 0
_Asking = TypeVar("_Asking", C_FIND, C_GET, C_MOVE)


def echo() -> C_ECHO:
    """C-ECHO-RQ."""
    request = C_ECHO()
    request.AffectedSOPClassUID = contexts.VERIFICATION
    return request


def store(sop_class: str, instance: str, data_set: BytesIO) -> C_STORE:
    """C-STORE-RQ."""
    request = C_STORE()
    request.AffectedSOPClassUID = sop_class
    request.AffectedSOPInstanceUID = instance
    request.Priority = _MEDIUM
    request.DataSet = data_set
    return request


def find(sop_class: str, identifier: BytesIO) -> C_FIND:
    """C-FIND-RQ."""
    return _with(C_FIND(), sop_class, identifier)


def get(sop_class: str, identifier: BytesIO) -> C_GET:
    """C-GET-RQ."""
    return _with(C_GET(), sop_class, identifier)


def move(sop_class: str, identifier: BytesIO, destination: str) -> C_MOVE:
    """C-MOVE-RQ."""
    request = _with(C_MOVE(), sop_class, identifier)
    request.MoveDestination = destination
    return request


def action(
    information: BytesIO,
    *,
    sop_class: str = contexts.STORAGE_COMMITMENT,
    instance: str = contexts.STORAGE_COMMITMENT_INSTANCE,
    kind: int = 1,
) -> N_ACTION:
    """N-ACTION-RQ of Storage Commitment."""
    request = N_ACTION()
    request.RequestedSOPClassUID = sop_class
    request.RequestedSOPInstanceUID = instance
    request.ActionTypeID = kind
    request.ActionInformation = information
    return request


def report(
    information: BytesIO,
    *,
    sop_class: str = contexts.STORAGE_COMMITMENT,
    instance: str = contexts.STORAGE_COMMITMENT_INSTANCE,
    kind: int = 1,
) -> N_EVENT_REPORT:
    """N-EVENT-REPORT-RQ of Storage Commitment."""
    request = N_EVENT_REPORT()
    request.AffectedSOPClassUID = sop_class
    request.AffectedSOPInstanceUID = instance
    request.EventTypeID = kind
    request.EventInformation = information
    return request


def attributes() -> N_GET:
    """N-GET-RQ, which nobody has."""
    request = N_GET()
    request.RequestedSOPClassUID = contexts.VERIFICATION
    request.RequestedSOPInstanceUID = "1.2.3"
    return request


def references(transaction: str, pairs: Iterable[tuple[str, str]], transfer_syntax: str) -> BytesIO:
    """Action information: SOP classes and instances to be committed."""
    data_set = Dataset()
    if transaction:
        data_set.TransactionUID = transaction
    items = []
    for sop_class, instance in pairs:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        items.append(item)
    data_set.ReferencedSOPSequence = Sequence(items)
    return encoded(data_set, transfer_syntax)


def identifier(transfer_syntax: str, level: str, **keys: str) -> BytesIO:
    """An identifier with these keys, by keyword."""
    data_set = Dataset()
    data_set.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(data_set, keyword, value)
    return encoded(data_set, transfer_syntax)


def _with(request: _Asking, sop_class: str, identifier: BytesIO) -> _Asking:
    request.AffectedSOPClassUID = sop_class
    request.Priority = _MEDIUM
    request.Identifier = identifier
    return request
