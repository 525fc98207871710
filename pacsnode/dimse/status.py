"""DIMSE statuses, one table per service: which of our errors is answered how (PS3.7 Annex C, PS3.4 B.2.3, C.4).

What may be tried again is answered A7xx, what may not Cxxx, A9xx or 01xx: many senders park the second kind.
"""

from __future__ import annotations

from collections.abc import Mapping

from pacsnode.errors import (
    BadDataset,
    CannotListen,
    ConfigError,
    DatasetTooLarge,
    DuplicateRefused,
    FaultyElement,
    IndexFailure,
    IndexFull,
    InvalidQuery,
    MalformedUid,
    NodeRunning,
    NotAllowed,
    ObjectDamaged,
    ObjectNotFound,
    ObjectUnreadable,
    PacsNodeError,
    PeerFailure,
    PeerSilent,
    ProtocolViolation,
    QueryTooLong,
    RejectedByUs,
    SopClassNotSupported,
    StoreError,
    StoreFull,
    UidMismatch,
    UnknownDestination,
)

SUCCESS = 0x0000
NO_SUCH_SOP_INSTANCE = 0x0112
NO_SUCH_SOP_CLASS = 0x0118
SOP_CLASS_NOT_SUPPORTED = 0x0122
NO_SUCH_ACTION = 0x0123
UNRECOGNIZED_OPERATION = 0x0211
RESOURCE_LIMITATION = 0x0213
CANCEL = 0xFE00
PENDING = 0xFF00
PENDING_WITHOUT_OPTIONAL_KEYS = 0xFF01
SUBOPERATIONS_INCOMPLETE = 0xB000
OUT_OF_RESOURCES = 0xA700
UNABLE_TO_PERFORM_SUBOPERATIONS = 0xA702

Table = Mapping[type[PacsNodeError], int]

# Errors that end an association or a process instead of being answered; listed so that the tables are complete.
_NOT_EXPECTED: dict[type[PacsNodeError], int] = {
    PacsNodeError: 0xA7FF,
    ConfigError: 0xA7FE,
    NodeRunning: 0xA7FD,
    CannotListen: 0xA7FC,
    ProtocolViolation: 0x0110,
    PeerFailure: 0x0110,
    PeerSilent: 0x0110,
}

STORE: Table = {
    **_NOT_EXPECTED,
    StoreFull: 0xA700,
    StoreError: 0xA701,
    ObjectNotFound: 0xA702,
    ObjectDamaged: 0xA703,
    ObjectUnreadable: 0xA704,
    IndexFailure: 0xA710,
    IndexFull: 0xA700,
    QueryTooLong: 0xA710,
    UidMismatch: 0xA900,
    BadDataset: 0xC000,
    FaultyElement: 0xC001,
    DatasetTooLarge: 0xC002,
    DuplicateRefused: 0xC010,
    RejectedByUs: 0xC020,
    MalformedUid: 0x0117,
    SopClassNotSupported: SOP_CLASS_NOT_SUPPORTED,
    NotAllowed: 0x0124,
    InvalidQuery: 0xC021,
    UnknownDestination: 0xC022,
}

FIND: Table = {
    **_NOT_EXPECTED,
    PacsNodeError: 0xC001,
    ConfigError: 0xC001,
    NodeRunning: 0xC001,
    CannotListen: 0xC001,
    StoreFull: 0xA700,
    StoreError: 0xA700,
    ObjectNotFound: 0xA700,
    ObjectDamaged: 0xA700,
    ObjectUnreadable: 0xA700,
    IndexFailure: 0xA700,
    IndexFull: 0xA700,
    QueryTooLong: 0xA700,
    InvalidQuery: 0xA900,
    UidMismatch: 0xA900,
    BadDataset: 0xA900,
    FaultyElement: 0xA900,
    DatasetTooLarge: 0xA900,
    MalformedUid: 0xA900,
    RejectedByUs: 0xC002,
    DuplicateRefused: 0xC002,
    UnknownDestination: 0xC002,
    SopClassNotSupported: SOP_CLASS_NOT_SUPPORTED,
    NotAllowed: 0x0124,
}

RETRIEVE: Table = {
    **FIND,
    IndexFailure: 0xA701,
    IndexFull: 0xA701,
    QueryTooLong: 0xA701,
    StoreFull: 0xA702,
    StoreError: 0xA702,
    ObjectNotFound: 0xA702,
    ObjectDamaged: 0xA702,
    ObjectUnreadable: 0xA702,
    PeerFailure: 0xA702,
    PeerSilent: 0xA702,
    UnknownDestination: 0xA801,
}
"""C-MOVE and C-GET."""

COMMIT: Table = {
    PacsNodeError: 0x0110,
    IndexFailure: RESOURCE_LIMITATION,
    BadDataset: 0x0115,
    NotAllowed: 0x0124,
}
"""N-ACTION of Storage Commitment (PS3.7 10.1.4.1.10)."""

_COMMENT_CHARACTERS = 64  # VR LO of Error Comment (0000,0902)


def of(table: Table, error: PacsNodeError) -> int:
    """The status for an error: that of its class, else of the nearest ancestor."""
    return next(table[kind] for kind in type(error).__mro__ if kind in table)


def comment(error: PacsNodeError) -> str:
    """Error Comment for an error: what the peer did wrong, in its own terms; of our troubles no more than that."""
    words = str(error) if isinstance(error, RejectedByUs) else "the archive cannot do this now"
    if isinstance(error, QueryTooLong):
        words = "this takes too long here; ask for less"
    one_line = " ".join(words.encode("ascii", "replace").decode("ascii").split())
    return one_line[:_COMMENT_CHARACTERS]


def is_warning(code: int) -> bool:
    """Warning statuses of PS3.7 Annex C."""
    return code in (0x0001, 0x0107, 0x0116) or code & 0xF000 == 0xB000
