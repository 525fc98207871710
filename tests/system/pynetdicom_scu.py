"""pynetdicom as a peer: sends files as they are, and keeps the very bytes that come back."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, build_role, evt
from pynetdicom.association import Association

from tests.system.material import Sample

_SECONDS = 10.0
VERIFICATION = "1.2.840.10008.1.1"
GET = "1.2.840.10008.5.1.4.1.2.1.3"  # Patient Root
FIND = "1.2.840.10008.5.1.4.1.2.2.1"  # Study Root


class Received:
    """What came back on C-GET sub-operations: SHA-256 of each data set."""

    def __init__(self) -> None:
        self.digests: list[str] = []

    def take(self, event: Any) -> int:
        """Handler of EVT_C_STORE."""
        self.digests.append(sha256(event.request.DataSet.getvalue()).hexdigest())
        return 0x0000


@contextmanager
def associated(
    port: int, pairs: Iterable[tuple[str, str]], received: Received, *, calling: str = "PYNETDICOM"
) -> Iterator[Association]:
    """An association that may store and get the (SOP class, transfer syntax) pairs, find and echo."""
    entity = AE(calling)
    entity.add_requested_context(VERIFICATION)
    entity.add_requested_context(GET)
    entity.add_requested_context(FIND)
    pairs = sorted(set(pairs))
    for sop_class, syntax in pairs:
        entity.add_requested_context(sop_class, syntax)
    roles = [build_role(sop_class, scu_role=True, scp_role=True) for sop_class in {pair[0] for pair in pairs}]
    association = entity.associate(
        "127.0.0.1",
        port,
        ae_title="PACSNODE",
        ext_neg=roles,  # type: ignore[arg-type]
        evt_handlers=[(evt.EVT_C_STORE, received.take)],
    )
    if not association.is_established:
        raise AssertionError("association was not established")
    try:
        yield association
    finally:
        association.release()


def pause(association: Association) -> None:
    """Before a request: hold pynetdicom's own thread, and see it held, where it would take the answer for itself.

    pynetdicom 3.0.4 looks at ``_is_paused`` alone, which is true for a moment while that thread goes on.
    """
    checkpoint = association._reactor_checkpoint
    checkpoint.clear()
    deadline = time.monotonic() + _SECONDS
    while not checkpoint._cond._waiters:  # type: ignore[attr-defined]  # of threading.Event, which does not tell
        if time.monotonic() > deadline:
            raise AssertionError("pynetdicom's thread does not come to its checkpoint")
        time.sleep(0)


def store(association: Association, sample: Sample) -> int:
    """C-STORE the file's data set exactly as it is: the status."""
    chunked = _config.STORE_SEND_CHUNKED_DATASET
    _config.STORE_SEND_CHUNKED_DATASET = True
    pause(association)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the real files break rules that pydicom warns of
            return int(association.send_c_store(sample.path).Status)
    finally:
        _config.STORE_SEND_CHUNKED_DATASET = chunked


def get_instance(association: Association, sop_instance_uid: str) -> int:
    """C-GET one instance by its UID alone: the final status."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.SOPInstanceUID = sop_instance_uid
    pause(association)
    return [int(status.Status) for status, _ in association.send_c_get(identifier, GET)][-1]


def find(association: Association, **keys: str) -> list[Dataset]:
    """C-FIND in the Study Root model: the matches."""
    identifier = Dataset()
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    pause(association)
    answers = association.send_c_find(identifier, FIND)
    return [match for status, match in answers if match is not None and int(status.Status) in (0xFF00, 0xFF01)]
